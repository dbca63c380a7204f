"""What each version has come to since ever, added up again from the hours."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select

from misheard.database.latencies import add
from misheard.database.schema import hourly, latency_totals, traffic_totals
from misheard.database.totals import SUMMED
from misheard.integrity.difference import Difference
from misheard.integrity.hours import tolerance

_STREAM = {"yield_per": 10_000}
_Latencies = defaultdict[str, Counter[int]]


def differences(connection: Connection) -> Iterator[Difference]:
    """Versions of which something is not what the hours come to."""
    yield from _of_traffic(connection)
    yield from _of_latencies(connection)


def mend(connection: Connection, one: Difference) -> None:
    """Let a version's totals be what the hours come to."""
    table, version_id, rows = one.key
    connection.execute(delete(table).where(table.c.version_id == version_id))
    if rows:
        connection.execute(insert(table), rows)


def _of_traffic(connection: Connection) -> Iterator[Difference]:
    """The first figure of each version that differs."""
    sums = [func.sum(hourly.c[name]).label(name) for name in SUMMED]
    summed = select(hourly.c.version_id, *sums).where(hourly.c.slice == "")
    right = _by_version(connection, summed.group_by(hourly.c.version_id))
    found = _by_version(connection, select(traffic_totals))
    for version_id in sorted(right.keys() | found.keys()):
        ours, theirs = right.get(version_id, {}), found.get(version_id, {})
        for name in SUMMED:
            value, counted = ours.get(name, 0), theirs.get(name, 0)
            off = tolerance(ours.get("inferences", 0), value) if isinstance(value, float) else 0
            if abs(value - counted) > off:
                key = (traffic_totals, version_id, [ours] if ours else [])
                yield Difference(f"{name} of {version_id} since ever", counted, value, value, key)
                break


def _by_version(connection: Connection, query: Any) -> dict[str, dict[str, Any]]:
    rows = (
        {name: _number(value) for name, value in row.items()}
        for row in connection.execute(query).mappings()
    )
    return {row["version_id"]: row for row in rows}


def _number(value: Any) -> Any:
    """PostgreSQL's sum of whole numbers is a Decimal."""
    return value if isinstance(value, str | float | int) else int(value)


def _of_latencies(connection: Connection) -> Iterator[Difference]:
    """The first bucket of each version that differs."""
    right, found = _of_hours(connection), _kept(connection)
    for version_id in sorted(right.keys() | found.keys()):
        ours, theirs = right[version_id], found[version_id]
        for bucket in sorted(ours.keys() | theirs.keys()):
            if ours[bucket] != theirs[bucket]:
                subject = f"latencies of {version_id} since ever, bucket {bucket}"
                count, key = ours[bucket], (latency_totals, version_id, _rows(version_id, ours))
                yield Difference(subject, theirs[bucket], count, count, key)
                break


def _rows(version_id: str, counts: Counter[int]) -> list[dict[str, Any]]:
    return [
        {"version_id": version_id, "bucket": bucket, "count": count}
        for bucket, count in counts.items()
        if count
    ]


def _of_hours(connection: Connection) -> _Latencies:
    query = select(hourly.c.version_id, hourly.c.latency_counts).where(hourly.c.slice == "")
    made: _Latencies = defaultdict(Counter)
    for version_id, counts in connection.execute(query, execution_options=_STREAM):
        add(made[version_id], counts)
    return made


def _kept(connection: Connection) -> _Latencies:
    made: _Latencies = defaultdict(Counter)
    for row in connection.execute(select(latency_totals)).mappings():
        made[row["version_id"]][row["bucket"]] = row["count"]
    return made
