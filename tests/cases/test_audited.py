"""The audited rate is that of the traffic, whatever else is labelled, and says how sure it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from misheard.capture.captured import Captured
from misheard.capture.digest import Digest, DigestRules
from misheard.capture.inferences import InferenceLog
from misheard.cases.audited import AuditedRate, audited_rate, audited_rates
from misheard.cases.cases import Cases
from misheard.cases.labels import Labels
from misheard.cases.records import Correction
from misheard.cases.review import ReviewQueue, Stream
from misheard.scoring.normalize import normalizer

ON_BOTH_DATABASES = True
AT = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


def hear(
    log: InferenceLog, count: int, *, version_id: str = "v-1", minutes: float = 0.0, first: int = 0
) -> None:
    """Every fifth is wrong in two of its four words; there are ten of each speaker."""
    items = [
        Captured(
            audio=f"{number}.wav",
            text=f"please hold {number} {'wrong' if number % 5 == 0 else 'right'}",
            heard_at=AT + timedelta(minutes=minutes),
            speaker=f"{version_id} {number // 10}",
        )
        for number in range(first, first + count)
    ]
    log.capture(items, live=version_id)


def spoken(text: str) -> str:
    return f"now wait {' '.join(text.split()[2:])}" if text.endswith("wrong") else text


def digest(engine: Engine, audit_share: float) -> None:
    def scorer(_: Connection, rows: Sequence[Any]) -> list[float | None]:
        return [0.9 if row.text.endswith("wrong") else 0.1 for row in rows]

    Digest(engine, rules=DigestRules(audit_share=audit_share), scorer=scorer).catch_up()


def label(
    engine: Engine, cases: Cases, stream: Stream, *, limit: int = 1_000, pages: int = 100
) -> int:
    """By somebody who hears all that is waiting."""
    labelled = 0
    for _ in range(pages):
        items = ReviewQueue(engine).page(stream, limit=limit).items
        if not items:
            break
        cases.correct(
            [
                Correction(inference_id=one.inference_id, reference=spoken(one.text), author="ann")
                for one in items
            ]
        )
        labelled += len(items)
    return labelled


def rate_of(engine: Engine, **which: Any) -> AuditedRate:
    with engine.connect() as connection:
        return audited_rate(connection, **which)


def test_what_is_suspicious_does_not_move_it(
    log: InferenceLog, engine: Engine, cases: Cases
) -> None:
    hear(log, 3_000)
    digest(engine, 0.2)
    # Of what is looked at first nearly all is wrong.
    assert label(engine, cases, Stream.SUSPICIOUS, pages=1, limit=300) == 300
    assert math.isnan(rate_of(engine).error_rate.estimate)
    drawn = label(engine, cases, Stream.AUDIT)
    found = rate_of(engine)
    assert (found.labelled, found.drawn, found.answered) == (drawn, drawn, 1.0)
    assert found.error_rate.low < 0.2 < found.error_rate.high
    assert found.wer.low < 0.1 < found.wer.high
    assert found.wer.estimate == pytest.approx(found.error_rate.estimate / 2)
    assert found.error_rate.high - found.error_rate.low < 0.09
    label(engine, cases, Stream.SUSPICIOUS)
    assert rate_of(engine) == found


def test_half_of_an_audit_says_the_same_with_less_certainty(
    log: InferenceLog, engine: Engine, cases: Cases
) -> None:
    """The half that comes first is a random one, though what is wrong is known to be suspicious."""
    hear(log, 4_000)
    digest(engine, 0.5)
    label(engine, cases, Stream.AUDIT, limit=500, pages=2)
    half = rate_of(engine)
    assert half.labelled == 1_000
    assert half.drawn is not None
    assert abs(half.drawn - 2_000) < 6 * math.sqrt(1_000)
    assert half.error_rate.low < 0.2 < half.error_rate.high
    label(engine, cases, Stream.AUDIT)
    whole = rate_of(engine)
    assert whole.drawn == half.drawn == whole.labelled
    assert whole.error_rate.high - whole.error_rate.low < half.error_rate.high - half.error_rate.low


def test_what_people_report_does_not_move_it(
    log: InferenceLog, engine: Engine, cases: Cases
) -> None:
    """Half of what is wrong is reported or corrected by users while the audit is half done."""
    hear(log, 4_000)
    digest(engine, 0.5)
    wrong = [one for one in log.recent(limit=4_000) if one.text.endswith("wrong")]
    for number, one in enumerate(wrong[:400]):
        if number % 2:
            cases.open(one.id)
    methods = ["manual", "feedback"]
    cases.correct(
        [
            Correction(
                inference_id=one.id,
                reference=spoken(one.text),
                author="ann",
                method=methods[number % 2 == 0],
            )
            for number, one in enumerate(wrong[:400])
        ]
    )
    assert rate_of(engine).labelled == 0
    items = ReviewQueue(engine).page(Stream.AUDIT, limit=1_000).items
    cases.correct(
        [
            Correction(
                inference_id=one.inference_id,
                reference=spoken(one.text),
                author="bob",
                method="audit",
            )
            for one in items
        ]
    )
    found = rate_of(engine)
    assert found.labelled == 1_000
    assert found.error_rate.low < 0.2 < found.error_rate.high


def test_an_open_case_is_answered_as_an_audit_by_name(
    log: InferenceLog, engine: Engine, cases: Cases
) -> None:
    hear(log, 1)
    digest(engine, 1.0)
    (one,) = log.recent()
    cases.open(one.id)
    answer = {"inference_id": one.id, "reference": "not that", "author": "ann"}
    cases.correct([Correction(**answer)])
    assert rate_of(engine).labelled == 0
    cases.correct([Correction(**answer, method="audit")])
    assert rate_of(engine).error_rate.estimate == 1.0
    cases.correct([Correction(**answer | {"reference": one.text}, method="feedback")])
    assert rate_of(engine).error_rate.estimate == 0.0


def test_each_weighs_as_many_as_it_stands_for(
    log: InferenceLog, engine: Engine, cases: Cases
) -> None:
    """All of a day that went wrong was drawn, and a tenth of ten good days."""
    hear(log, 1_000)
    digest(engine, 1.0)
    log.capture(
        [
            Captured(audio=f"{n}.wav", text=f"please hold {n} right", heard_at=AT)
            for n in range(10_000)
        ],
        live="v-1",
    )
    digest(engine, 0.1)
    label(engine, cases, Stream.AUDIT)
    found = rate_of(engine)
    # 200 wrong of 11,000; unweighted it would be 200 of 2,000.
    assert found.error_rate.estimate == pytest.approx(200 / 11_000, rel=0.1)
    assert found.error_rate.low < 200 / 11_000 < found.error_rate.high


def test_by_version_and_by_time(log: InferenceLog, engine: Engine, cases: Cases) -> None:
    hear(log, 100, version_id="v-1")
    hear(log, 200, version_id="v-2", minutes=60)
    digest(engine, 1.0)
    before = rate_of(engine, version_id="v-2")
    assert (before.labelled, before.drawn) == (0, 200)
    assert math.isnan(before.wer.estimate)
    assert (before.error_rate.low, before.error_rate.high) == (0.0, 1.0)
    label(engine, cases, Stream.AUDIT, limit=150, pages=1)
    with engine.connect() as connection:
        by_version = audited_rates(connection)
        recent = audited_rates(connection, AT + timedelta(minutes=30))
    one, two = by_version["v-1"], by_version["v-2"]
    assert one.labelled + two.labelled == 150
    assert (one.drawn, two.drawn) == (100, 200)
    assert by_version == {name: rate_of(engine, version_id=name) for name in by_version}
    assert recent == {"v-2": two}
    assert rate_of(engine, since=AT + timedelta(minutes=30)) == two
    assert rate_of(engine, since=AT + timedelta(minutes=90)).drawn == 0
    without = rate_of(engine, version_id="v-2", count_drawn=False)
    assert (without.drawn, without.error_rate) == (None, two.error_rate)
    assert Labels(engine, normalizer=normalizer("basic")).audited_by_version() == by_version


def test_what_a_person_takes_back_counts_no_more(
    log: InferenceLog, engine: Engine, cases: Cases
) -> None:
    hear(log, 20)
    digest(engine, 1.0)
    label(engine, cases, Stream.AUDIT)
    assert rate_of(engine).error_rate.estimate == pytest.approx(0.2)
    cases.correct(
        [Correction(inference_id=one.id, reference=one.text, author="bob") for one in log.recent()]
    )
    found = rate_of(engine)
    assert (found.error_rate.estimate, found.wer.estimate) == (0.0, 0.0)
    # Two speakers without an error prove little, however much they said.
    assert found.error_rate.high > 0.5
    assert found.wer.high == found.error_rate.high


def test_one_row_comes_out_however_much_was_labelled(
    log: InferenceLog, engine: Engine, cases: Cases
) -> None:
    """Labels that came before the window are not looked at."""
    if engine.dialect.name != "sqlite":
        return  # which chooses by what is in the table
    hear(log, 50)
    digest(engine, 1.0)
    label(engine, cases, Stream.AUDIT)
    plans: list[str] = []

    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        del cursor
        if statement.startswith("SELECT"):
            plan = connection.connection.dbapi_connection.execute(
                f"EXPLAIN QUERY PLAN {statement}", parameters
            )
            plans.extend(row[3] for row in plan)

    event.listen(engine, "before_cursor_execute", explain)
    found = rate_of(engine, since=datetime.now(UTC), count_drawn=False)
    event.remove(engine, "before_cursor_execute", explain)
    assert found.labelled == 0
    assert any("ix_selections_queue (stream=? AND labelled_at>?" in step for step in plans), plans
    assert not any(step.startswith(("SCAN selections", "SCAN inferences")) for step in plans), plans
