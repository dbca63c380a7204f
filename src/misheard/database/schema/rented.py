"""Machines that were rented to train on."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, Index, Integer, Table, Text, text

from misheard.database.schema.base import Serial, UtcDateTime, metadata

OPEN = text("ended_at IS NULL")
"""Which machines may be running; a condition that their index is of."""

rentals = Table(
    "rentals",
    metadata,
    # One row for each time that a machine is asked for, written before it is.
    Column("number", Serial, primary_key=True, autoincrement=True),
    # Of the machine; made of the job's id and the attempt, so that any process knows it.
    Column("name", Text, nullable=False, index=True),
    # Random, and the same for all machines of a workspace: what they are labelled with is made
    # of it.
    Column("owner", Text, nullable=False),
    Column("job_id", Text, nullable=False, index=True),
    Column("attempt", Integer, nullable=False),
    # Of Google Cloud: in another one, nothing is known of the machine.
    Column("project_id", Text, nullable=False),
    Column("zone", Text, nullable=False),
    Column("machine_type", Text, nullable=False),
    # Empty: what the type of machine has by itself.
    Column("accelerator", Text, nullable=False),
    Column("is_spot", Boolean, nullable=False),
    Column("usd_per_hour", Float, nullable=False),
    # After which the provider itself deletes it.
    Column("max_hours", Float, nullable=False),
    Column("asked_at", UtcDateTime, nullable=False, index=True),
    # When it was first seen to be there.
    Column("running_at", UtcDateTime),
    # When it was seen to be gone, or had given its last sign of life.
    Column("ended_at", UtcDateTime, index=True),
    # Why it ended: done, failed, preempted, silent, cancelled, no machine, refused, swept.
    Column("reason", Text, nullable=False),
    # One machine at a time for each attempt, whoever asks.
    Index(
        "uq_rentals_open",
        "name",
        unique=True,
        sqlite_where=OPEN,
        postgresql_where=OPEN,
    ),
)
