"""Figures that were told to us or that a gate measured, and what they say over a window of time."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from numbers import Real
from typing import Any

from sqlalchemy import Connection, Engine, insert, select

from misheard.database import tallies
from misheard.database.details import checked_details
from misheard.database.engine import now, writing
from misheard.database.schema import observations
from misheard.database.tallies import Tally
from misheard.errors import BadInputError
from misheard.monitoring import summary, traffic
from misheard.monitoring.traffic import InferenceStatistics
from misheard.scoring.normalize import require_text

METRICS = {
    "wer": observations.c.wer,
    "cer": observations.c.cer,
    "error_rate": observations.c.error_rate,
    "correction_rate": observations.c.correction_rate,
    "inference_time": observations.c.inference_time_s,
}
"""What has a trend, and the column that holds it; `inference_time` is in seconds."""


class ObservationKind(StrEnum):
    """What a row tells of."""

    PERFORMANCE = "performance"
    """How well a version did on some set, or in some stretch of time."""
    INFERENCE = "inference"
    """One transcript that was made elsewhere, so that the inference log does not hold it."""
    MODEL_VERSION = "model_version"
    """A model that was made elsewhere."""
    LEARNING = "learning"
    """How far a stage of the learning has come."""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One row; a figure that was not told is None."""

    number: int
    created_at: datetime
    kind: ObservationKind
    subject: str
    """The version, the recording or the stage that it is about."""
    wer: float | None = None
    cer: float | None = None
    error_rate: float | None = None
    correction_rate: float | None = None
    inference_time_s: float | None = None
    confidence: float | None = None
    is_error: bool | None = None
    is_corrected: bool | None = None
    details: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Trend:
    """A metric over time, oldest first; figures are NaN where nothing was recorded."""

    metric: str
    count: int
    latest: float
    mean: float
    std: float
    """Of these values themselves, not an estimate for others: divided by `count`."""
    min: float
    max: float
    improvement: float
    """The first value minus the last, so a falling error rate is above zero."""
    improvement_percent: float
    """Of the first value; NaN where that is zero."""
    timestamps: tuple[datetime, ...]
    values: tuple[float, ...]


class Observations:
    """Records figures and reads them back by window, always through an index."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def record_performance(
        self,
        subject: str,
        *,
        wer: float | None = None,
        cer: float | None = None,
        error_rate: float | None = None,
        correction_rate: float | None = None,
        inference_time_s: float | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> Observation:
        """How well `subject` did, by whichever figures are known; see `performance_in`."""
        with writing(self._engine) as connection:
            return performance_in(
                connection,
                subject,
                wer=wer,
                cer=cer,
                error_rate=error_rate,
                correction_rate=correction_rate,
                inference_time_s=inference_time_s,
                details=details,
            )

    def record_inference(
        self,
        subject: str,
        *,
        inference_time_s: float,
        confidence: float | None = None,
        is_error: bool = False,
        is_corrected: bool = False,
        version_id: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> Observation:
        """A transcript of the recording `subject` that the inference log does not hold.

        Without `version_id` it counts in the traffic as a whole and in that of no version.
        """
        kept = checked_details(details, what=f"'{subject}'")
        if version_id is not None:
            kept[traffic.VERSION_KEY] = require_text(version_id, what="the version's id")
        if inference_time_s is None:
            raise BadInputError("An inference needs its inference_time_s.")
        with writing(self._engine) as connection:
            counted, cycle_id = Tally(), tallies.current_era(connection).cycle_id
            counted.add(cycle_id, tallies.INFERENCES, 1)
            counted.add(cycle_id, tallies.INFERENCE_ERRORS, int(bool(is_error)))
            counted.write(connection)
            return _record(
                connection,
                ObservationKind.INFERENCE,
                subject,
                kept,
                inference_time_s=inference_time_s,
                confidence=confidence,
                is_error=bool(is_error),
                is_corrected=bool(is_corrected),
            )

    def record_model_version(
        self,
        version_id: str,
        *,
        model_name: str,
        training_data_size: int,
        training: Mapping[str, Any] | None = None,
        performance: Mapping[str, Any] | None = None,
    ) -> Observation:
        """A model that was made elsewhere; told again, the newest word counts."""
        if training_data_size != int(_figure("training_data_size", training_data_size)):
            raise BadInputError(f"training_data_size = {training_data_size} is no whole number.")
        known = checked_details(performance, what=f"the performance of '{version_id}'")
        details = {
            "model_name": require_text(model_name, what="the model's name"),
            "training_data_size": int(training_data_size),
            "training": checked_details(training, what=f"the training of '{version_id}'"),
            "performance": known,
        }
        rates = {name: known.get(name) for name in ("wer", "cer")}
        with writing(self._engine) as connection:
            return _record(connection, ObservationKind.MODEL_VERSION, version_id, details, **rates)

    def record_learning(
        self,
        stage: str,
        metrics: Mapping[str, Any],
        details: Mapping[str, Any] | None = None,
    ) -> Observation:
        """How far `stage` has come, in whatever metrics it has."""
        kept = {
            "metrics": checked_details(metrics, what=f"the metrics of '{stage}'"),
            "details": checked_details(details, what=f"'{stage}'"),
        }
        with writing(self._engine) as connection:
            return _record(connection, ObservationKind.LEARNING, stage, kept)

    def trend(self, metric: str, since: datetime | None = None) -> Trend:
        """The performance rows of `metric` after `since`, or all of them."""
        if metric not in METRICS:
            raise BadInputError(f"There is no metric '{metric}'. Known: {', '.join(METRICS)}.")
        column, when = METRICS[metric], observations.c.created_at
        query = (
            select(when, column)
            .where(observations.c.kind == ObservationKind.PERFORMANCE, column.is_not(None))
            .order_by(when, observations.c.number)
        )
        if since is not None:
            query = query.where(when > since)
        with self._engine.connect() as connection:
            rows = connection.execute(query).all()
        return _trend(metric, [row[0] for row in rows], [row[1] for row in rows])

    def inference_statistics(self, since: datetime | None = None) -> InferenceStatistics:
        """All traffic after `since`: what the log holds, and what was told of."""
        with self._engine.connect() as connection:
            return traffic.statistics(connection, since=since)

    def traffic(
        self, since: datetime | None = None, version_id: str | None = None
    ) -> tuple[int, int]:
        """Errors and inferences after `since`, of one version or of all."""
        with self._engine.connect() as connection:
            found = traffic.statistics(connection, since=since, version_id=version_id)
        return found.errors_detected, found.total

    def sessions(self, *, since: datetime, version_id: str) -> tuple[float, int]:
        """The sum of the error rates of a version's sessions; see `traffic.by_session`."""
        with self._engine.connect() as connection:
            return traffic.by_session(connection, since=since, version_id=version_id)

    def traffic_since_cycle(self) -> tuple[int, int]:
        """Errors and inferences since the newest cycle began; see `traffic.since_cycle`."""
        with self._engine.connect() as connection:
            return traffic.since_cycle(connection)

    def learning_summary(self) -> dict[str, Any]:
        """What the loop has done so far; see `summary.learning`."""
        first_to_last = {metric: self.trend(metric) for metric in METRICS}
        performance = {
            metric: {
                "count": trend.count,
                "first": trend.values[0] if trend.values else math.nan,
                "latest": trend.latest,
                "improvement": trend.improvement,
            }
            for metric, trend in first_to_last.items()
        }
        with self._engine.connect() as connection:
            return {**summary.learning(connection), "performance": performance}

    def model_rows(self) -> list[dict[str, Any]]:
        """One dict a model version, in order of age; see `summary.models`."""
        with self._engine.connect() as connection:
            return summary.models(connection)


def performance_in(
    connection: Connection,
    subject: str,
    *,
    wer: float | None = None,
    cer: float | None = None,
    error_rate: float | None = None,
    correction_rate: float | None = None,
    inference_time_s: float | None = None,
    details: Mapping[str, Any] | None = None,
) -> Observation:
    """`Observations.record_performance` inside the caller's transaction.

    Rates are shares, not percentages; WER and CER may exceed 1. Raises `BadInputError` where a
    figure is none that can be, or where there is no figure at all.
    """
    figures = {
        "wer": wer,
        "cer": cer,
        "error_rate": error_rate,
        "correction_rate": correction_rate,
        "inference_time_s": inference_time_s,
    }
    if all(value is None for value in figures.values()):
        raise BadInputError(f"A performance needs a figure, one of {', '.join(figures)}.")
    return _record(connection, ObservationKind.PERFORMANCE, subject, details or {}, **figures)


_SHARES = {"error_rate", "correction_rate", "confidence"}


def _record(
    connection: Connection,
    kind: ObservationKind,
    subject: str,
    details: Mapping[str, Any],
    **figures: Any,
) -> Observation:
    values: dict[str, Any] = {
        "created_at": now(),
        "kind": kind,
        "subject": require_text(subject, what="the subject of an observation"),
        "details": checked_details(details, what=f"'{subject}'"),
        **{name: _figure(name, value) for name, value in figures.items() if value is not None},
    }
    stored = insert(observations).values(**values).returning(observations.c.number)
    return Observation(number=connection.execute(stored).scalar_one(), **values)


def _figure(name: str, value: Any) -> Any:
    if isinstance(value, bool) and name.startswith("is_"):
        return value
    if isinstance(value, bool) or not isinstance(value, Real):
        raise BadInputError(f"{name} = {value!r} is no number.")
    number = float(value)
    if not math.isfinite(number) or number < 0:
        raise BadInputError(f"{name} = {number:g}; it must be finite and not below 0.")
    if name in _SHARES and number > 1:
        raise BadInputError(f"{name} = {number:g}; a share is at most 1.")
    return number


def _trend(metric: str, timestamps: list[datetime], values: list[float]) -> Trend:
    nothing = math.nan
    first, last = (values[0], values[-1]) if values else (nothing, nothing)
    return Trend(
        metric=metric,
        count=len(values),
        latest=last,
        mean=statistics.fmean(values) if values else nothing,
        std=statistics.pstdev(values) if values else nothing,
        min=min(values, default=nothing),
        max=max(values, default=nothing),
        improvement=first - last,
        improvement_percent=100 * (first - last) / first if first else nothing,
        timestamps=tuple(timestamps),
        values=tuple(values),
    )
