"""The set of speech that nobody tunes for: looked at where it is there, and kept."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from misheard.datasets.datasets import Dataset, Datasets
from misheard.datasets.samples import Sample
from misheard.gates.validation import Validations
from misheard.gates.verdict import Answer


@pytest.fixture
def general(datasets: Datasets, tone: Callable[..., bytes]) -> Dataset:
    samples = [
        Sample(data=tone(seconds=0.3 + number / 100, hertz=300), reference=f"press {number} now")
        for number in range(20, 32)
    ]
    return datasets.add_evaluation("general", samples)


def test_without_such_a_set_it_is_said_that_nobody_looked(
    validations: Validations, held_out: Dataset, versions: tuple[str, str]
) -> None:
    made = validations.run(versions[1], versions[0], held_out)
    assert made.general is None
    assert any("general" in text for text in made.verdict.unjudged)
    assert not [one for one in made.verdict.criteria if one.name == "general"]


def test_it_is_compared_and_kept_with_the_verdict(
    validations: Validations, held_out: Dataset, general: Dataset, versions: tuple[str, str]
) -> None:
    made = validations.run(versions[1], versions[0], held_out)
    assert made.general is not None
    assert made.general.utterances == general.counts["test"]
    (criterion,) = [one for one in made.verdict.criteria if one.name == "general"]
    assert criterion.limit == 0.01
    assert validations.get(made.id) == made


def test_the_set_that_decides_is_not_the_general_one_as_well(
    validations: Validations, general: Dataset, versions: tuple[str, str]
) -> None:
    made = validations.run(versions[1], versions[0], general)
    assert made.general is None


def test_who_is_worse_on_it_does_not_pass(
    validations: Validations, held_out: Dataset, general: Dataset, versions: tuple[str, str]
) -> None:
    # Better on what it is tuned for, deaf to everything else.
    def tuned(path: str) -> str:
        from misheard import audio  # noqa: PLC0415 - only this listener needs it

        number = round(len(audio.read(path).samples) / 160) - 10
        return f"press {number} now" if number < 12 else "press"

    made = validations.run(validations.contender("tuned", tuned), versions[0], held_out)
    (criterion,) = [one for one in made.verdict.criteria if one.name == "general"]
    assert criterion.answer is Answer.FAIL
    assert not made.verdict.passed
