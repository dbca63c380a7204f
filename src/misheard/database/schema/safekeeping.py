"""Who did what, what was deleted for somebody, and what may go."""

from __future__ import annotations

from sqlalchemy import JSON, Column, Table, Text

from misheard.database.schema.base import Serial, UtcDateTime, metadata

audit = Table(
    "audit",
    metadata,
    Column("number", Serial, primary_key=True, autoincrement=True),
    Column("created_at", UtcDateTime, nullable=False, index=True),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False, index=True),
    Column("subject", Text, nullable=False),
    Column("from_value", Text, nullable=False),
    Column("to_value", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("evidence", JSON, nullable=False),
)

forgotten = Table(
    "forgotten",
    metadata,
    # Recordings that somebody had deleted: no dataset gives them out any more.
    Column("audio_sha256", Text, primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("audit_number", Serial, nullable=False),
)

discarded = Table(
    "discarded",
    metadata,
    # Blobs that were let go of, until they are deleted; one that something names stays.
    Column("sha256", Text, primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
)
