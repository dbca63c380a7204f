"""Pages of what is listed newest first: one begins after the last row of the one before."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Table, and_, or_, select

from misheard.errors import UnknownIdError


def older_than(connection: Connection, table: Table, before: str) -> ColumnElement[bool]:
    """Which rows come after the one with the id `before`, by `created_at` and then `id`.

    Raises `UnknownIdError` where that row is not there any more.
    """
    moment = _of(connection, table, table.c.created_at, before)
    return and_(
        # By itself, so that an index of times can begin there.
        table.c.created_at <= moment,
        or_(table.c.created_at < moment, table.c.id < before),
    )


def numbered_before(connection: Connection, table: Table, before: str) -> ColumnElement[bool]:
    """The same of a table whose rows are counted by `number`."""
    number: int = _of(connection, table, table.c.number, before)
    return table.c.number < number


def _of(connection: Connection, table: Table, column: Column[Any], row_id: str) -> Any:
    found = connection.execute(select(column).where(table.c.id == row_id)).scalar()
    if found is None:
        raise UnknownIdError(f"There is no '{row_id}' to go on after. Begin anew.")
    return found
