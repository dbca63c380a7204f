"""Passes of the loop, their steps, and why each was begun or not."""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, ForeignKey, Integer, Table, Text

from misheard.database.schema.base import Serial, UtcDateTime, metadata

cycles = Table(
    "cycles",
    metadata,
    # The order in which they began: a clock may be set back in between.
    Column("number", Serial, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("state", Text, nullable=False, index=True),
    Column("actor", Text, nullable=False),
    Column("baseline_id", Text, ForeignKey("versions.id"), nullable=False),
    # NULL until a set is made from the corrections, where none was held out.
    Column("held_out_id", Text, ForeignKey("datasets.id")),
    # What this cycle does otherwise than the settings say.
    Column("options", JSON, nullable=False, default=dict),
    Column("decision", JSON, nullable=False),
    Column("dataset_id", Text, ForeignKey("datasets.id")),
    Column("job_id", Text, ForeignKey("jobs.id")),
    Column("version_id", Text, ForeignKey("versions.id")),
    Column("validation_id", Text, ForeignKey("validations.id")),
    Column("detail", Text, nullable=False),
    # Why it could not go on when that was last tried; empty where it could.
    Column("error", Text, nullable=False, server_default=""),
    # Who works on it, until when; the fence rises with each owner, so a late one writes nothing.
    Column("lease_owner", Text),
    Column("lease_until", UtcDateTime),
    Column("fence", Integer, nullable=False),
)

cycle_steps = Table(
    "cycle_steps",
    metadata,
    Column("number", Serial, primary_key=True, autoincrement=True),
    Column("cycle_id", Text, ForeignKey("cycles.id"), nullable=False, index=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("from_state", Text, nullable=False),
    Column("to_state", Text, nullable=False),
    Column("detail", Text, nullable=False),
)

trigger_evaluations = Table(
    "trigger_evaluations",
    metadata,
    # One row for each time that the answer or its reasons changed.
    Column("number", Serial, primary_key=True, autoincrement=True),
    Column("created_at", UtcDateTime, nullable=False),
    # When it came to the same last, and how often it did.
    Column("last_at", UtcDateTime, nullable=False),
    Column("times", Integer, nullable=False),
    Column("should_trigger", Boolean, nullable=False),
    Column("decision", JSON, nullable=False),
    Column("cycle_id", Text, ForeignKey("cycles.id")),
)
