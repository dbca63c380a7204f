"""How long callers waited, from the log to each place where somebody looks."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, event, func, select, update

from misheard.capture.captured import Captured
from misheard.capture.digest import Digest, DigestRules, no_suspicion
from misheard.capture.inferences import InferenceLog
from misheard.database import latencies
from misheard.database.engine import writing
from misheard.database.schema import hourly, inferences, latency_totals
from misheard.monitoring.activity import Monitor
from misheard.monitoring.trends import Metric, Period, Trends

ON_BOTH_DATABASES = True
AT = datetime(2026, 1, 31, 9, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)


def waits(count: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).lognormal(mean=-1.0, sigma=0.8, size=count)


def told(waited_s: float | None, at: datetime = AT, **fields: Any) -> Captured:
    return Captured(audio="a.wav", text="hello", heard_at=at, latency_s=waited_s, **fields)


@pytest.fixture
def digest(engine: Engine) -> Digest:
    return Digest(engine, rules=DigestRules(slices=("channel",)), scorer=no_suspicion)


def near(value: float, waited_s: Any, share: float) -> bool:
    true = float(np.quantile(waited_s, share, method="lower"))
    return abs(value - true) <= latencies.ACCURACY * true * 1.000001


def test_the_same_before_half_way_and_after_the_digest(
    engine: Engine, log: InferenceLog, digest: Digest
) -> None:
    monitor, drawn = Monitor(engine), waits(600)
    first, second = drawn[:400], drawn[400:]
    seen = []
    log.capture([told(float(one), AT + HOUR * (n % 5)) for n, one in enumerate(first)], live="v-1")
    # Before the window, of another version, without a latency.
    log.capture([told(9.0, AT - HOUR), told(9.0, recogniser="other"), told(None)], live="v-1")
    digest.catch_up()
    log.capture([told(float(one), AT + HOUR * (n % 5)) for n, one in enumerate(second)], live="v-1")
    log.capture([told(9.0, AT - HOUR), told(9.0, recogniser="other"), told(None)], live="v-1")
    seen.append(monitor.latency("v-1", since=AT))
    digest.catch_up()
    seen.append(monitor.latency("v-1", since=AT))
    assert seen[0] == seen[1]
    assert (seen[0].since, seen[0].transcripts) == (AT.replace(minute=0), 600)
    assert near(seen[0].p50_s, drawn, 0.5)
    assert near(seen[0].p95_s, drawn, 0.95)
    assert near(seen[0].p99_s, drawn, 0.99)


def test_what_was_only_reported_is_no_traffic(
    engine: Engine, log: InferenceLog, digest: Digest
) -> None:
    log.capture([told(0.5)], live="v-1")
    log.capture([told(9.0)], live="v-1")
    with writing(engine) as connection:
        this = inferences.c.latency_s == 9.0
        connection.execute(update(inferences).where(this).values(reported=True))
    for _ in range(2):
        found = Monitor(engine).latency("v-1", since=AT)
        assert (found.transcripts, round(found.p99_s, 1)) == (1, 0.5)
        digest.catch_up()
    nobody = Monitor(engine).latency("v-2", since=AT)
    assert (nobody.transcripts, math.isnan(nobody.p95_s)) == (0, True)


def test_trends_of_quantiles_are_those_of_all_their_transcripts(
    engine: Engine, log: InferenceLog, digest: Digest
) -> None:
    monday = datetime(2026, 1, 5, tzinfo=UTC)
    drawn = waits(3_000, seed=3)
    items = [
        told(
            float(one),
            monday + timedelta(hours=n % (14 * 24), minutes=n % 60),
            recogniser=("v-1", "v-2")[n % 2],
            tags={"channel": ("mobile", "desk", "desk")[n % 3]},
        )
        for n, one in enumerate(drawn)
    ]
    # In several portions and runs, so that hours are added to.
    for start in range(0, 3_000, 700):
        log.capture(items[start : start + 700], live="v-1")
        digest.catch_up()
    of = {"since": monday, "until": monday + timedelta(days=13), "period": Period.WEEK}
    number = np.arange(3_000)
    week = number % (14 * 24) // (7 * 24)

    def check(metric: Metric, share: float, which: Any, **options: Any) -> None:
        points = Trends(engine).of(metric, **of, **options).points
        assert [point.start for point in points] == [monday, monday + timedelta(weeks=1)]
        for which_week, point in enumerate(points):
            expected = drawn[which & (week == which_week)]
            assert point.count == len(expected) > 100
            assert near(point.value, expected, share)

    everything = number >= 0
    check(Metric.LATENCY_P50, 0.5, everything)
    check(Metric.LATENCY_P95, 0.95, everything)
    check(Metric.LATENCY_P99, 0.99, everything)
    check(Metric.LATENCY_P95, 0.95, number % 2 == 1, version_id="v-2")
    check(Metric.LATENCY_P95, 0.95, number % 3 == 0, slice_name="channel=mobile")
    both = {"version_id": "v-1", "slice_name": "channel=desk"}
    check(Metric.LATENCY_P95, 0.95, (number % 2 == 0) & (number % 3 != 0), **both)
    nobody = Trends(engine).of(Metric.LATENCY_P95, **of, version_id="v-3").points
    assert [(point.count, math.isnan(point.value)) for point in nobody] == [(0, True)] * 2


def test_hours_and_totals_hold_each_latency_once(
    engine: Engine, log: InferenceLog, digest: Digest
) -> None:
    drawn = [0.0, *waits(5_000).tolist(), 200_000.0]
    tags = {"channel": "mobile"}
    log.capture(
        [told(one, AT + HOUR * (n % 3), tags=tags) for n, one in enumerate(drawn)], live="v"
    )
    digest.catch_up()
    expected = _added({latencies.bucket_of(one): 1} for one in drawn)
    with engine.connect() as connection:
        for slice_name in ("", "channel=mobile"):
            query = select(hourly.c.latency_counts, hourly.c.timed)
            rows = connection.execute(query.where(hourly.c.slice == slice_name)).all()
            assert [sum(row.latency_counts.values()) for row in rows] == [r.timed for r in rows]
            assert len(rows) == 3
            assert _added(row.latency_counts for row in rows) == expected
        totals = connection.execute(select(latency_totals.c.bucket, latency_totals.c["count"]))
        assert _added({bucket: count} for bucket, count in totals) == expected
        assert connection.scalar(select(func.sum(latency_totals.c["count"]))) == 5_002


def _added(several: Any) -> dict[int, int]:
    made: dict[int, int] = {}
    for counts in several:
        for bucket, count in counts.items():
            made[int(bucket)] = made.get(int(bucket), 0) + count
    return made


def test_what_is_not_digested_is_found_by_its_number(engine: Engine, log: InferenceLog) -> None:
    if engine.dialect.name != "sqlite":
        return  # the plans are SQLite's
    log.capture([told(0.5)], live="v-1")
    asked: list[tuple[str, Any]] = []
    event.listen(engine, "before_cursor_execute", lambda *call: asked.append((call[2], call[3])))
    Monitor(engine).latency("v-1", since=AT)
    steps = []
    with engine.connect() as connection:
        for statement, values in [one for one in asked if one[0].startswith("SELECT")]:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
            steps += [row[-1] for row in plan]
    assert "SEARCH inferences USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)" in steps
    assert not [step for step in steps if step.startswith("SCAN")]
