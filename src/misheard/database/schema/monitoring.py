"""Figures over time, what was wrong, and who was told."""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, Float, ForeignKey, Index, Integer, Table, Text, text

from misheard.database.schema.base import Serial, UtcDateTime, metadata

observations = Table(
    "observations",
    metadata,
    # Figures that were told to us or measured by a gate; one row an event, read by window.
    Column("number", Serial, primary_key=True, autoincrement=True),
    Column("created_at", UtcDateTime, nullable=False),
    # performance, inference, model_version or learning.
    Column("kind", Text, nullable=False),
    # The version, the recording or the stage that it is about.
    Column("subject", Text, nullable=False),
    Column("wer", Float),
    Column("cer", Float),
    Column("error_rate", Float),
    Column("correction_rate", Float),
    Column("inference_time_s", Float),
    Column("confidence", Float),
    Column("is_error", Boolean),
    Column("is_corrected", Boolean),
    Column("details", JSON, nullable=False, default=dict),
    Index("ix_observations_kind_created_at", "kind", "created_at"),
)

alerts = Table(
    "alerts",
    metadata,
    # One row from when a rule's state turns bad to when it is well again.
    Column("id", Text, primary_key=True),
    Column("rule", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("fired_at", UtcDateTime, nullable=False),
    # How long it has been well again without a break; NULL while it is not.
    Column("well_since", UtcDateTime),
    Column("resolved_at", UtcDateTime),
    Column("detail", Text, nullable=False),
    Column("figures", JSON, nullable=False),
    Index("ix_alerts_resolved_at_rule", "resolved_at", "rule", "subject"),
    # One open alert of a rule on a subject, whoever finds it first.
    Index(
        "uq_alerts_open",
        "rule",
        "subject",
        unique=True,
        sqlite_where=text("resolved_at IS NULL"),
        postgresql_where=text("resolved_at IS NULL"),
    ),
)

deliveries = Table(
    "deliveries",
    metadata,
    # What is to be told to whom, until it is.
    Column("number", Serial, primary_key=True, autoincrement=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("alert_id", Text, ForeignKey("alerts.id"), nullable=False, index=True),
    # fired or resolved.
    Column("event", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", UtcDateTime, index=True),
    Column("delivered_at", UtcDateTime),
    Column("error", Text, nullable=False),
)

silences = Table(
    "silences",
    metadata,
    # While one holds, a rule that it names ("" for all) tells nobody.
    Column("number", Serial, primary_key=True, autoincrement=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("rule", Text, nullable=False),
    Column("until", UtcDateTime, nullable=False, index=True),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
)
