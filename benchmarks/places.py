"""Where rows are kept in the storage benchmark, and the driver's own way to add them there."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from tests.postgres import cluster

from misheard.capture.captured import COLUMNS
from misheard.database.engine import migrate, open_engine

_TABLE = f"inferences ({', '.join(COLUMNS)})"


class Plain:
    """A connection as anybody would open it, which adds rows to `inferences`."""

    def __init__(self, connection: Any, begin: str, mark: str) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._begin = begin
        self._insert = f"INSERT INTO {_TABLE} VALUES ({', '.join([mark] * len(COLUMNS))})"

    def add(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """All of them in one transaction."""
        self._cursor.execute(self._begin)
        if len(rows) == 1:
            self._cursor.execute(self._insert, rows[0])
        else:
            self._cursor.executemany(self._insert, rows)
        self._cursor.execute("COMMIT")

    def count(self) -> int:
        """How many rows there are."""
        self._cursor.execute("SELECT count(*) FROM inferences")
        return int(self._cursor.fetchone()[0])

    def close(self) -> None:
        """Done."""
        self._connection.close()


def plain(url: str, *, durable: bool) -> Plain:
    """A connection to a database that has today's schema; `durable`: each commit is."""
    if url.startswith("sqlite"):
        path = url.removeprefix("sqlite:///")
        connection = sqlite3.connect(path, isolation_level=None, timeout=30)
        connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        connection.execute("PRAGMA foreign_keys=ON")
        return Plain(connection, "BEGIN IMMEDIATE", "?")
    import psycopg  # noqa: PLC0415 - an extra, which SQLite needs nothing of

    server = psycopg.connect(url.replace("postgresql+psycopg", "postgresql"), autocommit=True)
    server.execute("SET TIME ZONE 'UTC'")
    server.execute(f"SET synchronous_commit TO {'on' if durable else 'off'}")
    return Plain(server, "BEGIN", "%s")


@dataclass(frozen=True)
class Place:
    """A kind of database."""

    name: str
    empty: Callable[[], str]
    """Makes a new database; its address."""

    def fresh(self) -> str:
        """The address of a new database with today's schema."""
        url = self.empty()
        engine = open_engine(url)
        migrate(engine)
        engine.dispose()
        return url


@contextmanager
def place(name: str, folder: Path) -> Iterator[Place]:
    """Files of SQLite in `folder`, or a server of PostgreSQL that runs while the block does."""
    if name == "sqlite":
        numbers = count()
        yield Place(name, lambda: f"sqlite:///{folder / f'{next(numbers)}.db'}")
        return
    with cluster(durable=True) as server:
        yield Place(name, lambda: server.new_database().render_as_string(hide_password=False))
