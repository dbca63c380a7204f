"""What is counted as it comes, against a count of the rows themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Select, func, select, text
from sqlalchemy.sql import ColumnElement

from misheard.cases.records import CaseStatus
from misheard.database import tallies
from misheard.database.schema import error_cases, hourly, inferences, observations, traffic_totals
from misheard.database.schema import tallies as tallies_table

_ERRORS = (CaseStatus.OPEN, CaseStatus.CORRECTED)
_STREAM = {"yield_per": 10_000}
_IN_HOUR = ("inferences", "timed", "scored", "errors", "corrected")


@dataclass(frozen=True)
class Difference:
    """A count that is not what the rows say."""

    subject: str
    counted: int
    least: int
    most: int
    """What the rows come to: between `least` and `most`, which are nearly always the same."""


def highest_number(connection: Connection) -> int:
    """The highest number that the inference log ever gave; its row may be deleted."""
    if connection.dialect.name == "sqlite":
        query = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'inferences'"
    else:
        query = """SELECT coalesce(max(last_value), 0) FROM pg_sequences
            WHERE quote_ident(schemaname) || '.' || quote_ident(sequencename)
                = pg_get_serial_sequence('inferences', 'number')"""
    return int(connection.execute(text(query)).scalar_one())


def of_cases(connection: Connection) -> Iterator[Difference]:
    """The tallies of cases: by era, status and suspicion."""
    column = error_cases.c
    query = select(column.since_cycle, column.status, column.suspicion, func.count())
    query = query.group_by(column.since_cycle, column.status, column.suspicion)
    rows: Counter[tuple[str, str, int]] = Counter()
    for cycle_id, status, suspicion, count in connection.execute(query, execution_options=_STREAM):
        rows[cycle_id, status, tallies.percent_of(suspicion)] += count
    kinds = tallies_table.c.kind.in_(list(CaseStatus))
    table = tallies_table.c
    columns = (table.since_cycle, table.kind, table.suspicion_percent, table.count)
    counted = {
        (row.since_cycle, row.kind, row.suspicion_percent): int(row[-1])
        for row in connection.execute(select(*columns).where(kinds))
    }
    for key in sorted(rows.keys() | counted.keys()):
        if counted.get(key, 0) != rows[key]:
            cycle_id, status, percent = key
            at = "" if percent == tallies.NO_SUSPICION else f" at {percent} % suspicion"
            since = f"since {cycle_id}" if cycle_id else "before the first cycle"
            subject = f"tally of {status} cases{at}, {since}"
            yield Difference(subject, counted.get(key, 0), rows[key], rows[key])


def of_traffic(connection: Connection) -> Iterator[Difference]:
    """What came since the newest cycle, inferences and errors among them."""
    era = tallies.current_era(connection)
    counted = tallies.tallied(connection, era.cycle_id)
    heard = inferences.c.number <= tallies.digested_to(connection)
    told = observations.c.kind == "inference"
    surely = heard
    if era.began_at is not None:
        heard &= inferences.c.created_at > era.began_at
        told &= observations.c.created_at > era.began_at
        # What had come before may be counted with the time before, though its sender's clock says
        # otherwise. An id begins with the time at which it came.
        began_ms = int(era.began_at.timestamp() * 1000) + 1
        surely = heard & (inferences.c.id > f"inf-{began_ms:011x}")
    is_error = error_cases.c.status.in_(_ERRORS)
    column: ColumnElement[bool] = observations.c.is_error
    for kind, wrong, told_wrong in (
        (tallies.INFERENCES, None, None),
        (tallies.INFERENCE_ERRORS, is_error, column.is_(True)),
    ):
        by_telling = select(func.count()).select_from(observations).where(told)
        if told_wrong is not None:
            by_telling = by_telling.where(told_wrong)
        added = connection.execute(by_telling).scalar_one()
        least, most = (added + _heard(connection, which, wrong) for which in (surely, heard))
        found = counted.get((kind, tallies.NO_SUSPICION), 0)
        if not least <= found <= most:
            since = f"since {era.cycle_id}" if era.cycle_id else "since the beginning"
            yield Difference(f"tally of {kind} {since}", found, least, most)


def _heard(
    connection: Connection, which: ColumnElement[bool], wrong: ColumnElement[bool] | None
) -> int:
    query: Select[Any] = select(func.count()).where(which, inferences.c.reported.is_(False))
    if wrong is None:
        query = query.select_from(inferences)
    else:
        joined = inferences.join(error_cases, error_cases.c.inference_id == inferences.c.id)
        query = query.select_from(joined).where(wrong)
    return int(connection.execute(query).scalar_one())


def of_hours(connection: Connection) -> Iterator[Difference]:
    """Each hour of each version's traffic."""
    on_sqlite = connection.dialect.name == "sqlite"
    # A server answers in UTC: see `open_engine`.
    begins = func.strftime("%Y-%m-%d %H", inferences.c.created_at)
    if not on_sqlite:
        begins = func.to_char(inferences.c.created_at, "YYYY-MM-DD HH24")
    status = error_cases.c.status
    query = (
        select(
            begins.label("begins"),
            inferences.c.version_id,
            func.count(),
            func.count(inferences.c.latency_s),
            func.count(inferences.c.avg_logprob),
            func.count().filter(status.in_(_ERRORS)),
            func.count().filter(status == CaseStatus.CORRECTED),
        )
        .select_from(inferences)
        .outerjoin(error_cases, error_cases.c.inference_id == inferences.c.id)
        .where(
            inferences.c.number <= tallies.digested_to(connection),
            inferences.c.reported.is_(False),
        )
        .group_by("begins", inferences.c.version_id)
    )
    rows = {
        (_hour(row[0]), row[1]): tuple(row[2:])
        for row in connection.execute(query, execution_options=_STREAM)
    }
    columns = (hourly.c.hour, hourly.c.version_id, *(hourly.c[name] for name in _IN_HOUR))
    counted = {
        (row[0], row[1]): tuple(row[2:])
        for row in connection.execute(select(*columns).where(hourly.c.slice == ""))
    }
    nothing = (0,) * len(_IN_HOUR)
    for key in sorted(rows.keys() | counted.keys()):
        for name, right, found in zip(
            _IN_HOUR, rows.get(key, nothing), counted.get(key, nothing), strict=True
        ):
            if right != found:
                subject = f"{name} of {key[1]} in the hour of {key[0]:%Y-%m-%d %H:%M} UTC"
                yield Difference(subject, found, right, right)


def of_totals(connection: Connection) -> Iterator[Difference]:
    """The hours of each version, all together."""
    table, totals = hourly.c, traffic_totals.c
    sums = [func.coalesce(func.sum(hourly.c[name]), 0) for name in _IN_HOUR]
    summed = select(table.version_id, *sums).where(table.slice == "").group_by(table.version_id)
    told = select(totals.version_id, *(traffic_totals.c[name] for name in _IN_HOUR))
    rows, counted = (
        {row[0]: tuple(map(int, row[1:])) for row in connection.execute(query)}
        for query in (summed, told)
    )
    nothing = (0,) * len(_IN_HOUR)
    for key in sorted(rows.keys() | counted.keys()):
        for name, right, found in zip(
            _IN_HOUR, rows.get(key, nothing), counted.get(key, nothing), strict=True
        ):
            if right != found:
                yield Difference(f"{name} of {key} since ever", found, right, right)


def _hour(text_of_it: str) -> datetime:
    return datetime.strptime(text_of_it, "%Y-%m-%d %H").replace(tzinfo=UTC)
