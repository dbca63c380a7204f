"""How the traffic went, by hour, day or week: from the hourly counts, so quickly after any time."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Engine, func, select

from misheard.cases.audited import audited_over_time
from misheard.database import latencies, tallies
from misheard.database.schema import hourly
from misheard.errors import BadInputError


class Metric(StrEnum):
    """What has a trend."""

    INFERENCES = "inferences"
    SUSPICION = "suspicion"
    EMPTY_SHARE = "empty_share"
    LATENCY = "latency"
    LATENCY_P50 = "latency_p50"
    LATENCY_P95 = "latency_p95"
    LATENCY_P99 = "latency_p99"
    REAL_TIME_FACTOR = "real_time_factor"
    ERRORS = "errors"
    CORRECTIONS = "corrections"
    AUDITED_WER = "audited_wer"
    AUDITED_ERROR_RATE = "audited_error_rate"


class Period(StrEnum):
    """What one point of a trend covers; days and weeks are UTC's, weeks begin on Monday."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"

    def start_of(self, moment: datetime) -> datetime:
        """When the period that holds `moment` began."""
        if self is Period.HOUR:
            return tallies.hour_of(moment)
        day = tallies.hour_of(moment, block=24)
        return day if self is Period.DAY else day - timedelta(days=day.weekday())

    @property
    def length(self) -> timedelta:
        """Of one period."""
        return {
            Period.HOUR: timedelta(hours=1),
            Period.DAY: timedelta(days=1),
            Period.WEEK: timedelta(weeks=1),
        }[self]


@dataclass(frozen=True, kw_only=True)
class TrendPoint:
    """One period of one version."""

    start: datetime
    value: float
    """A mean, a quantile, a share or a count; seconds for latency. NaN where it is unknown."""
    count: int
    """Over how many transcripts; of an error rate by words, over how many words."""
    low: float = math.nan
    """The lower end of the 95 % interval of an audited rate; NaN of all else."""
    high: float = math.nan


@dataclass(frozen=True, kw_only=True)
class TrendLine:
    """A metric over time, oldest first, without gaps: a period without traffic has count 0."""

    metric: Metric
    period: Period
    version_id: str
    """Empty: all versions together."""
    slice: str
    """Empty: all of the traffic."""
    points: tuple[TrendPoint, ...]


_H = hourly.c
_SUMS: dict[Metric, tuple[Any, Any]] = {
    Metric.INFERENCES: (_H.inferences, None),
    Metric.SUSPICION: (_H.suspicion, _H.suspected),
    Metric.EMPTY_SHARE: (_H.empty, _H.inferences),
    Metric.LATENCY: (_H.latency_s, _H.timed),
    Metric.REAL_TIME_FACTOR: (_H.compute_s, _H.computed_audio_s),
    Metric.ERRORS: (_H.errors, None),
    Metric.CORRECTIONS: (_H.corrected, None),
}
"""What is added up, and over what it is divided; None: nothing, since it is a count."""

_QUANTILES = {Metric.LATENCY_P50: 0.5, Metric.LATENCY_P95: 0.95, Metric.LATENCY_P99: 0.99}
_COUNTS = {metric for metric, (_, over) in _SUMS.items() if over is None}

_Sums = tuple[float, float, int]
"""Numerator, denominator, and how many they are of."""


class Trends:
    """Reads trends."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def of(
        self,
        metric: Metric,
        *,
        since: datetime,
        until: datetime,
        period: Period = Period.DAY,
        version_id: str = "",
        slice_name: str = "",
    ) -> TrendLine:
        """`metric` from the period that holds `since` to the one that holds `until`.

        `slice_name` is a tag and its value, "channel=mobile"; what `capture.slices` names is
        counted apart. Raises `BadInputError` for a slice that is none.
        """
        if slice_name and "=" not in slice_name:
            raise BadInputError(f"'{slice_name}' is no slice. Write channel=mobile.")
        first = period.start_of(since)
        with self._engine.connect() as connection:
            if metric in _OF_AUDITS:
                known = _audited(connection, metric, period, first, version_id, slice_name)
            elif metric in _QUANTILES:
                known = _quantiles(connection, metric, period, first, version_id, slice_name)
            else:
                found = _of_hours(connection, metric, first, version_id, slice_name)
                known = _points(metric, _added_up(found, period.start_of))
        nothing = 0.0 if metric in _COUNTS else math.nan
        points, start = [], first
        while start <= until:
            point = known.get(start) or TrendPoint(start=start, value=nothing, count=0)
            points.append(point)
            start += period.length
        return TrendLine(
            metric=metric,
            period=period,
            version_id=version_id,
            slice=slice_name,
            points=tuple(points),
        )

    def versions(self, since: datetime) -> list[str]:
        """The versions that had traffic since, by name."""
        query = select(_H.version_id).where(_H.hour >= since, _H.slice == "").distinct()
        with self._engine.connect() as connection:
            return sorted(connection.scalars(query))


def _of_hours(
    connection: Connection, metric: Metric, since: datetime, version_id: str, slice_name: str
) -> Iterable[tuple[datetime, _Sums]]:
    top, bottom = _SUMS[metric]
    counted = _H.inferences if metric is Metric.REAL_TIME_FACTOR or bottom is None else bottom
    sums = (func.sum(top), func.sum(counted if bottom is None else bottom), func.sum(counted))
    query = select(_H.hour, *sums).where(_H.hour >= since, _H.slice == slice_name)
    if version_id:
        query = query.where(_H.version_id == version_id)
    for hour, over, under, count in connection.execute(query.group_by(_H.hour)):
        yield hour, (float(over), float(under), int(count))


def _quantiles(
    connection: Connection,
    metric: Metric,
    period: Period,
    since: datetime,
    version_id: str,
    slice_name: str,
) -> dict[datetime, TrendPoint]:
    query = select(_H.hour, _H.latency_counts).where(_H.hour >= since, _H.slice == slice_name)
    if version_id:
        query = query.where(_H.version_id == version_id)
    by_period: defaultdict[datetime, Counter[int]] = defaultdict(Counter)
    for hour, counts in connection.execute(query):
        latencies.add(by_period[period.start_of(hour)], counts)
    made = {}
    for start, counts in by_period.items():
        value = latencies.quantile_s(counts, _QUANTILES[metric])
        made[start] = TrendPoint(start=start, value=value, count=counts.total())
    return made


_OF_AUDITS = (Metric.AUDITED_WER, Metric.AUDITED_ERROR_RATE)


def _audited(
    connection: Connection,
    metric: Metric,
    period: Period,
    since: datetime,
    version_id: str,
    slice_name: str,
) -> dict[datetime, TrendPoint]:
    """Of what was drawn at random and looked at, by when it was heard."""
    found = audited_over_time(
        connection,
        period.start_of,
        since=since,
        version_id=version_id or None,
        slice_name=slice_name,
    )
    made = {}
    for start, audited in found.items():
        of_words = metric is Metric.AUDITED_WER
        rate = audited.wer if of_words else audited.error_rate
        made[start] = TrendPoint(
            start=start,
            value=rate.estimate,
            count=audited.words if of_words else audited.labelled,
            low=rate.low,
            high=rate.high,
        )
    return made


def _added_up(
    found: Iterable[tuple[datetime, _Sums]], start_of: Callable[[datetime], datetime]
) -> dict[datetime, _Sums]:
    made: dict[datetime, _Sums] = {}
    for moment, (top, bottom, count) in found:
        known = made.get(start_of(moment), (0.0, 0.0, 0))
        made[start_of(moment)] = (known[0] + top, known[1] + bottom, known[2] + count)
    return made


def _points(metric: Metric, found: dict[datetime, _Sums]) -> dict[datetime, TrendPoint]:
    made = {}
    for start, (top, bottom, count) in found.items():
        value = top if metric in _COUNTS else (top / bottom if bottom else math.nan)
        made[start] = TrendPoint(start=start, value=value, count=count)
    return made
