"""What people are to listen to, what they found wrong, and what was said instead."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)

from misheard.database.schema.base import Serial, UtcDateTime, metadata

LABELLED_AUDIT = text("heard_at IS NOT NULL")
"""Which selections the audited rate rests on; a condition that their indices are of."""


def _of_labelled_audits(name: str, *columns: str) -> Index:
    return Index(name, *columns, sqlite_where=LABELLED_AUDIT, postgresql_where=LABELLED_AUDIT)


selections = Table(
    "selections",
    metadata,
    # Transcripts that were chosen for a person to look at, each once.
    Column("inference_id", Text, ForeignKey("inferences.id"), primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
    # audit: drawn at random, whatever it is; suspicious: chosen for its suspicion.
    Column("stream", Text, nullable=False),
    # The chance that an audit had of drawing it; 1 for what was chosen.
    Column("probability", Float, nullable=False),
    # The queue is in this order, highest first: the suspicion, or at random of an audit.
    Column("priority", Float, nullable=False),
    # When it was labelled first; then, by the newest correction, how many of its words were wrong.
    Column("labelled_at", UtcDateTime),
    Column("is_error", Boolean),
    Column("words", Integer),
    Column("word_errors", Integer),
    # Of a labelled audit, and of it alone, what its transcript says: so that a rate is summed over
    # these rows, and none of the log has to be looked up for it.
    Column("heard_at", UtcDateTime),
    Column("version_id", Text),
    Column("speaker_group", Text),
    Index("ix_selections_queue", "stream", "labelled_at", "priority", "inference_id"),
    _of_labelled_audits("ix_selections_audited", "heard_at", "inference_id"),
    _of_labelled_audits("ix_selections_audited_version", "version_id", "heard_at", "inference_id"),
)

error_cases = Table(
    "error_cases",
    metadata,
    Column("id", Text, primary_key=True),
    Column("inference_id", Text, ForeignKey("inferences.id"), nullable=False, unique=True),
    Column("created_at", UtcDateTime, nullable=False, index=True),
    # The chance that it is wrong, as its reporter saw it; NULL where none was given.
    Column("suspicion", Float),
    # Errors over reference words, at most 1; NULL while nobody has corrected it.
    Column("score", Float),
    # By the newest correction; moves with it, so that no count has to look at corrections.
    Column("status", Text, nullable=False, default="open", server_default="open"),
    # The newest cycle when it was last touched: under which it is tallied.
    Column("since_cycle", Text, nullable=False, default="", server_default=""),
    Column("details", JSON, nullable=False, default=dict),
    Index("ix_error_cases_status_suspicion_id", "status", "suspicion", "id"),
)

case_types = Table(
    "case_types",
    metadata,
    Column("case_id", Text, ForeignKey("error_cases.id"), nullable=False),
    Column("name", Text, nullable=False, index=True),
    # True: its reporter said so; False: measured against the newest correction.
    Column("given", Boolean, nullable=False),
    PrimaryKeyConstraint("case_id", "name", "given"),
)

corrections = Table(
    "corrections",
    metadata,
    # The highest number of an utterance is what counts; earlier ones stay.
    Column("number", Serial, primary_key=True, autoincrement=True),
    Column("inference_id", Text, ForeignKey("inferences.id"), nullable=False),
    Column("created_at", UtcDateTime, nullable=False, index=True),
    Column("reference", Text, nullable=False),
    # False: the person confirms what was heard, formatting aside.
    Column("is_error", Boolean, nullable=False),
    Column("author", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("details", JSON, nullable=False, default=dict),
    Index("ix_corrections_inference_id_number", "inference_id", "number"),
)
