"""The audit log: who did what, when, from what to what, why, on which evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, func, insert, select

from misheard.database.engine import now, writing
from misheard.database.schema import audit


@dataclass(frozen=True, kw_only=True)
class AuditEntry:
    """One thing that somebody did."""

    actor: str
    action: str
    """deploy, rollback, approve, reject, correct, register, …"""
    subject: str
    """The id of what it was done to."""
    from_value: str = ""
    to_value: str = ""
    reason: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)
    created_at: datetime = field(default_factory=now)
    number: int = 0
    """Counts entries; set when it is stored."""


def record(connection: Connection, *entries: AuditEntry) -> None:
    """Add entries in the caller's transaction, so that deed and record stand or fall together."""
    rows = [{k: v for k, v in vars(entry).items() if k != "number"} for entry in entries]
    if rows:
        connection.execute(insert(audit), rows)


class AuditLog:
    """Reads the audit log."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, *entries: AuditEntry) -> None:
        """Add entries about what was done outside of any transaction."""
        with writing(self._engine) as connection:
            record(connection, *entries)

    def counts(self) -> dict[str, int]:
        """How often each action was taken."""
        query = select(audit.c.action, func.count().label("times")).group_by(audit.c.action)
        with self._engine.connect() as connection:
            return {row.action: row.times for row in connection.execute(query)}

    def entries(
        self,
        *,
        limit: int = 50,
        subject: str | None = None,
        without: Sequence[str] = (),
        before: int | None = None,
    ) -> list[AuditEntry]:
        """The newest entries, newest first, less the actions in `without`.

        With `before`, those after the entry of that number.
        """
        query = select(audit).order_by(audit.c.number.desc()).limit(limit)
        if without:
            query = query.where(audit.c.action.not_in(without))
        if subject is not None:
            query = query.where(audit.c.subject == subject)
        if before is not None:
            query = query.where(audit.c.number < before)
        with self._engine.connect() as connection:
            return [AuditEntry(**row) for row in connection.execute(query).mappings()]
