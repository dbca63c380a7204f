"""What is reported, what is measured, and how a case is found again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, update

from misheard.capture.inferences import Inference, InferenceLog
from misheard.cases.cases import Cases
from misheard.cases.measure import compare
from misheard.cases.records import CaseStatus, Correction, GivenCorrection
from misheard.database.audit import AuditLog
from misheard.database.engine import writing
from misheard.database.schema import inferences
from misheard.datasets.datasets import Datasets, Purpose
from misheard.datasets.manifest import Row
from misheard.datasets.split import Split
from misheard.errors import BadInputError, MisheardError, UnknownIdError
from tests.tiny import everything

ON_BOTH_DATABASES = True

Hear = Callable[..., list[Inference]]


def said(inference: Inference, reference: str, author: str = "ann", **more: Any) -> Correction:
    return Correction(inference_id=inference.id, reference=reference, author=author, **more)


@contextmanager
def nothing_is_written(engine: Engine) -> Iterator[None]:
    before = everything(engine)
    yield
    assert everything(engine) == before


@pytest.mark.parametrize(
    ("hypothesis", "reference", "types", "score"),
    [
        ("press one", "press one", (), 0.0),
        ("press one", "press two", ("substitution",), 0.5),
        ("press", "press one", ("deletion",), 0.5),
        ("press one", "press", ("insertion",), 1.0),
        ("a b c d", "e", ("substitution", "insertion"), 1.0),
        ("thank you", "", ("hallucination",), 1.0),
        ("", "", (), 0.0),
    ],
)
def test_what_differs_is_named_and_measured_by_the_words_that_were_said(
    hypothesis: str, reference: str, types: tuple[str, ...], score: float
) -> None:
    outcome = compare(hypothesis, reference, normalize=str.lower)
    assert (outcome.types, outcome.score) == (types, pytest.approx(score))


def test_types_that_were_given_stay_and_measured_ones_follow_the_newest_correction(
    cases: Cases, hear: Hear
) -> None:
    (heard,) = hear(["press pond"])
    case_id = cases.open(heard.id, ["names", "jargon", "names"])
    assert cases.get(case_id).error_types == ["jargon", "names"]
    cases.correct([said(heard, "press pond now")])
    assert cases.get(case_id).error_types == ["jargon", "names", "deletion"]
    cases.correct([said(heard, "press")])
    case = cases.get(case_id)
    assert case.error_types == ["jargon", "names", "insertion"]
    assert case.score == 1.0


def test_a_type_that_is_given_and_measured_is_one_type(cases: Cases, hear: Hear) -> None:
    (heard,) = hear(["press pond"])
    case_id = cases.open(heard.id, ["substitution"])
    cases.correct([said(heard, "press pound")])
    assert cases.get(case_id).error_types == ["substitution"]
    assert cases.counts().by_type == cases.totals().by_type == {"substitution": 1}
    cases.correct([said(heard, "press pond now")])
    assert cases.get(case_id).error_types == ["substitution", "deletion"]


def test_a_confirmation_takes_back_what_was_measured_but_not_what_was_given(
    cases: Cases, hear: Hear
) -> None:
    (heard,) = hear(["press pond"])
    case_id = cases.open(heard.id, ["names"], suspicion=0.9)
    cases.correct([said(heard, "press pound")])
    cases.correct([said(heard, "Press pond.")])
    case = cases.get(case_id)
    assert case.status is CaseStatus.CONFIRMED
    assert case.status.is_final
    assert (case.error_types, case.score, case.suspicion) == (["names"], 0.0, 0.9)
    assert cases.counts().by_type == {}
    assert cases.totals().by_type == {"names": 1}


def test_a_correction_leaves_suspicion_and_details_as_they_were(cases: Cases, hear: Hear) -> None:
    (heard,) = hear(["press pond"])
    case_id = cases.open(heard.id, suspicion=0.25, details={"line": 3, "tags": ["a", {"b": None}]})
    cases.correct([said(heard, "press pound", details={"from": "phone"})])
    case = cases.get(case_id)
    assert (case.suspicion, case.score) == (0.25, 0.5)
    assert case.details == {"line": 3, "tags": ["a", {"b": None}]}


def test_a_case_that_exists_is_left_as_it_is(cases: Cases, hear: Hear) -> None:
    (heard,) = hear(["press pond"])
    first = cases.open(heard.id, ["names"], suspicion=0.5, details={"a": 1})
    before = cases.get(first)
    assert cases.open(heard.id, ["jargon"], suspicion=1.0, details={"a": 2}) == first
    assert cases.get(first) == before


def test_who_opens_a_case_is_in_the_audit_log(cases: Cases, hear: Hear, engine: Engine) -> None:
    mine, nobodys = hear(["press pond", "press nine"])
    case_id = cases.open(mine.id, ["names"], actor="bob", suspicion=0.5)
    assert cases.open(mine.id, actor="eve") == case_id
    cases.open(nobodys.id)
    (entry,) = AuditLog(engine).entries()
    assert (entry.actor, entry.action, entry.subject) == ("bob", "open_case", mine.id)
    assert (entry.to_value, entry.evidence) == (case_id, {"suspicion": 0.5})


@pytest.mark.parametrize("suspicion", [0, 0.0, 0.5, 1.0, 1, np.float32(0.5), np.float64(0.25)])
def test_a_suspicion_may_be_any_number_from_nothing_to_certain(
    cases: Cases, hear: Hear, suspicion: float
) -> None:
    (heard,) = hear(["press pond"])
    assert cases.get(cases.open(heard.id, suspicion=suspicion)).suspicion == float(suspicion)


@pytest.mark.parametrize(
    "bad",
    [
        {"suspicion": math.nan},
        {"suspicion": math.inf},
        {"suspicion": -0.01},
        {"suspicion": 1.01},
        {"suspicion": "high"},
        {"suspicion": [0.5]},
        {"error_types": "substitution"},
        {"error_types": None},
        {"error_types": 7},
        {"error_types": ["names", 5]},
        {"error_types": ["names", "nul \0"]},
        {"error_types": ["lone \ud800"]},
        {"details": {"audio": b"bytes"}},
        {"details": {"when": datetime(2026, 1, 1, tzinfo=UTC)}},
        {"details": {"score": math.nan}},
        {"details": {("a", "b"): 1}},
        {"details": ["no", "mapping"]},
    ],
    ids=ascii,
)
def test_bad_input_opens_no_case(
    cases: Cases, hear: Hear, engine: Engine, bad: dict[str, Any]
) -> None:
    (heard,) = hear(["press pond"])
    with nothing_is_written(engine), pytest.raises(BadInputError):
        cases.open(heard.id, **bad)


@pytest.mark.parametrize(
    "bad",
    [
        {"details": {"audio": b"bytes"}},
        {"details": {"score": math.nan}},
        {"details": "text"},
        {"author": None},
        {"author": "nul \0"},
        {"method": 5},
        {"method": "lone \ud800"},
        {"reference": math.nan},
        {"inference_id": "inf-x"},
        {"inference_id": None},
    ],
    ids=ascii,
)
def test_one_bad_correction_and_the_good_one_before_it_is_not_stored_either(
    cases: Cases, hear: Hear, engine: Engine, bad: dict[str, Any]
) -> None:
    one, two = hear(["press pond", "hello"])
    wrong = Correction(**{"inference_id": two.id, "reference": "x", "author": "ann"} | bad)
    with nothing_is_written(engine), pytest.raises(MisheardError):
        cases.correct([said(one, "press pound"), wrong])


def test_details_that_hold_themselves_are_refused(cases: Cases, hear: Hear) -> None:
    (heard,) = hear(["press pond"])
    circle: dict[str, Any] = {}
    circle["self"] = circle
    with pytest.raises(BadInputError, match="details of a case"):
        cases.open(heard.id, details=circle)


def test_an_unknown_case_is_an_error(cases: Cases) -> None:
    with pytest.raises(UnknownIdError, match="misheard cases"):
        cases.get("case-x")


def test_a_case_knows_its_recording(cases: Cases, hear: Hear) -> None:
    (heard,) = hear(["press pond"])
    case = cases.get(cases.open(heard.id))
    assert (case.inference_id, case.audio_sha256) == (heard.id, heard.audio_sha256)
    assert (case.hypothesis, case.source) == ("press pond", "")


def test_cases_are_found_by_type_and_status_given_or_measured(cases: Cases, hear: Hear) -> None:
    one, two, three = hear(["press one", "press two", "press three"])
    cases.open(one.id, ["names"])
    cases.open(two.id, ["names"])
    cases.correct([said(two, "press"), said(three, "press")])

    def found(**chosen: Any) -> list[str]:
        return [case.hypothesis for case in cases.listed(**chosen)]

    assert found() == ["press three", "press two", "press one"]
    assert found(error_type="names") == ["press two", "press one"]
    assert found(error_type="insertion") == ["press three", "press two"]
    assert found(error_type="insertion", status=CaseStatus.OPEN) == []
    assert found(error_type="names", status=CaseStatus.OPEN) == ["press one"]
    assert found(error_type="nothing") == []
    assert found(limit=2) == ["press three", "press two"]


def test_cases_are_found_by_tags_and_by_group(
    cases: Cases, log: InferenceLog, hear: Hear, engine: Engine
) -> None:
    tags: list[dict[str, str]] = [
        {"channel": "mobile", "noise": "high"},
        {"channel": "mobile"},
        {'chan"nel': "mobile", "Lärm.$[0]'": "groß"},
        {},
    ]
    heard = hear([f"press {number}" for number in range(4)])
    with writing(engine) as connection:
        for number, (one, its) in enumerate(zip(heard, tags, strict=True)):
            this = inferences.c.id == one.id
            values = {"tags": its, "speaker_group": f"agent {number % 2}", "speaker": f"s{number}"}
            connection.execute(update(inferences).where(this).values(**values))
            cases.open_in(connection, one.id)

    def found(**chosen: Any) -> list[int]:
        return sorted(int(case.hypothesis.split()[1]) for case in cases.listed(**chosen))

    assert found() == [0, 1, 2, 3]
    assert found(tags={"channel": "mobile"}) == [0, 1]
    assert found(tags={"channel": "mobile", "noise": "high"}) == [0]
    assert found(tags={"channel": "landline"}) == []
    assert found(tags={"Lärm.$[0]'": "groß"}) == [2]
    assert found(tags={'chan"nel': "mobile"}) == [2]
    assert found(speaker_group="agent 1") == [1, 3]
    assert found(speaker_group="agent 1", tags={"channel": "mobile"}) == [1]
    assert found(speaker_group="nobody") == []
    case = cases.get(heard[0].id)
    assert (case.tags, case.speaker, case.speaker_group) == (tags[0], "s0", "agent 0")


def test_without_a_limit_all_are_listed_with_their_types(cases: Cases, hear: Hear) -> None:
    # More than fit into one query for types, and more than the usual limit.
    heard = hear([f"text {number}" for number in range(620)])
    cases.correct([said(one, "text x") for one in heard])
    found = cases.listed(limit=None)
    assert len(found) == 620
    assert all(case.error_types == ["substitution"] for case in found)
    assert len(cases.listed()) == 50
    assert len(cases.corrections(limit=None)) == 620
    assert len(cases.corrections()) == 50


def test_every_correction_is_listed_newest_first_with_its_method_and_details(
    cases: Cases, hear: Hear
) -> None:
    (heard,) = hear(["press pond"])
    first = said(heard, "press pound", method="feedback", details={"ticket": 7})
    cases.correct([first])
    cases.correct([said(heard, "press pond", author="bob")])
    newest, oldest = cases.corrections()
    assert isinstance(newest, GivenCorrection)
    assert (newest.author, newest.is_error, newest.method) == ("bob", False, "manual")
    assert (oldest.author, oldest.is_error, oldest.method) == ("ann", True, "feedback")
    assert oldest.details == {"ticket": 7}
    assert newest.number > oldest.number
    assert newest.created_at >= oldest.created_at
    assert [one.number for one in cases.corrections(limit=1)] == [newest.number]


def test_what_people_say_last_of_the_same_transcript_stands_beside_the_newest_word(
    cases: Cases, hear: Hear
) -> None:
    one, two, three = hear(["press pond", "hello", "bye"])
    cases.correct([said(one, "press pound", "ann"), said(one, "press bond", "bob")])
    cases.correct([said(one, "press pawn", "cleo"), said(one, "press round", "ann")])
    cases.correct([said(two, "hallo", "ann"), said(two, "hullo", "ann")])
    cases.correct([said(three, "by", "ann"), said(three, "by", "bob")])
    found = {item.hypothesis: item for item in cases.labelled()}
    assert found["press pond"].reference == "press round"
    assert sorted(found["press pond"].other_references) == ["press bond", "press pawn"]
    assert found["hello"].other_references == ()
    assert found["bye"].other_references == ("by",)


def test_labels_carry_the_types_of_their_error(cases: Cases, hear: Hear) -> None:
    one, two = hear(["press pond", "hello"])
    cases.open(one.id, ["names"])
    cases.correct([said(one, "press pound"), said(two, "hello")])
    found = {item.hypothesis: item.error_types for item in cases.labelled()}
    assert found == {"press pond": ("names", "substitution"), "hello": ()}


def test_totals_hold_everything_that_was_ever_kept(cases: Cases, hear: Hear) -> None:
    assert cases.totals().last_changed is None
    assert (cases.totals().cases, cases.totals().corrections) == (0, 0)
    one, two, three, four = hear(["press one", "press two", "press three", "press four"])
    cases.open(one.id, ["names"])
    cases.open(two.id, ["names"])
    cases.correct([said(two, "press two"), said(three, "press"), said(three, "three")])
    cases.correct([said(four, "press four")])
    totals = cases.totals()
    assert (totals.cases, totals.labelled_cases, totals.corrections) == (3, 2, 4)
    assert totals.by_type == {"insertion": 1, "names": 2}
    assert totals.last_changed == cases.corrections()[0].created_at
    newest = cases.open(four.id)
    assert cases.totals().last_changed == cases.get(newest).created_at


def test_clearing_forgets_cases_and_corrections_and_nothing_else(
    cases: Cases, hear: Hear, engine: Engine, log: InferenceLog, datasets: Datasets
) -> None:
    one, two = hear(["press pond", "hello"])
    cases.open(two.id, ["names"])
    cases.correct([said(one, "press pound")])
    row = Row(
        audio_sha256=one.audio_sha256,
        reference="press pound",
        split=Split.TRAIN,
        kind="error",
        speaker_group="g",
        duration_s=0.1,
    )
    kept = datasets.add("prompts", Purpose.TRAINING, [row])
    assert cases.clear(actor="bob") == 2
    assert cases.listed() == cases.corrections() == list(cases.labelled()) == []
    assert cases.counts().error_cases == cases.counts().confirmations == 0
    assert cases.totals().by_type == {}
    assert datasets.rows(datasets.get(kept.id)) == [row]
    assert log.count() == 2
    entry = AuditLog(engine).entries(limit=1)[0]
    assert (entry.actor, entry.action, entry.evidence) == ("bob", "clear", {"cases": 2})
    # And a new case can be made of what is left.
    assert cases.get(cases.open(one.id)).status is CaseStatus.OPEN
