"""Trends are what the hours add up to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, select, update

from misheard.capture.captured import Captured
from misheard.capture.digest import Digest, DigestRules
from misheard.capture.inferences import InferenceLog
from misheard.database.engine import writing
from misheard.database.schema import inferences, selections
from misheard.errors import BadInputError
from misheard.monitoring.trends import Metric, Period, TrendLine, Trends
from tests.monitoring.traffic import an_hour, hours, of_audit

ON_BOTH_DATABASES = True
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


@pytest.fixture
def trends(engine: Engine) -> Trends:
    return Trends(engine)


def line(trends: Trends, metric: Metric, **options: Any) -> TrendLine:
    known: dict[str, Any] = {"since": MONDAY, "until": MONDAY + 2 * DAY}
    return trends.of(metric, **known | options)


def values(found: TrendLine) -> list[float]:
    return [point.value for point in found.points]


@pytest.mark.parametrize(
    ("metric", "expected", "counts"),
    [
        (Metric.INFERENCES, [400, 0, 50], [400, 0, 50]),
        (Metric.SUSPICION, [(20 + 120) / 400, math.nan, 0.1], [400, 0, 50]),
        (Metric.EMPTY_SHARE, [0.025, math.nan, 0.0], [400, 0, 50]),
        (Metric.LATENCY, [(50 + 300) / 400, math.nan, 2.0], [400, 0, 25]),
        (Metric.REAL_TIME_FACTOR, [(60 + 180) / 800, math.nan, 0.3], [400, 0, 50]),
        (Metric.ERRORS, [9, 0, 0], [400, 0, 50]),
        (Metric.CORRECTIONS, [4, 0, 0], [400, 0, 50]),
    ],
)
def test_every_metric_by_day(
    trends: Trends, engine: Engine, metric: Metric, expected: list[float], counts: list[int]
) -> None:
    an_hour(engine, MONDAY, suspicion=20.0, latency_s=50.0, empty=10, errors=9)
    later = {"inferences": 300, "suspicion": 120.0, "latency_s": 300.0, "corrected": 4}
    an_hour(engine, MONDAY + 23 * HOUR, "v-2", **later)
    wednesday = {"inferences": 50, "suspicion": 5.0, "timed": 25, "latency_s": 50.0}
    an_hour(engine, MONDAY + 2 * DAY, **wednesday)
    an_hour(engine, MONDAY - HOUR, suspicion=100.0, errors=50)
    found = line(trends, metric)
    assert values(found) == pytest.approx(expected, nan_ok=True)
    assert [point.count for point in found.points] == counts
    assert [point.start for point in found.points] == [MONDAY, MONDAY + DAY, MONDAY + 2 * DAY]


def test_by_hour_and_by_week(trends: Trends, engine: Engine) -> None:
    told = [(MONDAY + n * HOUR, "v-1", {"inferences": n + 1}) for n in range(24 * 14)]
    hours(engine, told)
    by_hour = line(trends, Metric.INFERENCES, period=Period.HOUR, until=MONDAY + 4 * HOUR)
    assert values(by_hour) == [1, 2, 3, 4, 5]
    sunday = MONDAY + 6 * DAY + 13 * HOUR
    by_week = line(trends, Metric.INFERENCES, period=Period.WEEK, since=sunday, until=sunday + DAY)
    assert [point.start for point in by_week.points] == [MONDAY, MONDAY + 7 * DAY]
    assert values(by_week) == [sum(range(1, 169)), sum(range(169, 337))]


def test_by_version_and_by_slice(trends: Trends, engine: Engine) -> None:
    an_hour(engine, MONDAY, "v-1", inferences=10)
    an_hour(engine, MONDAY, "v-2", inferences=20)
    an_hour(engine, MONDAY, "v-1", inferences=3, slice="channel=mobile")
    an_hour(engine, MONDAY, "v-2", inferences=4, slice="channel=mobile")
    metric = Metric.INFERENCES
    assert values(line(trends, metric))[0] == 30
    assert values(line(trends, metric, version_id="v-2"))[0] == 20
    assert values(line(trends, metric, slice_name="channel=mobile"))[0] == 7
    both = {"version_id": "v-1", "slice_name": "channel=mobile"}
    assert values(line(trends, metric, **both))[0] == 3
    assert values(line(trends, metric, version_id="v-3")) == [0, 0, 0]
    assert trends.versions(MONDAY) == ["v-1", "v-2"]
    assert trends.versions(MONDAY + HOUR) == []
    with pytest.raises(BadInputError, match="channel=mobile"):
        line(trends, metric, slice_name="mobile")


def test_what_was_logged_and_digested_is_there(
    trends: Trends, engine: Engine, log: InferenceLog
) -> None:
    items = [
        Captured(
            audio=f"{n}.wav",
            text="" if n % 4 == 0 else "hello",
            heard_at=MONDAY + n * HOUR,
            duration_s=2.0,
            compute_s=0.5,
            latency_s=0.25,
        )
        for n in range(24)
    ]
    log.capture(items, live="v-1")
    _digest(engine).catch_up()
    assert values(line(trends, Metric.INFERENCES))[0] == 24
    assert values(line(trends, Metric.EMPTY_SHARE))[0] == 0.25
    assert values(line(trends, Metric.REAL_TIME_FACTOR))[0] == 0.25
    assert values(line(trends, Metric.LATENCY))[0] == 0.25


def test_audited_error_rates_are_of_what_was_drawn_and_looked_at(
    trends: Trends, engine: Engine, log: InferenceLog
) -> None:
    items = [
        Captured(
            audio=f"{n}.wav",
            text="hello",
            heard_at=MONDAY + n % 2 * DAY,
            recogniser="v-1" if n < 6 else "other",
            tags={"channel": "mobile" if n % 4 == 0 else "desk"},
        )
        for n in range(8)
    ]
    log.capture(items, live="v-1")
    _digest(engine, audit_share=1.0).catch_up()
    with engine.connect() as connection:
        ids = connection.scalars(select(inferences.c.id).order_by(inferences.c.number)).all()
    looked_at = MONDAY + 5 * DAY
    for number, wrong in enumerate((2, 0, 1, 0, 0)):
        _label(engine, ids[number], looked_at, words=10, word_errors=wrong)
    _label(engine, ids[6], looked_at, words=10, word_errors=10)
    # 5 and 7 have not been looked at.
    found = line(trends, Metric.AUDITED_WER)
    assert values(found) == pytest.approx([13 / 40, 0.0, math.nan], nan_ok=True)
    assert [point.count for point in found.points] == [40, 20, 0]
    rates = line(trends, Metric.AUDITED_ERROR_RATE, version_id="v-1")
    assert values(rates)[:2] == pytest.approx([2 / 3, 0.0])
    mobile = line(trends, Metric.AUDITED_ERROR_RATE, slice_name="channel=mobile")
    assert values(mobile)[0] == pytest.approx(1 / 2)
    # What was chosen for its suspicion is no sample of the traffic.
    with writing(engine) as connection:
        this = selections.c.inference_id == ids[6]
        connection.execute(
            update(selections).where(this).values(stream="suspicious", heard_at=None)
        )
    assert values(line(trends, Metric.AUDITED_WER))[0] == pytest.approx(3 / 30)


def _digest(engine: Engine, **rules: Any) -> Digest:
    def scorer(_: Connection, rows: Sequence[Any]) -> Sequence[float | None]:
        return [0.1] * len(rows)

    return Digest(engine, rules=DigestRules(**rules), scorer=scorer)


def _label(engine: Engine, inference_id: str, at: datetime, **counts: int) -> None:
    values = {"labelled_at": at, "is_error": counts["word_errors"] > 0, **counts}
    with writing(engine) as connection:
        query = select(inferences).where(inferences.c.id == inference_id)
        values |= of_audit(connection.execute(query).one())
        this = selections.c.inference_id == inference_id
        connection.execute(update(selections).where(this).values(**values))
