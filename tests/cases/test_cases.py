from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import Engine, select

from misheard.capture.inferences import Inference
from misheard.cases.cases import Cases
from misheard.cases.records import CaseStatus, Correction
from misheard.database.audit import AuditLog
from misheard.database.schema import corrections
from misheard.errors import InvalidTranscriptError, MisheardError, UnknownIdError

ON_BOTH_DATABASES = True

Hear = Callable[..., list[Inference]]


def said(inference: Inference, reference: str, author: str = "ann") -> Correction:
    return Correction(inference_id=inference.id, reference=reference, author=author)


def stored(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        query = select(corrections.c.reference).order_by(corrections.c.number)
        return list(connection.execute(query).scalars())


def test_a_difference_makes_an_error_case_with_its_score_and_kinds(
    cases: Cases, hear: Hear
) -> None:
    (heard,) = hear(["the color was here"])
    assert cases.correct([said(heard, "The caller was")]) == [True]
    (case,) = cases.listed()
    assert case.status is CaseStatus.CORRECTED
    assert (case.hypothesis, case.reference) == ("the color was here", "The caller was")
    assert case.score == pytest.approx(2 / 3)
    assert case.error_types == ["substitution", "insertion"]


@pytest.mark.parametrize(
    ("heard_text", "reference"),
    [
        ("Press 1, now!", "press one now"),
        ("hello", "hello"),
        ("I'm Dr. Smith.", "i am doctor smith"),
        ("", ""),
    ],
)
def test_where_only_formatting_differs_it_is_a_confirmation(
    cases: Cases, hear: Hear, heard_text: str, reference: str
) -> None:
    (heard,) = hear([heard_text])
    assert cases.correct([said(heard, reference)]) == [False]
    assert cases.listed() == []
    assert cases.counts().confirmations == 1
    (labelled,) = cases.labelled()
    assert not labelled.is_error
    assert labelled.reference == reference


def test_words_where_nobody_spoke_are_a_hallucination(cases: Cases, hear: Hear) -> None:
    (heard,) = hear(["Thank you for watching."])
    cases.correct([said(heard, "")])
    (case,) = cases.listed()
    assert case.error_types == ["hallucination"]
    assert case.score == 1.0


def test_the_newest_correction_counts_and_the_earlier_ones_stay(
    cases: Cases, hear: Hear, engine: Engine
) -> None:
    (heard,) = hear(["press pond"])
    cases.correct([said(heard, "press bond")])
    cases.correct([said(heard, "press pound", author="bob")])
    (case,) = cases.listed()
    assert case.reference == "press pound"
    assert [one.reference for one in cases.labelled()] == ["press pound"]
    assert stored(engine) == ["press bond", "press pound"]
    assert cases.counts().error_cases == 1


def test_a_later_confirmation_closes_the_case_and_a_later_correction_opens_it_again(
    cases: Cases, hear: Hear
) -> None:
    (heard,) = hear(["press pound"])
    cases.correct([said(heard, "press pond")])
    cases.correct([said(heard, "Press pound.")])
    assert [case.status for case in cases.listed()] == [CaseStatus.CONFIRMED]
    assert (cases.counts().error_cases, cases.counts().confirmations) == (0, 1)
    cases.correct([said(heard, "press bond")])
    assert (cases.counts().error_cases, cases.counts().confirmations) == (1, 0)


def test_within_one_call_the_last_word_on_an_utterance_counts(cases: Cases, hear: Hear) -> None:
    (heard,) = hear(["press pond"])
    assert cases.correct([said(heard, "press pound"), said(heard, "press pond")]) == [True, False]
    assert [one.is_error for one in cases.labelled()] == [False]


def test_one_unknown_utterance_and_nothing_is_stored(
    cases: Cases, hear: Hear, engine: Engine
) -> None:
    (heard,) = hear(["press pond"])
    unknown = Correction(inference_id="inf-x", reference="x", author="ann")
    with pytest.raises(UnknownIdError, match="inf-x"):
        cases.correct([said(heard, "press pound"), unknown])
    assert stored(engine) == []
    assert AuditLog(engine).entries() == []


@pytest.mark.parametrize("reference", [None, 7, b"x", "\ud800", "a\0b"], ids=ascii)
def test_a_correction_that_is_no_text_is_refused_and_nothing_is_stored(
    cases: Cases, hear: Hear, engine: Engine, reference: object
) -> None:
    one, two = hear(["press pond", "hello"])
    with pytest.raises(InvalidTranscriptError, match=two.id):
        cases.correct([said(one, "press pound"), said(two, reference)])  # type: ignore[arg-type]
    assert stored(engine) == []


def test_an_author_that_cannot_be_stored_is_refused(
    cases: Cases, hear: Hear, engine: Engine
) -> None:
    (heard,) = hear(["press pond"])
    with pytest.raises(MisheardError):
        cases.correct([said(heard, "press pound", author="\ud800")])
    assert stored(engine) == []


def test_who_said_what_is_audited(cases: Cases, hear: Hear, engine: Engine) -> None:
    one, two = hear(["press pond", "hello"])
    cases.correct([said(one, "press pound"), said(two, "hello", author="bob")])
    confirm, correct = AuditLog(engine).entries()
    assert (correct.actor, correct.action, correct.subject) == ("ann", "correct", one.id)
    assert (correct.from_value, correct.to_value) == ("press pond", "press pound")
    assert (confirm.actor, confirm.action) == ("bob", "confirm")


def test_a_reported_transcript_is_an_open_case_until_a_person_decides(
    cases: Cases, hear: Hear
) -> None:
    (heard,) = hear(["press pond"])
    cases.open(heard.id, ["jargon"])
    cases.open(heard.id, ["again"])
    (case,) = cases.listed(status=CaseStatus.OPEN)
    assert (case.reference, case.score, case.error_types) == (None, None, ["jargon"])
    assert not case.status.is_final
    assert cases.counts().uncorrected == 1
    assert list(cases.labelled()) == []
    cases.correct([said(heard, "press pound")])
    assert cases.listed(status=CaseStatus.OPEN) == []
    assert cases.counts().uncorrected == 0


def test_opening_a_case_of_an_unknown_transcript_is_an_error(cases: Cases) -> None:
    with pytest.raises(UnknownIdError):
        cases.open("inf-x")


def test_cases_are_listed_by_status_newest_first_up_to_a_limit(cases: Cases, hear: Hear) -> None:
    heard = hear(["one", "two", "three"])
    for inference in heard:
        cases.correct([said(inference, "four")])
    assert [case.hypothesis for case in cases.listed(limit=2)] == ["three", "two"]
    cases.correct([said(heard[2], "three")])
    assert [c.hypothesis for c in cases.listed(status=CaseStatus.CONFIRMED)] == ["three"]
    assert len(cases.listed(status=CaseStatus.CORRECTED)) == 2


def test_counts_since_a_moment_leave_out_what_was_before(cases: Cases, hear: Hear) -> None:
    old, new = hear(["one", "two"])
    cases.correct([said(old, "nine")])
    moment = cases.listed()[0].created_at
    assert cases.counts(since=moment).error_cases == 0
    cases.correct([said(new, "ten")])
    counts = cases.counts(since=moment)
    assert (counts.error_cases, counts.corrected) == (1, 1)
    assert counts.by_type == {"substitution": 1}
    assert cases.counts().by_type == {"substitution": 2}


def test_many_corrections_at_once(cases: Cases, hear: Hear) -> None:
    heard = hear([f"text {number}" for number in range(300)])
    outcomes = cases.correct([said(one, "text 0") for one in heard])
    assert outcomes.count(False) == 1
    assert cases.counts().corrected == 299


def test_what_is_said_again_counts_once(cases: Cases, hear: Hear) -> None:
    (heard,) = hear(["press one"])
    said = Correction(inference_id=heard.id, reference="press two", author="app", method="feedback")
    first = cases.correct_once(said)
    assert (first.reference, first.is_error) == ("press two", True)
    assert cases.correct_once(said) == first
    others = [
        replace(said, author="ann"),
        replace(said, method="manual"),
        replace(said, reference="press one"),
    ]
    numbers = [cases.correct_once(one).number for one in [*others, said]]
    assert len({first.number, *numbers}) == 5
    assert len(cases.corrections(inference_id=heard.id)) == 5


def test_whatever_is_said_of_nothing_is_told_so(cases: Cases) -> None:
    with pytest.raises(UnknownIdError, match="inf-0"):
        cases.correct_once(Correction(inference_id="inf-0", reference="a", author="ann"))
