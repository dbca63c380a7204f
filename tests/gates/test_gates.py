"""The gates over real rows, with transcribers that are plain functions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from misheard import audio
from misheard.blobs.directory import DirectoryBlobs
from misheard.datasets.datasets import Dataset, Datasets, Sample
from misheard.errors import InvalidTranscriptError, UnknownIdError
from misheard.gates.hypotheses import Hypotheses
from misheard.gates.regression import RegressionRules, RegressionSuites, SuiteKind
from misheard.gates.validation import ValidationRules, Validations
from misheard.registry import ModelVersion
from misheard.speech.transcriber import FunctionTranscriber

TEXTS = [f"press {number} now" for number in range(12)]


class Ear:
    """Hears the number of a tone; the one with bad ears hears every third wrong."""

    def __init__(self, bad_versions: set[str]) -> None:
        self.bad_versions = bad_versions
        self.calls = 0

    def of(self, version_id: str) -> FunctionTranscriber:
        def listen(samples: object) -> str:
            self.calls += 1
            number = round(len(samples) / 160) - 10  # type: ignore[arg-type]
            wrong = version_id in self.bad_versions and number % 3 == 0
            return "press pound" if wrong else f"Press {number}, now."

        return FunctionTranscriber(listen, name=version_id)


@pytest.fixture
def versions(register: Callable[..., ModelVersion]) -> tuple[str, str]:
    return register("old").id, register("new").id


@pytest.fixture
def ear(versions: tuple[str, str]) -> Ear:
    return Ear({versions[0]})


@pytest.fixture
def hypotheses(engine: Engine, blobs: DirectoryBlobs, ear: Ear) -> Hypotheses:
    return Hypotheses(engine, blobs, ear.of, decoding="test")


@pytest.fixture
def validations(engine: Engine, datasets: Datasets, hypotheses: Hypotheses) -> Validations:
    return Validations(
        engine,
        datasets,
        hypotheses,
        rules=ValidationRules(min_wer_improvement=0.0, require_significance=True, alpha=0.05),
        normalizer_name="whisper-english",
        replicates=200,
    )


@pytest.fixture
def suites(engine: Engine, datasets: Datasets, validations: Validations) -> RegressionSuites:
    rules = RegressionRules(
        max_wer_degradation=0.05,
        max_critical_wer_degradation=0.0,
        max_edge_case_wer_degradation=0.05,
    )
    return RegressionSuites(engine, datasets, validations, rules=rules)


@pytest.fixture
def held_out(datasets: Datasets, tone: Callable[..., bytes]) -> Dataset:
    """Tones whose length tells their number."""
    samples = [
        Sample(data=tone(seconds=0.1 + number / 100, hertz=300), reference=text)
        for number, text in enumerate(TEXTS)
    ]
    return datasets.add_evaluation("held-out", samples)


def test_each_version_hears_each_clip_once(
    hypotheses: Hypotheses,
    datasets: Datasets,
    held_out: Dataset,
    versions: tuple[str, str],
    ear: Ear,
) -> None:
    rows = datasets.rows(held_out)
    done: list[int] = []
    first = hypotheses.of(versions[1], rows, progress=done.append)
    assert ear.calls == sum(done) == 12
    assert hypotheses.of(versions[1], rows) == first
    assert ear.calls == 12
    normal = [f"press {n} now" for n in range(12)]
    assert sorted(h.text.lower().replace(",", "").rstrip(".") for h in first) == sorted(normal)


def test_hypotheses_stand_in_the_order_of_the_rows(
    hypotheses: Hypotheses, datasets: Datasets, held_out: Dataset, versions: tuple[str, str]
) -> None:
    rows = datasets.rows(held_out)[::-1]
    heard = hypotheses.of(versions[1], rows)
    for row, hypothesis in zip(rows, heard, strict=True):
        assert row.reference.split()[1] == hypothesis.text.split()[1].rstrip(",")


def test_other_decoding_options_are_heard_anew(
    engine: Engine,
    blobs: DirectoryBlobs,
    datasets: Datasets,
    held_out: Dataset,
    versions: tuple[str, str],
    ear: Ear,
) -> None:
    for decoding in ("beam=1", "beam=5"):
        Hypotheses(engine, blobs, ear.of, decoding=decoding).of(
            versions[0], datasets.rows(held_out)
        )
    assert ear.calls == 24


def test_a_recording_that_stands_twice_is_heard_once(
    hypotheses: Hypotheses,
    datasets: Datasets,
    tone: Callable[..., bytes],
    versions: tuple[str, str],
    ear: Ear,
) -> None:
    data = tone(seconds=0.1)
    twice = datasets.add_evaluation(
        "twice", [Sample(data=data, reference="a"), Sample(data=data, reference="b")]
    )
    one, two = hypotheses.of(versions[1], datasets.rows(twice))
    assert one == two
    assert ear.calls == 1


def test_a_transcriber_that_fails_leaves_nothing_half_kept(
    engine: Engine,
    blobs: DirectoryBlobs,
    datasets: Datasets,
    held_out: Dataset,
    versions: tuple[str, str],
    ear: Ear,
) -> None:
    broken = Hypotheses(
        engine,
        blobs,
        lambda _: FunctionTranscriber(lambda samples: 5),
        decoding="test",  # type: ignore[arg-type, return-value]
    )
    with pytest.raises(InvalidTranscriptError):
        broken.of(versions[0], datasets.rows(held_out))
    Hypotheses(engine, blobs, ear.of, decoding="test").of(versions[0], datasets.rows(held_out))
    assert ear.calls == 12


def test_a_better_candidate_passes_and_the_verdict_is_kept(
    validations: Validations, held_out: Dataset, versions: tuple[str, str]
) -> None:
    old, new = versions
    made = validations.run(new, old, held_out)
    assert made.verdict.passed
    assert made.comparison.baseline.errors == 8
    assert made.comparison.candidate.errors == 0
    assert validations.get(made.id) == made
    assert validations.latest_of(new) == made
    assert validations.latest_of(old) is None


def test_a_worse_candidate_does_not_pass(
    validations: Validations, held_out: Dataset, versions: tuple[str, str]
) -> None:
    old, new = versions
    assert not validations.run(old, new, held_out).verdict.passed


def test_the_same_id_gives_the_verdict_that_is_kept(
    validations: Validations, held_out: Dataset, versions: tuple[str, str], ear: Ear
) -> None:
    old, new = versions
    first = validations.run(new, old, held_out, validation_id="val-1")
    ear.bad_versions.add(new)
    assert validations.run(new, old, held_out, validation_id="val-1") == first


def test_an_unknown_verdict_is_an_error(validations: Validations) -> None:
    with pytest.raises(UnknownIdError, match="val-x"):
        validations.get("val-x")


def test_every_suite_is_run_and_kept(
    suites: RegressionSuites, held_out: Dataset, versions: tuple[str, str]
) -> None:
    old, new = versions
    suites.add("all", SuiteKind.BENCHMARK, held_out, description="everything")
    suites.add("pins", SuiteKind.CRITICAL, held_out)
    seen: list[str] = []

    def observe(what: str, total: int) -> Callable[[int], None]:
        seen.append(f"{what} {total}")
        return lambda _: None

    forward = suites.run_all(new, old, observe=observe)
    assert seen == ["suite 'all' 24", "suite 'pins' 24"]
    assert [run.verdict.passed for run in forward] == [True, True]
    assert suites.runs_of(new) == forward
    backward = suites.run_all(old, new)
    assert [run.verdict.passed for run in backward] == [False, False]
    assert suites.runs_of(new) == forward


def test_a_suite_of_a_known_name_stays_as_it_is(
    suites: RegressionSuites, datasets: Datasets, held_out: Dataset, tone: Callable[..., bytes]
) -> None:
    first = suites.add("all", SuiteKind.BENCHMARK, held_out)
    other = datasets.add_evaluation("other", [Sample(data=tone(), reference="x")])
    assert suites.add("all", SuiteKind.CRITICAL, other) == first
    assert suites.listed() == [first]


def test_the_clips_of_this_file_are_told_apart(tone: Callable[..., bytes]) -> None:
    lengths = {len(audio.decode(tone(seconds=0.1 + n / 100)).samples) for n in range(12)}
    assert len(lengths) == 12
