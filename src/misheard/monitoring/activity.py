"""What each model version did in production, by indexed query."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Select, func, select

from misheard.database import tallies
from misheard.database.schema import inferences, traffic_totals
from misheard.monitoring import latency
from misheard.monitoring.latency import RecentLatency


@dataclass(frozen=True, kw_only=True)
class VersionActivity:
    """What one model version did in production."""

    version_id: str
    inferences: int
    audio_s: float
    mean_latency_s: float
    """NaN where nobody said."""
    mean_logprob: float | None


class Monitor:
    """Reads what production did."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def latency(self, version_id: str, *, since: datetime) -> RecentLatency:
        """How long the callers of a version have waited since, as quantiles."""
        with self._engine.connect() as connection:
            return latency.recent(connection, version_id, since=since)

    def activity(self) -> list[VersionActivity]:
        """Sums and means of each model version, busiest first; most of it is added up already."""
        with self._engine.connect() as connection:
            sums: dict[str, list[float]] = {}
            for query in (_counted(), _of_rows(connection)):
                for version_id, *figures in connection.execute(query):
                    known = sums.setdefault(version_id, [0.0] * len(figures))
                    sums[version_id] = [a + (b or 0.0) for a, b in zip(known, figures, strict=True)]
        made = [
            VersionActivity(
                version_id=version_id,
                inferences=int(count),
                audio_s=audio_s,
                mean_latency_s=latency_s / timed if timed else math.nan,
                mean_logprob=logprob / scored if scored else None,
            )
            for version_id, (count, audio_s, latency_s, timed, logprob, scored) in sums.items()
        ]
        return sorted(made, key=lambda one: (-one.inferences, one.version_id))


def _counted() -> Select[Any]:
    column = traffic_totals.c
    return select(
        column.version_id,
        column.inferences,
        column.audio_s,
        column.latency_s,
        column.timed,
        column.avg_logprob,
        column.scored,
    )


def _of_rows(connection: Connection) -> Select[Any]:
    """What the digest has not counted yet."""
    column = inferences.c
    return (
        select(
            column.version_id,
            func.count(),
            func.sum(column.duration_s),
            func.sum(column.latency_s),
            func.count(column.latency_s),
            func.sum(column.avg_logprob),
            func.count(column.avg_logprob),
        )
        .where(tallies.not_digested(connection), column.reported.is_(False))
        .group_by(column.version_id)
    )
