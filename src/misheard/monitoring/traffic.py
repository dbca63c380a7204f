"""What production did over a window: the inference log and what was told of, as one stream."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, case, func, select
from sqlalchemy.sql import ColumnElement

from misheard.database import tallies
from misheard.database.schema import error_cases, hourly, inferences, observations

VERSION_KEY = "version_id"
"""Where the details of an observed inference name the version that made it."""
_WRONG = ("open", "corrected")
"""An inference is an error while its error case is one of these."""


@dataclass(frozen=True, kw_only=True)
class InferenceStatistics:
    """Traffic in figures; times and rates are NaN where there was none."""

    total: int
    mean_inference_time_s: float
    min_inference_time_s: float
    max_inference_time_s: float
    error_detection_rate: float
    """Errors over all inferences."""
    correction_rate: float
    """Corrected ones over all inferences."""
    errors_detected: int
    corrections_applied: int


def statistics(
    connection: Connection, *, since: datetime | None = None, version_id: str | None = None
) -> InferenceStatistics:
    """All traffic after `since`, of one version or of all.

    An inference of the log is an error while an error case of it is not confirmed, and corrected
    when its newest correction says that it was wrong. What was logged only because somebody
    reported it is no sample of the traffic and is left out.
    """
    parts: list[_Figures] = [_told(since, version_id), *_heard(connection, since, version_id)]
    total, timed, errors, corrected = 0, 0, 0, 0
    time_s, least, most = 0.0, math.inf, -math.inf
    for part in parts:
        found: Any = connection.execute(part).one()
        if not found[0]:
            continue
        total += found[0]
        timed += found[1]
        time_s += found[2] or 0.0
        least = min(least, math.inf if found[3] is None else found[3])
        most = max(most, -math.inf if found[4] is None else found[4])
        errors += found[5]
        corrected += found[6]
    return InferenceStatistics(
        total=total,
        mean_inference_time_s=time_s / timed if timed else math.nan,
        min_inference_time_s=least if timed else math.nan,
        max_inference_time_s=most if timed else math.nan,
        error_detection_rate=errors / total if total else math.nan,
        correction_rate=corrected / total if total else math.nan,
        errors_detected=errors,
        corrections_applied=corrected,
    )


def by_session(connection: Connection, *, since: datetime, version_id: str) -> tuple[float, int]:
    """Sessions of a version after `since`: the sum of their error rates, and how many they are.

    What has no session, and what was told of, is one by itself. Every transcript that is still
    kept is looked at, so its cost grows with the time.
    """
    status, c = error_cases.c.status, inferences.c
    is_error = case((status.in_(_WRONG), 1.0), else_=0.0)
    each = (
        select(func.avg(is_error).label("rate"))
        .select_from(inferences)
        .outerjoin(error_cases, error_cases.c.inference_id == c.id)
        .where(c.reported.is_(False), c.created_at > since, c.version_id == version_id)
        .group_by(func.coalesce(c.session, c.id))
        .subquery()
    )
    wrong, sessions = connection.execute(select(func.sum(each.c.rate), func.count())).one()
    told: Any = connection.execute(_told(since, version_id)).one()
    return float(wrong or 0.0) + told[5], sessions + told[0]


def since_cycle(connection: Connection) -> tuple[int, int]:
    """Errors and inferences since the newest cycle began, at the same cost after any time."""
    era = tallies.current_era(connection)
    known = tallies.tallied(connection, era.cycle_id)
    none = tallies.NO_SUSPICION
    rows = _rows(tallies.not_digested(connection), era.began_at, None)
    uncounted: Any = connection.execute(rows).one()
    total, errors = uncounted[0], uncounted[5]
    return (
        known.get((tallies.INFERENCE_ERRORS, none), 0) + errors,
        known.get((tallies.INFERENCES, none), 0) + total,
    )


def last_heard_at(connection: Connection) -> datetime | None:
    """When the newest transcript was heard; None where there never was one.

    Where retention has deleted it, the hour in which it was heard still tells, and its end is said.
    """
    row = select(inferences.c.created_at).where(inferences.c.reported.is_(False))
    row = row.order_by(inferences.c.created_at.desc()).limit(1)
    kept: datetime | None = connection.execute(row).scalar()
    # What is not digested yet is not deleted, so it is among the rows.
    hour: datetime | None = connection.execute(select(func.max(hourly.c.hour))).scalar()
    if hour is None or (kept is not None and kept >= hour):
        return kept
    return hour + timedelta(hours=1)


_Figures = Select[Any]
"""How many, how many of them timed, sum, least and most of their times, errors, corrected."""


def _heard(
    connection: Connection, since: datetime | None, version_id: str | None
) -> Iterator[_Figures]:
    """The log: whole hours as they were counted, the rest of the first, and what is not counted."""
    column = hourly.c
    hours: Select[Any] = select(
        func.coalesce(func.sum(column.inferences), 0),
        func.sum(column.timed),
        func.sum(column.latency_s),
        func.min(column.least_latency_s),
        func.max(column.most_latency_s),
        func.sum(column.errors),
        func.sum(column.corrected),
    ).where(column.slice == "")
    if version_id is not None:
        hours = hours.where(column.version_id == version_id)
    if since is not None:
        first = tallies.hour_of(since) + timedelta(hours=1)
        hours = hours.where(column.hour >= first)
        digested = inferences.c.number <= tallies.digested_to(connection)
        counted = digested & (inferences.c.created_at < first)
        yield _rows(counted, since, version_id)
    yield hours
    yield _rows(tallies.not_digested(connection), since, version_id)


def _rows(which: ColumnElement[bool], since: datetime | None, version_id: str | None) -> _Figures:
    status = error_cases.c.status
    query: Any = (
        select(
            func.count(),
            func.count(inferences.c.latency_s),
            func.sum(inferences.c.latency_s),
            func.min(inferences.c.latency_s),
            func.max(inferences.c.latency_s),
            func.count().filter(status.in_(_WRONG)),
            func.count().filter(status == "corrected"),
        )
        .select_from(inferences)
        .outerjoin(error_cases, error_cases.c.inference_id == inferences.c.id)
        .where(inferences.c.reported.is_(False), which)
    )
    if since is not None:
        query = query.where(inferences.c.created_at > since)
    if version_id is not None:
        query = query.where(inferences.c.version_id == version_id)
    made: _Figures = query
    return made


def _told(since: datetime | None, version_id: str | None) -> _Figures:
    """What was heard elsewhere, as it was told."""
    column = observations.c
    query: Any = select(
        func.count(),
        func.count(column.inference_time_s),
        func.sum(column.inference_time_s),
        func.min(column.inference_time_s),
        func.max(column.inference_time_s),
        func.count().filter(column.is_error),
        func.count().filter(column.is_corrected),
    ).where(column.kind == "inference")
    if since is not None:
        query = query.where(column.created_at > since)
    if version_id is not None:
        query = query.where(column.details[VERSION_KEY].as_string() == version_id)
    made: _Figures = query
    return made
