"""Labels that something speaks against, and those that nothing does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from sqlalchemy import Engine, insert, update

from misheard.capture.inferences import Inference
from misheard.cases.agreement import Label
from misheard.cases.cases import Cases
from misheard.cases.labels import Labels
from misheard.cases.records import Correction
from misheard.cases.suspects import Doubt, Evidence, doubts
from misheard.database.engine import writing
from misheard.database.schema import hypotheses, inferences
from misheard.registry import ModelVersion
from misheard.scoring.normalize import normalizer

ON_BOTH_DATABASES = True
Hear = Callable[..., list[Inference]]
NORMALIZER = normalizer("whisper-english")


@pytest.fixture
def labels(engine: Engine) -> Labels:
    return Labels(engine, normalizer=NORMALIZER)


def say(cases: Cases, inference: Inference, reference: str, author: str = "ann") -> None:
    cases.correct([Correction(inference_id=inference.id, reference=reference, author=author)])


def evidence(
    reference: str, *others: str, was_reported: bool = False, **models: Sequence[str]
) -> Evidence:
    said = [*others, reference]
    return Evidence(
        heard="press pond",
        was_reported=was_reported,
        models={"live": ["press pond"]} | models,
        labels=[
            Label(number=n, inference_id="i", author=f"a{n}", reference=text, is_error=True)
            for n, text in enumerate(said)
        ],
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (evidence("press pound"), ()),
        (evidence("press pound", other=["Press pond."]), (Doubt.MODELS,)),
        (evidence("press pound", other=["press pound"]), ()),
        (evidence("press pound", other=["press bond"]), ()),
        (evidence("press pound", other=["press pond"], third=["press pound"]), ()),
        (evidence("press pound", live=["press pond", "press bond"], other=["press pond"]), ()),
        (evidence("Press pond.", other=["press pond"]), ()),
        (evidence("Press pond.", was_reported=True), (Doubt.FORMATTING,)),
        (evidence("press pond", was_reported=True), ()),
        (evidence("press pound", was_reported=True), ()),
        (evidence("press pound", "press pond"), (Doubt.PEOPLE,)),
        (evidence("press pound", "Press pound!"), ()),
        (
            evidence("Press pond!", "press pound", was_reported=True),
            (Doubt.FORMATTING, Doubt.PEOPLE),
        ),
        (evidence("", other=["press pond"]), (Doubt.MODELS,)),
    ],
)
def test_what_speaks_against_a_label(given: Evidence, expected: tuple[Doubt, ...]) -> None:
    assert doubts(given, NORMALIZER) == expected


def test_models_are_those_of_the_gates_and_the_second_one(
    cases: Cases,
    hear: Hear,
    labels: Labels,
    engine: Engine,
    register: Callable[..., ModelVersion],
) -> None:
    one, two, three = hear(["press pond", "hold on", "yes"])
    tuned = register("tuned")
    with writing(engine) as connection:
        connection.execute(
            insert(hypotheses),
            [
                {
                    "version_id": tuned.id,
                    "audio_sha256": heard.audio_sha256,
                    "decoding": "en",
                    "text": text,
                    "compute_s": 0.1,
                }
                for heard, text in ((one, "Press pond."), (two, "hold up"))
            ],
        )
        this = inferences.c.id == three.id
        connection.execute(update(inferences).where(this).values(second_text="Yes"))
    for inference, text in ((one, "press pound"), (two, "hold the line"), (three, "yesterday")):
        say(cases, inference, text)
    found = labels.suspects()
    assert [suspect.inference_id for suspect in found.found] == [three.id, one.id]
    assert {suspect.doubts for suspect in found.found} == {(Doubt.MODELS,)}
    assert dict(found.found[0].models) == {"v-1": "yes", "second": "Yes"}
    assert dict(found.found[1].models) == {"v-1": "press pond", tuned.id: "Press pond."}
    assert (found.found[1].heard, found.found[1].reference) == ("press pond", "press pound")
    assert (found.looked_at, found.before) == (3, None)


def test_a_report_of_formatting_alone_is_doubtful(cases: Cases, hear: Hear, labels: Labels) -> None:
    reported, unreported = hear(["press pond", "hold on"])
    cases.open(reported.id, ["names"])
    say(cases, reported, "Press pond.")
    say(cases, unreported, "Hold on.")
    (found,) = labels.suspects().found
    assert (found.inference_id, found.doubts) == (reported.id, (Doubt.FORMATTING,))


def test_only_the_newest_label_of_an_utterance_is_judged(
    cases: Cases, hear: Hear, labels: Labels
) -> None:
    (one,) = hear(["press pond"])
    say(cases, one, "press pound", "ann")
    say(cases, one, "press bond", "bob")
    (found,) = labels.suspects().found
    assert (found.author, found.doubts) == ("bob", (Doubt.PEOPLE,))
    assert dict(found.others) == {"ann": "press pound"}
    say(cases, one, "press pound", "bob")
    assert labels.suspects().found == ()


def test_older_ones_are_asked_for_by_number(cases: Cases, hear: Hear, labels: Labels) -> None:
    heard = hear([f"press {n}" for n in range(5)])
    for inference in heard:
        say(cases, inference, "ann says", "ann")
        say(cases, inference, "bob says", "bob")
    found, before = [], None
    for _ in range(3):
        page = labels.suspects(limit=2, before=before)
        found += [one.inference_id for one in page.found]
        before = page.before
    assert found == [inference.id for inference in reversed(heard)]
    assert before is None
