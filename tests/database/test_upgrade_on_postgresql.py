"""A workspace of misheard 0.1 on PostgreSQL comes to the very rows that it comes to on SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Engine, MetaData, insert, select, text

import misheard.database
from misheard.database.engine import migrate, open_engine, writing
from misheard.database.schema import cycles, metadata
from tests.postgres import Cluster
from tests.tiny import everything

OLD = Path(__file__).with_name("revision_0001.sql")
EARLIER = """
CREATE TEMP TABLE earlier AS SELECT * FROM cycles;
UPDATE earlier SET id = 'cycle-1', created_at = '2026-11-01 09:00:00.000000', state = 'refused';
INSERT INTO cycles SELECT * FROM earlier;
UPDATE earlier SET id = 'cycle-0';
INSERT INTO cycles SELECT * FROM earlier;
"""
"""Cycles that began before the one whose row comes first, two of them at once."""


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Iterator[Engine]:
    path = tmp_path / "misheard.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(OLD.read_text(encoding="utf-8"))
        connection.executescript(EARLIER)
    made = open_engine(f"sqlite:///{path}")
    yield made
    made.dispose()


@pytest.fixture
def on_postgresql(postgres: Cluster, on_sqlite: Engine) -> Iterator[Engine]:
    """The first revision's own tables, with the old rows in them."""
    url = postgres.new_database()
    made = open_engine(url)
    with writing(made) as connection:
        config = Config()
        scripts = Path(misheard.database.__file__).parent / "migrations"
        config.set_main_option("script_location", str(scripts))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    old, new = MetaData(), MetaData()
    old.reflect(on_sqlite)
    new.reflect(made)
    with on_sqlite.connect() as source, writing(made) as target:
        for table in new.sorted_tables:
            if table.name == "alembic_version":
                continue
            rows: list[dict[str, Any]] = [
                dict(row) for row in source.execute(select(old.tables[table.name])).mappings()
            ]
            if rows:
                target.execute(insert(table), rows)
    yield made
    made.dispose()
    postgres.drop(url)


def test_it_comes_to_the_same_rows(on_sqlite: Engine, on_postgresql: Engine) -> None:
    for engine in (on_sqlite, on_postgresql):
        migrate(engine)
    expected, found = everything(on_sqlite), everything(on_postgresql)
    assert found.keys() == expected.keys()
    for name, rows in expected.items():
        assert [tuple(row) for row in found[name]] == [tuple(row) for row in rows], name
    assert found["hourly"]
    assert found["tallies"]
    with on_postgresql.connect() as connection:
        # The log goes on counting where it was.
        query = "SELECT last_value FROM inferences_number_seq"
        assert connection.execute(text(query)).scalar_one() == len(expected["inferences"])
        query = "SELECT last_value FROM cycles_number_seq"
        assert connection.execute(text(query)).scalar_one() == 3
    for engine in (on_sqlite, on_postgresql):
        with engine.connect() as connection:
            ids = connection.scalars(select(cycles.c.id).order_by(cycles.c.number)).all()
        assert ids == ["cycle-0", "cycle-1", "cycle-1a2049f2907f6fbf92a54"]


def test_it_comes_to_today_s_schema(on_postgresql: Engine) -> None:
    migrate(on_postgresql)
    with on_postgresql.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
