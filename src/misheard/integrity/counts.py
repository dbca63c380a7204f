"""What is counted as it comes, against a count of the rows themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Select, delete, func, insert, select, text, update
from sqlalchemy.sql import ColumnElement

from misheard.cases.records import CaseStatus
from misheard.database import tallies
from misheard.database.schema import error_cases, hourly, inferences, marks, observations
from misheard.database.schema import tallies as tallies_table
from misheard.integrity.difference import Difference

_ERRORS = (CaseStatus.OPEN, CaseStatus.CORRECTED)
_STREAM = {"yield_per": 10_000}


def highest_number(connection: Connection) -> int:
    """The highest number that the inference log ever gave; its row may be deleted."""
    if connection.dialect.name == "sqlite":
        query = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'inferences'"
    else:
        query = """SELECT coalesce(max(last_value), 0) FROM pg_sequences
            WHERE quote_ident(schemaname) || '.' || quote_ident(sequencename)
                = pg_get_serial_sequence('inferences', 'number')"""
    return int(connection.execute(text(query)).scalar_one())


def of_mark(connection: Connection) -> Iterator[Difference]:
    """How far the digest has come, which is no further than the log."""
    mark, highest = tallies.digested_to(connection), highest_number(connection)
    if mark > highest:
        yield Difference("the digest's mark", mark, 0, highest)


def mend_mark(connection: Connection, difference: Difference) -> None:
    """The whole log counts as counted; what is not will be missing from its hour."""
    this = marks.c.reader == tallies.READER
    connection.execute(update(marks).where(this).values(number=difference.most))


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
            yield Difference(subject, counted.get(key, 0), rows[key], rows[key], key=key)


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
    gone = _let_go(connection, era)
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
        if not least <= found <= most + gone:
            since = f"since {era.cycle_id}" if era.cycle_id else "since the beginning"
            yield Difference(
                f"tally of {kind} {since}",
                found,
                least,
                most + gone,
                key=(era.cycle_id, kind, tallies.NO_SUSPICION),
                why_not=f"{gone:,} transcripts were let go since" if gone else "",
            )


def mend_tally(connection: Connection, difference: Difference) -> None:
    """Let one tally be what its rows come to."""
    since_cycle, kind, percent = difference.key
    column = tallies_table.c
    this = (column.since_cycle == since_cycle) & (column.kind == kind)
    this &= column.suspicion_percent == percent
    connection.execute(delete(tallies_table).where(this))
    row = {"since_cycle": since_cycle, "kind": kind, "suspicion_percent": percent}
    connection.execute(insert(tallies_table).values(**row, count=difference.most))


def _let_go(connection: Connection, era: tallies.Era) -> int:
    """How many transcripts of an era have no row any more, at most."""
    query = select(func.coalesce(func.sum(hourly.c.let_go), 0)).where(hourly.c.slice == "")
    if era.began_at is not None:
        query = query.where(hourly.c.hour >= tallies.hour_of(era.began_at))
    return int(connection.execute(query).scalar_one())


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
