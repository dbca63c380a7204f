"""Counts that are kept as things come, so that no question costs more with the years.

What came since the newest cycle is tallied under that cycle's id: when another begins, its tally
starts at nothing, and no row has to be looked at again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql import ColumnElement

from misheard.database.schema import cycles, hourly, inferences, marks, tallies
from misheard.database.totals import Totals

INFERENCES = "inferences"
INFERENCE_ERRORS = "inference_errors"
NO_SUSPICION = -1
_LARGEST = 2**63 - 1
READER = "digest"
"""The name of the digest's mark."""
_SLICE = "slice "
"""What the name of a tag's mark begins with."""


@dataclass(frozen=True)
class Era:
    """The time since the newest cycle began, or since ever."""

    cycle_id: str
    """Empty where there was none yet."""
    began_at: datetime | None

    def holds(self, moment: datetime) -> bool:
        """Whether what was heard then belongs to it."""
        return self.began_at is None or moment > self.began_at


def current_era(connection: Connection) -> Era:
    """The era of now."""
    newest = select(cycles.c.id, cycles.c.created_at).order_by(cycles.c.number.desc()).limit(1)
    found = connection.execute(newest).first()
    return Era(found.id, found.created_at) if found else Era("", None)


class Tally:
    """Adds up changes of counts, and writes them in one go."""

    def __init__(self) -> None:
        self._changes: Counter[tuple[str, str, int]] = Counter()

    def add(self, cycle_id: str, kind: str, by: int, *, percent: int = NO_SUSPICION) -> None:
        """`by` more of `kind` in an era; of cases, at a suspicion of `percent`."""
        self._changes[cycle_id, kind, percent] += by

    def write(self, connection: Connection) -> None:
        """Add what was added up to what is there."""
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        # In one order, so that two who add to the same rows do not wait for each other.
        rows = [
            {"since_cycle": cycle_id, "kind": kind, "suspicion_percent": percent, "count": count}
            for (cycle_id, kind, percent), count in sorted(self._changes.items())
            if count
        ]
        if not rows:
            return
        insert = dialect.insert(tallies)
        keys = ["since_cycle", "kind", "suspicion_percent"]
        more = {"count": tallies.c.count + insert.excluded["count"]}
        connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=more), rows)


def tallied(connection: Connection, cycle_id: str) -> dict[tuple[str, int], int]:
    """Kind and percent → count, in one era."""
    columns = (tallies.c.kind, tallies.c.suspicion_percent, tallies.c.count)
    found = connection.execute(select(*columns).where(tallies.c.since_cycle == cycle_id))
    return {(kind, percent): count for kind, percent, count in found}


def percent_of(suspicion: float | None) -> int:
    """The whole percents of a suspicion.

    >>> percent_of(0.29), percent_of(None)
    (29, -1)
    """
    # 0.29 is a little less than 29 hundredths.
    return NO_SUSPICION if suspicion is None else int(suspicion * 100 + 1e-9)


def hour_of(moment: datetime, *, block: int = 1) -> datetime:
    """The hour that a time falls in, as `hourly` has it; or where its block of hours began.

    `block` is a divisor of 24.

    >>> hour_of(datetime(2026, 1, 31, 9, 30)), hour_of(datetime(2026, 1, 31, 9, 30), block=6)
    (datetime.datetime(2026, 1, 31, 9, 0), datetime.datetime(2026, 1, 31, 6, 0))
    """
    hour = moment.hour - moment.hour % block
    return moment.replace(hour=hour, minute=0, second=0, microsecond=0)


def digested_to(connection: Connection) -> int:
    """The number of the last inference that the digest has counted."""
    query = select(func.coalesce(func.max(marks.c.number), 0)).where(marks.c.reader == READER)
    return int(connection.execute(query).scalar_one())


def behind(connection: Connection) -> int:
    """How many inferences wait to be counted, about: deleted ones are among them."""
    newest = connection.execute(select(func.max(inferences.c.number))).scalar() or 0
    return int(newest) - digested_to(connection)


def not_digested(connection: Connection) -> ColumnElement[bool]:
    """Which inferences the digest has not counted yet.

    Its upper end leaves out nothing: of a range PostgreSQL expects few rows even of a table that it
    knows nothing of yet, and so looks them up instead of reading all of it.
    """
    return inferences.c.number.between(digested_to(connection) + 1, _LARGEST)


def slices_of(tags: Mapping[str, str]) -> list[str]:
    """Where `hourly` may have an inference: with all of the traffic, and by each of its tags.

    >>> slices_of({"channel": "mobile"})
    ['', 'channel=mobile']
    """
    return ["", *(f"{name}={value}" for name, value in tags.items())]


def counted_apart(connection: Connection) -> dict[str, int]:
    """Tag → the number of the log after which the digest has counted its values apart."""
    query = select(marks.c.reader, marks.c.number).where(marks.c.reader.startswith(_SLICE))
    return {row.reader.removeprefix(_SLICE): row.number for row in connection.execute(query)}


def count_apart(connection: Connection, tags: Collection[str]) -> None:
    """From here on the digest counts the values of these tags apart, and of no others."""
    known = counted_apart(connection)
    if gone := [_SLICE + name for name in known.keys() - set(tags)]:
        connection.execute(delete(marks).where(marks.c.reader.in_(gone)))
    if new := set(tags) - known.keys():
        number = digested_to(connection)
        rows = [{"reader": _SLICE + name, "number": number} for name in sorted(new)]
        connection.execute(insert(marks), rows)


def let_go(connection: Connection, rows: Iterable[Any]) -> None:
    """These rows of the log are deleted; their hours stay as they are, and remember how many."""
    gone: Counter[tuple[Any, ...]] = Counter()
    for key in _places(connection, rows):
        gone[key] += 1
    _add(connection, [(*key, {"let_go": count}) for key, count in gone.items()])


def measured(connection: Connection, row: Any, duration_s: float) -> None:
    """How long a recording is was not known, or not so well, when its row was counted."""
    more = {"audio_s": duration_s - (row.duration_s or 0.0)}
    if row.compute_s is not None:
        more["computed_audio_s"] = more["audio_s"]
    if places := list(_places(connection, [row])):
        _add(connection, [(*key, more) for key in places])
        totals = Totals()
        totals.add(row.version_id, **more)
        totals.write(connection)


def _places(connection: Connection, rows: Iterable[Any]) -> Iterable[tuple[datetime, str, str]]:
    """The keys of `hourly` under which rows of the log may have been counted."""
    number = digested_to(connection)
    for row in rows:
        if not row.reported and row.number <= number:
            for name in slices_of(row.tags):
                yield hour_of(row.created_at), row.version_id, name


def _add(connection: Connection, changes: Iterable[tuple[Any, ...]]) -> None:
    """To what is there: a tag whose values nobody counts apart has no row."""
    for hour, version_id, name, more in sorted(changes, key=lambda one: one[:3]):
        this = (hourly.c.hour == hour) & (hourly.c.version_id == version_id)
        values = {column: hourly.c[column] + by for column, by in more.items()}
        connection.execute(update(hourly).where(this, hourly.c.slice == name).values(**values))
