"""Add many rows quickly: the driver's own statement on SQLite, SQLAlchemy's elsewhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql

Row = tuple[Any, ...]


class RowInsert:
    """Adds tuples to a table, leaving out those whose `unless_known` is there already.

    On SQLite a row costs what `sqlite3` itself takes; through SQLAlchemy it would be twice that.
    """

    def __init__(self, table: Table, names: Sequence[str], *, unless_known: str) -> None:
        """`names` are the columns of each tuple, in order."""
        self._names = tuple(names)
        self._unless_known = unless_known
        marks = ", ".join("?" * len(names))
        self._sqlite = (
            f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({marks}) "
            f"ON CONFLICT ({unless_known}) DO NOTHING"
        )
        insert = postgresql.insert(table)
        self._other = insert.on_conflict_do_nothing(index_elements=[unless_known])

    def add(self, connection: Connection, rows: Sequence[Row]) -> int:
        """How many were added; times as `stored_time` gives them, JSON as `stored_json` does."""
        if connection.dialect.name == "sqlite":
            return connection.exec_driver_sql(self._sqlite, list(rows)).rowcount
        return self._add_elsewhere(connection, rows)

    def add_to_sqlite(self, driver: Any, rows: Sequence[Row]) -> int:
        """`add` on the driver's own connection."""
        added: int = driver.executemany(self._sqlite, rows).rowcount
        return added

    def _add_elsewhere(self, connection: Connection, rows: Sequence[Row]) -> int:
        dicts = [dict(zip(self._names, row, strict=True)) for row in rows]
        # In one order, so that two who send the same rows do not wait for each other.
        dicts.sort(key=lambda one: one[self._unless_known] or "")
        # Else a count of many statements is not kept.
        counted = {"preserve_rowcount": True}
        return connection.execute(self._other, dicts, execution_options=counted).rowcount


_TWO_DIGITS = [f"{number:02}" for number in range(60)]


def stored_time(moment: datetime, *, on_sqlite: bool) -> Any:
    """An aware time as `RowInsert` takes it."""
    if not on_sqlite:
        return moment
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    # As SQLAlchemy writes it, so that both sort alike; `isoformat` takes four times as long.
    hour, minute = _TWO_DIGITS[moment.hour], _TWO_DIGITS[moment.minute]
    second = _TWO_DIGITS[moment.second]
    return f"{_day(moment.toordinal())} {hour}:{minute}:{second}.{moment.microsecond:06}"


@lru_cache(maxsize=1_000)
def _day(ordinal: int) -> str:
    return date.fromordinal(ordinal).isoformat()


def stored_json(value: Any, *, on_sqlite: bool) -> Any:
    """A value of a JSON column as `RowInsert` takes it."""
    return json.dumps(value) if on_sqlite else value
