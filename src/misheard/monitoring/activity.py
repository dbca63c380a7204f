"""What each model version did in production, by indexed query."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine, func, select

from misheard.database.schema import inferences


@dataclass(frozen=True, kw_only=True)
class VersionActivity:
    """What one model version did in production."""

    version_id: str
    inferences: int
    audio_s: float
    mean_latency_s: float
    mean_logprob: float | None


class Monitor:
    """Reads what production did."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def activity(self) -> list[VersionActivity]:
        """Sums and means of each model version, busiest first."""
        column = inferences.c
        count = func.count().label("inferences")
        query = (
            select(
                column.version_id,
                count,
                func.sum(column.duration_s).label("audio_s"),
                func.avg(column.latency_s).label("mean_latency_s"),
                func.avg(column.avg_logprob).label("mean_logprob"),
            )
            .where(column.reported.is_(False))
            .group_by(column.version_id)
            .order_by(count.desc())
        )
        with self._engine.connect() as connection:
            return [VersionActivity(**row) for row in connection.execute(query).mappings()]
