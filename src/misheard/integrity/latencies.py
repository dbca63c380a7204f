"""Latencies since ever, counted again from the hours."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from sqlalchemy import Connection, delete, insert, select

from misheard.database.latencies import add
from misheard.database.schema import hourly, latency_totals
from misheard.integrity.difference import Difference

_STREAM = {"yield_per": 10_000}


def of_totals(connection: Connection) -> Iterator[Difference]:
    """Versions of which not every bucket is what the hours come to; the first that is not."""
    right, found = _of_hours(connection), _kept(connection)
    for version_id in sorted(right.keys() | found.keys()):
        ours, theirs = right[version_id], found[version_id]
        for bucket in sorted(ours.keys() | theirs.keys()):
            if ours[bucket] != theirs[bucket]:
                subject = f"latencies of {version_id} since ever, bucket {bucket}"
                count = ours[bucket]
                yield Difference(subject, theirs[bucket], count, count, key=(version_id, ours))
                break


def mend_totals(connection: Connection, one: Difference) -> None:
    """Let all buckets of a version be what the hours come to."""
    version_id, counts = one.key
    connection.execute(delete(latency_totals).where(latency_totals.c.version_id == version_id))
    rows = [
        {"version_id": version_id, "bucket": bucket, "count": count}
        for bucket, count in counts.items()
        if count
    ]
    if rows:
        connection.execute(insert(latency_totals), rows)


def _of_hours(connection: Connection) -> defaultdict[str, Counter[int]]:
    query = select(hourly.c.version_id, hourly.c.latency_counts).where(hourly.c.slice == "")
    made: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for version_id, counts in connection.execute(query, execution_options=_STREAM):
        add(made[version_id], counts)
    return made


def _kept(connection: Connection) -> defaultdict[str, Counter[int]]:
    made: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for row in connection.execute(select(latency_totals)).mappings():
        made[row["version_id"]][row["bucket"]] = row["count"]
    return made
