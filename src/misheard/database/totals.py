"""The traffic of each version since ever, added up as it comes.

`hourly` has a row for each hour and slice of years, which is too much for a question that is asked
every few seconds.
"""

from __future__ import annotations

from collections import defaultdict

from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from misheard.database.schema import traffic_totals

SUMMED = tuple(column.name for column in traffic_totals.c if column.name != "version_id")
"""Columns of `hourly` that are added up."""


class Totals:
    """Adds up changes, and writes them in one go."""

    def __init__(self) -> None:
        self._changes: defaultdict[str, defaultdict[str, float]] = defaultdict(
            lambda: defaultdict(float)
        )

    def add(self, version_id: str, **by: float) -> None:
        """So much more in some of the columns."""
        for name, more in by.items():
            self._changes[version_id][name] += more

    def write(self, connection: Connection) -> None:
        """Add what was added up to what is there."""
        # In one order, so that two who add to the same rows do not wait for each other.
        rows = [
            {"version_id": version_id, **{name: changes[name] for name in SUMMED}}
            for version_id, changes in sorted(self._changes.items())
        ]
        if not rows:
            return
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        insert = dialect.insert(traffic_totals)
        more = {name: traffic_totals.c[name] + insert.excluded[name] for name in SUMMED}
        connection.execute(
            insert.on_conflict_do_update(index_elements=["version_id"], set_=more), rows
        )
