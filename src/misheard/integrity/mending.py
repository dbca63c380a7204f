"""Count again what is wrong, and write down what was changed.

An hour, or all tallies, at a time, each in one transaction that nobody else writes beside: what was
counted until then is in it, and what comes later is added to what is right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine

from misheard.database import audit
from misheard.database.engine import writing
from misheard.integrity import counts, hours, totals
from misheard.integrity.difference import Difference

_SHOWN = 100


@dataclass(frozen=True, kw_only=True)
class Change:
    """A count that was mended."""

    subject: str
    detail: str
    """What it said, and what it says now."""


@dataclass(frozen=True, kw_only=True)
class Mended:
    """What was mended."""

    counts: int
    changes: tuple[Change, ...]
    """The first hundred of them; all are in the audit log."""


def wrong(connection: Connection) -> Iterator[Difference]:
    """Every count that is not what the rows come to."""
    yield from counts.of_mark(connection)
    yield from counts.of_cases(connection)
    yield from counts.of_traffic(connection)
    are_right = True
    for hour in hours.again(connection):
        for one in hour.differences():
            are_right = False
            yield one
    # They are what the hours come to, where those are right.
    if are_right:
        yield from totals.differences(connection)


def mend(engine: Engine, *, actor: str, progress: Callable[[int], None]) -> Mended:
    """Mend all that the rows can tell; `progress` is told how many counts were.

    Others may write meanwhile. They wait for as long as it takes to count one hour's rows.
    """
    count, changes = 0, list[Change]()

    def took(done: list[Difference]) -> None:
        nonlocal count
        count += len(done)
        room = _SHOWN - len(changes)
        changes.extend(Change(subject=one.subject, detail=one.detail) for one in done[:room])
        progress(len(done))

    # The mark first, since by it all else is counted.
    for name, find, repair in (
        ("mark", counts.of_mark, counts.mend_mark),
        ("tallies", counts.of_cases, counts.mend_tally),
        ("tallies", counts.of_traffic, counts.mend_tally),
    ):
        with writing(engine) as connection:
            done = [one for one in find(connection) if not one.why_not]
            for one in done:
                repair(connection, one)
            _record(connection, actor, name, done)
        took(done)
    with engine.connect() as connection:
        # What cannot be counted again is asked again in its turn: it may be so by then.
        some = [one.hour for one in hours.again(connection) if any(one.differences())]
    are_right = True
    for hour in some:
        with writing(engine) as connection:
            done = []
            for again in hours.again(connection, hour):
                found = list(again.differences())
                done = [one for one in found if not one.why_not]
                are_right = are_right and len(done) == len(found)
                for key in dict.fromkeys(one.key for one in done):
                    again.mend(connection, key)
            _record(connection, actor, f"hour of {hour:%Y-%m-%d %H:%M} UTC", done)
        took(done)
    # Last, since they are what the hours come to; where those stay wrong they are the better half.
    with writing(engine) as connection:
        done = list(totals.differences(connection)) if are_right else []
        for one in done:
            totals.mend(connection, one)
        _record(connection, actor, "totals", done)
    took(done)
    return Mended(counts=count, changes=tuple(changes))


def _record(connection: Connection, actor: str, subject: str, done: list[Difference]) -> None:
    if not done:
        return
    evidence: dict[str, Any] = {one.subject: [one.counted, one.most] for one in done}
    entry = audit.AuditEntry(
        actor=actor,
        action="mend",
        subject=subject,
        reason="the rows come to something else",
        evidence=evidence,
    )
    audit.record(connection, entry)
