"""The section `[database]`."""

from __future__ import annotations

from misheard.settings.section import Section


class DatabaseSettings(Section):
    """Where the rows are."""

    url: str = ""
    """An SQLAlchemy URL; empty means SQLite inside the workspace."""
