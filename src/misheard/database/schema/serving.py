"""Who may ask a server for what, which servers there are, and what is tried on live traffic."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
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

tokens = Table(
    "tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
    # What people call it; it stands as the actor in the audit log.
    Column("name", Text, nullable=False, unique=True),
    # transcribe, review, operate or administer; each may do what those before it may.
    Column("role", Text, nullable=False),
    # Of the secret, which is 256 random bits and kept nowhere.
    Column("secret_sha256", Text, nullable=False),
    # Requests a minute; 0: no limit. NULL: as the settings have it.
    Column("rate_per_minute", Integer),
    Column("expires_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
    # To the hour, so that a request writes nothing.
    Column("last_used_at", UtcDateTime),
)

servers = Table(
    "servers",
    metadata,
    # One row a server process; it says what it has loaded whenever that changes.
    Column("id", Text, primary_key=True),
    Column("started_at", UtcDateTime, nullable=False),
    # Its last sign of life.
    Column("seen_at", UtcDateTime, nullable=False, index=True),
    Column("address", Text, nullable=False),
    Column("slot", Text, nullable=False),
    # What it answers with; empty until its first version is loaded.
    Column("version_id", Text, nullable=False),
    # The row of the deployment log that it has followed.
    Column("deployment_number", Serial, nullable=False),
    # The newest row of stagings that it has seen: what it says below is since then.
    Column("staging_number", Serial, nullable=False),
    # Versions that are loaded, warm and checked.
    Column("loaded", JSON, nullable=False),
    # Version → why it could not be loaded.
    Column("failed", JSON, nullable=False),
)

stagings = Table(
    "stagings",
    metadata,
    # Versions that servers are asked to load before they go live.
    Column("number", Serial, primary_key=True, autoincrement=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("slot", Text, nullable=False),
    Column("version_id", Text, ForeignKey("versions.id"), nullable=False),
    Column("actor", Text, nullable=False),
    # Nobody needs it loaded after that.
    Column("until", UtcDateTime, nullable=False, index=True),
    # Rows are deleted, and a number never comes again.
    sqlite_autoincrement=True,
)

RUNNING = text("ended_at IS NULL")
"""Which rollouts are going on; a condition that their index is of."""

rollouts = Table(
    "rollouts",
    metadata,
    # A version that is tried on live traffic. Its state moves forward; each move is audited.
    Column("id", Text, primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("slot", Text, nullable=False),
    # shadow: it hears a share of the traffic, and nobody sees what; canary: it answers a share.
    Column("kind", Text, nullable=False),
    Column("version_id", Text, ForeignKey("versions.id"), nullable=False),
    # The version that it is compared with, and the row of the log by which that is live.
    Column("live_version_id", Text, ForeignKey("versions.id"), nullable=False),
    Column("deployment_number", Serial, nullable=False),
    Column("state", Text, nullable=False),
    # Shares of the sessions, one a step.
    Column("shares", JSON, nullable=False),
    Column("step", Integer, nullable=False),
    Column("step_began_at", UtcDateTime, nullable=False),
    # What it is judged by, as it was when it began.
    Column("rules", JSON, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("detail", Text, nullable=False),
    # One at a time in a slot, whoever begins first.
    Index(
        "uq_rollouts_running",
        "slot",
        unique=True,
        sqlite_where=RUNNING,
        postgresql_where=RUNNING,
    ),
)

rollout_counts = Table(
    "rollout_counts",
    metadata,
    # Sessions of a rollout, counted as they come: all of them, and those that went wrong once.
    Column("rollout_id", Text, ForeignKey("rollouts.id"), nullable=False),
    Column("step", Integer, nullable=False),
    # candidate or live.
    Column("arm", Text, nullable=False),
    # requests, sessions, or what went wrong.
    Column("signal", Text, nullable=False),
    Column("count", Integer, nullable=False),
    PrimaryKeyConstraint("rollout_id", "step", "arm", "signal"),
)

rollout_sessions = Table(
    "rollout_sessions",
    metadata,
    # What was counted of a session already. It goes when its rollout ends.
    Column("rollout_id", Text, ForeignKey("rollouts.id"), nullable=False),
    # A hash of its id and the rollout's.
    Column("session", Text, nullable=False),
    # Who answered it last; empty of a shadow, where both hear it.
    Column("arm", Text, nullable=False),
    # Names of what went wrong in it: each counts once, in whichever step that was.
    Column("wrong", JSON, nullable=False),
    PrimaryKeyConstraint("rollout_id", "session"),
)

shadow_transcripts = Table(
    "shadow_transcripts",
    metadata,
    # What a shadow heard; it goes with the transcript that it stands beside.
    Column("rollout_id", Text, ForeignKey("rollouts.id"), nullable=False),
    Column(
        "inference_id",
        Text,
        ForeignKey("inferences.id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("created_at", UtcDateTime, nullable=False),
    Column("text", Text, nullable=False),
    Column("avg_logprob", Float),
    Column("no_speech_prob", Float),
    Column("compression_ratio", Float),
    Column("latency_s", Float),
    # Words of the longer text, and in how many the two differ.
    Column("words", Integer, nullable=False),
    Column("differences", Integer, nullable=False),
    PrimaryKeyConstraint("rollout_id", "inference_id"),
)
