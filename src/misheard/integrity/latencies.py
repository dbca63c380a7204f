"""What is counted of latencies, against the other counts of the same hours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from sqlalchemy import Connection, select

from misheard.database.schema import hourly, latency_totals
from misheard.integrity.counts import Difference

_STREAM = {"yield_per": 10_000}


def of_hours(connection: Connection) -> Iterator[Difference]:
    """Every hour's buckets hold as many as have a latency, and all hours together come to the
    totals."""
    column = hourly.c
    query = select(
        column.hour, column.version_id, column.slice, column.timed, column.latency_counts
    ).order_by(column.hour, column.version_id, column.slice)
    summed: Counter[tuple[str, int]] = Counter()
    for hour, version_id, slice_name, timed, counts in connection.execute(
        query, execution_options=_STREAM
    ):
        if (found := sum(counts.values())) != timed:
            of = f"{version_id}, {slice_name}," if slice_name else version_id
            subject = f"latencies of {of} in the hour of {hour:%Y-%m-%d %H:%M} UTC"
            yield Difference(subject, found, timed, timed)
        if not slice_name:
            for bucket, count in counts.items():
                summed[version_id, int(bucket)] += count
    table = latency_totals.c
    totals = connection.execute(select(table.version_id, table.bucket, table["count"]))
    told = {(version_id, bucket): count for version_id, bucket, count in totals}
    for key in sorted(summed.keys() | told.keys()):
        if told.get(key, 0) != summed[key]:
            subject = f"latencies of {key[0]} since ever, bucket {key[1]}"
            yield Difference(subject, told.get(key, 0), summed[key], summed[key])
