"""What production did over a window: the inference log and what was told of, as one stream."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import CompoundSelect, Connection, and_, false, func, select, true, union_all
from sqlalchemy.sql import ColumnElement

from misheard.database.schema import corrections, error_cases, inferences, observations

VERSION_KEY = "version_id"
"""Where the details of an observed inference name the version that made it."""


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
    events = _events(since, version_id).subquery("events")
    query = select(
        func.count(),
        func.avg(events.c.time_s),
        func.min(events.c.time_s),
        func.max(events.c.time_s),
        func.count().filter(events.c.is_error),
        func.count().filter(events.c.is_corrected),
    ).select_from(events)
    total, mean, least, most, errors, corrected = connection.execute(query).one()
    return InferenceStatistics(
        total=total,
        mean_inference_time_s=math.nan if mean is None else mean,
        min_inference_time_s=math.nan if least is None else least,
        max_inference_time_s=math.nan if most is None else most,
        error_detection_rate=errors / total if total else math.nan,
        correction_rate=corrected / total if total else math.nan,
        errors_detected=errors,
        corrections_applied=corrected,
    )


def _events(since: datetime | None, version_id: str | None) -> CompoundSelect[tuple[float, bool]]:
    """Time in seconds, whether it is an error, and whether it was corrected; a row an inference."""
    newest: ColumnElement[bool] = (
        select(corrections.c.is_error)
        .where(corrections.c.inference_id == inferences.c.id)
        .order_by(corrections.c.number.desc())
        .limit(1)
        .scalar_subquery()
    )
    heard = (
        select(
            inferences.c.latency_s.label("time_s"),
            and_(error_cases.c.id.is_not(None), func.coalesce(newest, true())).label("is_error"),
            func.coalesce(newest, false()).label("is_corrected"),
        )
        .select_from(inferences)
        .outerjoin(error_cases, error_cases.c.inference_id == inferences.c.id)
        .where(inferences.c.reported.is_(False))
    )
    told = select(
        observations.c.inference_time_s, observations.c.is_error, observations.c.is_corrected
    ).where(observations.c.kind == "inference")
    if since is not None:
        heard = heard.where(inferences.c.created_at > since)
        told = told.where(observations.c.created_at > since)
    if version_id is not None:
        heard = heard.where(inferences.c.version_id == version_id)
        told = told.where(observations.c.details[VERSION_KEY].as_string() == version_id)
    return union_all(heard, told)
