"""How long callers waited lately, as quantiles."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from misheard.database import latencies, tallies
from misheard.database.schema import hourly, inferences


@dataclass(frozen=True, kw_only=True)
class RecentLatency:
    """How long the callers of one version waited, within `latencies.ACCURACY`."""

    since: datetime
    transcripts: int
    """Those whose latency is known."""
    p50_s: float
    """Half of the callers waited so long at most; NaN where nobody said."""
    p95_s: float
    p99_s: float


def counted(connection: Connection, *, since: datetime) -> defaultdict[str, Counter[int]]:
    """Version → bucket → callers, of the hours from `since` on as the digest counted them."""
    column = hourly.c
    query = select(column.version_id, column.latency_counts)
    made: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for version_id, counts in connection.execute(
        query.where(column.hour >= since, column.slice == "")
    ):
        latencies.add(made[version_id], counts)
    return made


def recent(connection: Connection, version_id: str, *, since: datetime) -> RecentLatency:
    """Of one version, from the hour that holds `since` on, what is not digested yet included."""
    first = tallies.hour_of(since)
    counts = counted(connection, since=first)[version_id]
    column = inferences.c
    query = select(column.latency_s).where(
        tallies.not_digested(connection),
        column.created_at >= first,
        column.version_id == version_id,
        column.latency_s.is_not(None),
        column.reported.is_(False),
    )
    counts.update(map(latencies.bucket_of, connection.scalars(query)))
    p50_s, p95_s, p99_s = (latencies.quantile_s(counts, share) for share in (0.5, 0.95, 0.99))
    return RecentLatency(
        since=first, transcripts=counts.total(), p50_s=p50_s, p95_s=p95_s, p99_s=p99_s
    )
