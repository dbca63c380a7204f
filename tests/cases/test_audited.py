"""The audited rate is that of the traffic, whatever else is labelled, and says how sure it is."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, select, text

from misheard.blobs.directory import DirectoryBlobs
from misheard.capture.captured import Captured
from misheard.capture.digest import Digest, DigestRules
from misheard.capture.inferences import InferenceLog
from misheard.cases.audited import (
    AuditedRate,
    audited_over_time,
    audited_rate,
    audited_rates,
)
from misheard.cases.cases import Cases
from misheard.cases.labels import Labels
from misheard.cases.records import Correction
from misheard.cases.review import ReviewQueue, Stream
from misheard.database import tallies
from misheard.database.schema import inferences, selections
from misheard.forgetting.forgetting import Forgetting
from misheard.forgetting.person import IdKind, Person
from misheard.scoring.normalize import normalizer

ON_BOTH_DATABASES = True
AT = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _the_same_draws_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interval does not hold the truth five times in a hundred; here it is always the same."""
    monkeypatch.setattr(os, "urandom", random.Random(20_260_131).randbytes)


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


def test_the_newest_labels_are_no_worse_than_the_rest(
    log: InferenceLog, engine: Engine, cases: Cases
) -> None:
    """Whoever labels what was wrong a second time does not make it new."""
    hear(log, 2_000)
    digest(engine, 0.5)
    label(engine, cases, Stream.AUDIT)
    everything, newest = rate_of(engine), rate_of(engine, newest=500)
    assert (newest.labelled, newest.error_rate.n) == (500, 500)
    assert newest.error_rate.low < 0.2 < newest.error_rate.high
    assert rate_of(engine, newest=5_000) == everything
    wrong = [one for one in log.recent(limit=2_000) if one.text.endswith("wrong")]
    cases.correct(
        [Correction(inference_id=one.id, reference=spoken(one.text), author="bob") for one in wrong]
    )
    assert rate_of(engine, newest=500) == newest


def test_newest_counts_what_was_heard_in_that_time(
    log: InferenceLog, engine: Engine, cases: Cases
) -> None:
    hear(log, 100)
    hear(log, 100, minutes=60, first=100)
    digest(engine, 1.0)
    label(engine, cases, Stream.AUDIT)
    since = AT + timedelta(minutes=30)
    assert rate_of(engine, since=since, newest=100) == rate_of(engine, since=since)
    assert rate_of(engine, since=since, newest=99).labelled == 99


def test_over_time_each_period_has_the_rate_that_it_has_alone(
    log: InferenceLog, engine: Engine, cases: Cases
) -> None:
    hear(log, 300)
    digest(engine, 0.5)
    hear(log, 300, version_id="v-2", minutes=60)
    digest(engine, 0.9)
    label(engine, cases, Stream.AUDIT)
    first, second = tallies.hour_of(AT), tallies.hour_of(AT) + timedelta(hours=1)
    with engine.connect() as connection:
        by_hour = audited_over_time(connection, tallies.hour_of, since=first)
        from_second = audited_over_time(connection, tallies.hour_of, since=second)
        of_one = audited_over_time(connection, tallies.hour_of, since=first, version_id="v-1")
        by_day = audited_over_time(
            connection, lambda moment: tallies.hour_of(moment, block=24), since=first
        )
    assert by_hour.keys() == {first, second}
    assert (of_one, from_second) == ({first: by_hour[first]}, {second: by_hour[second]})
    (whole,) = by_day.values()
    for found, alone in (
        (by_hour[first], rate_of(engine, version_id="v-1", count_drawn=False)),
        (by_hour[second], rate_of(engine, since=second, count_drawn=False)),
        (whole, rate_of(engine, count_drawn=False)),
    ):
        assert (found.labelled, found.words) == (alone.labelled, alone.words)
        assert found.words == 4 * found.labelled
        for name in ("error_rate", "wer"):
            # The same sums in another order.
            one, other = (vars(getattr(rate, name)) for rate in (found, alone))
            assert one == pytest.approx(other, rel=1e-9)


def direct(engine: Engine) -> tuple[float, float, int]:
    """Error rate, WER and count by the log itself, which the estimate does not read."""
    query = (
        select(inferences.c.speaker_group, selections)
        .join(inferences, inferences.c.id == selections.c.inference_id)
        .where(selections.c.stream == Stream.AUDIT, selections.c.labelled_at.is_not(None))
    )
    with engine.connect() as connection:
        rows = connection.execute(query).all()
    wrong = sum(row.is_error / row.probability for row in rows)
    weight = sum(1 / row.probability for row in rows)
    errors = sum(row.word_errors / row.probability for row in rows)
    words = sum(row.words / row.probability for row in rows)
    return (wrong / weight, errors / words, len(rows)) if rows else (math.nan, math.nan, 0)


def test_it_is_that_of_the_log_whatever_becomes_of_the_labels(
    log: InferenceLog, engine: Engine, cases: Cases, blobs: DirectoryBlobs, tmp_path: Path
) -> None:
    def agrees() -> int:
        found = rate_of(engine, count_drawn=False)
        told = (found.error_rate.estimate, found.wer.estimate, found.labelled)
        assert told == pytest.approx(direct(engine), nan_ok=True)
        return found.labelled

    hear(log, 300)
    digest(engine, 0.5)
    hear(log, 300, version_id="v-2", minutes=60, first=300)
    digest(engine, 0.2)
    assert agrees() == 0
    label(engine, cases, Stream.AUDIT)
    label(engine, cases, Stream.SUSPICIOUS)
    everything = agrees()
    again = [
        Correction(inference_id=one.id, reference=one.text, author="bob")
        for one in log.recent(limit=400)[::3]
    ]
    cases.correct(again)
    assert agrees() == everything
    forgetting = Forgetting(engine, blobs, jobs_root=tmp_path, copies=list)
    person = Person(kind=IdKind.SPEAKER, id="v-1 3")
    forgetting.forget(person, actor="ann", reason="a letter")
    assert agrees() < everything
    cases.clear(actor="ann")
    assert agrees() == 0
    label(engine, cases, Stream.AUDIT)
    assert agrees() > 0


def test_no_row_of_the_log_is_read_however_much_was_labelled(
    log: InferenceLog, engine: Engine, cases: Cases
) -> None:
    """What was heard before the window is not looked at, whatever is known of the tables."""
    if engine.dialect.name != "sqlite":
        return  # whose plan it is
    hear(log, 500)
    digest(engine, 0.5)
    label(engine, cases, Stream.AUDIT, pages=1, limit=100)
    since = AT - timedelta(days=1)
    asked: list[dict[str, Any]] = [
        {"since": since, "newest": 50},
        {"newest": 50},
        {"since": since, "version_id": "v-1", "newest": 50},
    ]
    for analyzed in (False, True):
        if analyzed:
            with engine.begin() as connection:
                connection.execute(text("ANALYZE"))
        for which in asked:
            plan = plan_of(engine, **which)
            index = "ix_selections_audited" + ("_version" if "version_id" in which else "")
            assert any(f"selections USING INDEX {index}" in step for step in plan), plan
            # Only the groups are sorted.
            assert not any("inferences" in step or "ORDER BY" in step for step in plan), plan


def plan_of(engine: Engine, **which: Any) -> list[str]:
    plans: list[str] = []

    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        del cursor
        plan = connection.connection.dbapi_connection.execute(
            f"EXPLAIN QUERY PLAN {statement}", parameters
        )
        plans.extend(row[3] for row in plan)

    event.listen(engine, "before_cursor_execute", explain)
    rate_of(engine, count_drawn=False, **which)
    event.remove(engine, "before_cursor_execute", explain)
    return plans
