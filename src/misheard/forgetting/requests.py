"""Requests to forget: who asked in the audit log, and the recordings that each has marked."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.dialects import postgresql, sqlite

from misheard.database import audit
from misheard.database.engine import now
from misheard.database.schema import audit as audit_table
from misheard.database.schema import forgotten
from misheard.forgetting.person import Person

_ASKED = "forget"
_DONE = "forgotten"


def begin(
    connection: Connection, person: Person, *, actor: str, reason: str, evidence: dict[str, Any]
) -> int:
    """Write down who asked and why; the number of the request."""
    entry = audit.AuditEntry(
        actor=actor, action=_ASKED, subject=person.digest, reason=reason, evidence=evidence
    )
    audit.record(connection, entry)
    return unfinished(connection, person)


def unfinished(connection: Connection, person: Person) -> int:
    """The number of the request that was begun and not finished; 0 where there is none."""

    def last(action: str) -> int:
        query = select(func.coalesce(func.max(audit_table.c.number), 0)).where(
            audit_table.c.action == action, audit_table.c.subject == person.digest
        )
        return int(connection.execute(query).scalar_one())

    asked = last(_ASKED)
    return asked if asked > last(_DONE) else 0


def evidence_of(connection: Connection, number: int) -> dict[str, Any]:
    """What was found when a request was begun."""
    query = select(audit_table.c.evidence).where(audit_table.c.number == number)
    found: dict[str, Any] = connection.execute(query).scalar_one()
    return found


def finish(
    connection: Connection, person: Person, number: int, *, actor: str, figures: dict[str, int]
) -> None:
    """Write down what became of a request, unless another process was faster."""
    if unfinished(connection, person) == number:
        entry = audit.AuditEntry(actor=actor, action=_DONE, subject=person.digest, evidence=figures)
        audit.record(connection, entry)


def mark(connection: Connection, recordings: Collection[str], number: int) -> None:
    """From now on no dataset gives these recordings out."""
    made = (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(forgotten)
    rows = [
        {"audio_sha256": key, "created_at": now(), "audit_number": number}
        for key in sorted(recordings)
    ]
    if rows:
        # Asked for again after the recording came in again: this request is the one that counts.
        newest = made.on_conflict_do_update(
            index_elements=["audio_sha256"], set_={"audit_number": number}
        )
        connection.execute(newest, rows)


def marked_by(connection: Connection, number: int) -> list[str]:
    """Recordings that a request has marked."""
    query = select(forgotten.c.audio_sha256).where(forgotten.c.audit_number == number)
    return list(connection.scalars(query))


def all_marked(engine: Engine) -> frozenset[str]:
    """Every recording that was ever to be forgotten."""
    with engine.connect() as connection:
        return frozenset(connection.scalars(select(forgotten.c.audio_sha256)))
