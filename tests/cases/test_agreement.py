"""What two people say of one recording, side by side."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine

from misheard.capture.inferences import Inference
from misheard.cases.cases import Cases
from misheard.cases.labels import Labels
from misheard.cases.records import Correction
from misheard.scoring.normalize import normalizer

ON_BOTH_DATABASES = True
Hear = Callable[..., list[Inference]]


@pytest.fixture
def labels(engine: Engine) -> Labels:
    return Labels(engine, normalizer=normalizer("whisper-english"))


def say(cases: Cases, inference: Inference, author: str, reference: str) -> None:
    cases.correct([Correction(inference_id=inference.id, reference=reference, author=author)])


def test_the_newest_of_each_is_compared_after_normalisation(
    cases: Cases, hear: Hear, labels: Labels
) -> None:
    one, two, three, alone = hear(["press pond", "hold on", "yes", "no"])
    say(cases, one, "ann", "what was that")
    say(cases, one, "bob", "Press the pound key.")
    say(cases, one, "ann", "press the pound key")
    say(cases, two, "bob", "hold the line please")
    say(cases, two, "ann", "hold the door please")
    say(cases, three, "ann", "")
    say(cases, three, "cem", "yes")
    say(cases, alone, "ann", "no")
    say(cases, alone, "ann", "know")
    found = labels.agreement()
    assert found.utterances == 3
    assert (found.everybody.utterances, found.everybody.exact) == (3, 1)
    assert found.everybody.exact_share == pytest.approx(1 / 3)
    # One word of four differs, and one of half a word.
    assert (found.everybody.errors, found.everybody.words) == (2, 8.5)
    both, other = found.pairs
    assert (both.authors, both.utterances, both.exact) == (("ann", "bob"), 2, 1)
    assert both.wer == pytest.approx(1 / 8)
    assert (other.authors, other.wer) == (("ann", "cem"), 2.0)
    assert [pair.inference_id for pair in found.furthest] == [three.id, two.id]
    assert found.furthest[1].authors == ("bob", "ann")
    assert found.furthest[1].references == ("hold the line please", "hold the door please")
    assert [pair.inference_id for pair in labels.agreement(limit=1).furthest] == [three.id]


def test_every_two_of_three_are_compared(cases: Cases, hear: Hear, labels: Labels) -> None:
    (one,) = hear(["press pond"])
    for author, text in {"ann": "press pound", "bob": "press pound", "cem": "press pond"}.items():
        say(cases, one, author, text)
    found = labels.agreement()
    assert (found.utterances, found.everybody.utterances, found.everybody.exact) == (1, 3, 1)
    assert [one.authors for one in found.pairs] == [("ann", "bob"), ("ann", "cem"), ("bob", "cem")]


def test_only_what_somebody_labelled_since_is_compared(
    cases: Cases, hear: Hear, labels: Labels
) -> None:
    one, two = hear(["press pond", "hold on"])
    for inference in (one, two):
        say(cases, inference, "ann", "press pound")
    say(cases, one, "bob", "press pound")
    between = datetime.now(UTC)
    say(cases, two, "bob", "hold on")
    assert labels.agreement().utterances == 2
    assert labels.agreement(since=between).utterances == 1
    assert labels.agreement(since=datetime.now(UTC)).utterances == 0


def test_without_two_people_there_is_nothing_to_compare(labels: Labels) -> None:
    found = labels.agreement()
    assert (found.utterances, found.pairs, found.furthest) == (0, (), ())
    assert found.everybody.wer != found.everybody.wer
