"""Datasets, the jobs that train on them, the versions that come of it, and which is live."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
)

from misheard.database.schema.base import Serial, UtcDateTime, metadata

datasets = Table(
    "datasets",
    metadata,
    # Derived from the hash of the sorted rows.
    Column("id", Text, primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("name", Text, nullable=False, index=True),
    Column("purpose", Text, nullable=False),
    Column("manifest_sha256", Text, nullable=False),
    Column("counts", JSON, nullable=False),
    Column("duration_s", Float, nullable=False),
    # Share of sound utterances, and how many have which flaw.
    Column("quality", JSON, nullable=False, default=dict),
    # Utterances that are no longer in it, or never were, since somebody had them deleted.
    Column("withdrawn", Integer, nullable=False, default=0, server_default="0"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("state", Text, nullable=False, index=True),
    Column("backend", Text, nullable=False),
    Column("base_version_id", Text, ForeignKey("versions.id"), nullable=False),
    Column("dataset_id", Text, ForeignKey("datasets.id"), nullable=False),
    Column("recipe", JSON, nullable=False),
    Column("ended_at", UtcDateTime, index=True),
    Column("error", Text),
    Column("result", JSON),
)

versions = Table(
    "versions",
    metadata,
    # Derived from the hash of its files, or chosen by who registered it.
    Column("id", Text, primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("name", Text, nullable=False),
    Column("files", JSON, nullable=False),
    Column("source", Text, nullable=False),
    Column("parent_id", Text, ForeignKey("versions.id")),
    # Ours, or what its owner calls them: a model may have been trained elsewhere.
    Column("dataset_id", Text),
    Column("job_id", Text),
    Column("figures", JSON, nullable=False),
    # A verdict that was reached elsewhere; NULL where none was given.
    Column("verdict", JSON),
    Column("details", JSON, nullable=False, default=dict),
    # When retention let go of its files; it cannot be deployed any more.
    Column("pruned_at", UtcDateTime),
)

deployments = Table(
    "deployments",
    metadata,
    # A slot's highest number is what is live in it.
    Column("number", Serial, primary_key=True, autoincrement=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("slot", Text, nullable=False),
    Column("version_id", Text, ForeignKey("versions.id"), nullable=False),
    Column("action", Text, nullable=False),
    # The row it came after; two deployers that saw the same one cannot both win.
    Column("after_number", Serial, nullable=False),
    # The row that a rollback from here returns to; 0 where there is none.
    Column("undo_number", Serial, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    UniqueConstraint("slot", "after_number"),
    Index("ix_deployments_slot_number", "slot", "number"),
)
