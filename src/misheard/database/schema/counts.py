"""What is counted as it comes, so that no question has to read the log."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
)

from misheard.database.schema.base import Serial, UtcDateTime, metadata

marks = Table(
    "marks",
    metadata,
    # How far each reader of the log has come: the number of the last inference that it counted.
    # Of a tag whose values are counted apart ("slice channel"): after which number that began.
    Column("reader", Text, primary_key=True),
    Column("number", Serial, nullable=False),
)

tallies = Table(
    "tallies",
    metadata,
    # What has come since a cycle began (empty: since the workspace did), counted as it came.
    Column("since_cycle", Text, nullable=False),
    # inferences, inference_errors, or a status of cases.
    Column("kind", Text, nullable=False),
    # Of cases, so that one may ask how many reach a suspicion; -1 where none was given.
    Column("suspicion_percent", Integer, nullable=False),
    Column("count", Integer, nullable=False),
    PrimaryKeyConstraint("since_cycle", "kind", "suspicion_percent"),
)

hourly = Table(
    "hourly",
    metadata,
    # The traffic by the hour in which it was heard, added to as it comes.
    Column("hour", UtcDateTime, nullable=False),
    Column("version_id", Text, nullable=False),
    # Empty for all of it; else a tag and its value, "channel=mobile".
    Column("slice", Text, nullable=False),
    Column("inferences", Integer, nullable=False),
    # Of those: how many have no row any more, so that nobody can count them again.
    Column("let_go", Integer, nullable=False, default=0, server_default="0"),
    Column("empty", Integer, nullable=False),
    Column("audio_s", Float, nullable=False),
    # Of those that have a latency: how many, sum, least and most.
    Column("timed", Integer, nullable=False),
    Column("latency_s", Float, nullable=False),
    Column("least_latency_s", Float),
    Column("most_latency_s", Float),
    # How many of them fell into which bucket of database/latencies.py, and so any quantile.
    Column("latency_counts", JSON, nullable=False, default=dict),
    # Seconds of compute, and of the audio that they were spent on.
    Column("compute_s", Float, nullable=False),
    Column("computed_audio_s", Float, nullable=False),
    # Of those that have a suspicion: how many, sum, sum of squares.
    Column("suspected", Integer, nullable=False),
    Column("suspicion", Float, nullable=False),
    Column("suspicion_squared", Float, nullable=False),
    # Of those that have a mean log-probability: how many, sum.
    Column("scored", Integer, nullable=False),
    Column("avg_logprob", Float, nullable=False),
    # By what people said of them since.
    Column("errors", Integer, nullable=False),
    Column("corrected", Integer, nullable=False),
    PrimaryKeyConstraint("hour", "version_id", "slice"),
    Index("ix_hourly_slice", "slice", "hour", "version_id"),
)

traffic_totals = Table(
    "traffic_totals",
    metadata,
    # The sums of `hourly` of each version since ever, which are asked for every few seconds.
    Column("version_id", Text, primary_key=True),
    Column("inferences", BigInteger, nullable=False),
    Column("empty", BigInteger, nullable=False),
    Column("audio_s", Float, nullable=False),
    Column("timed", BigInteger, nullable=False),
    Column("latency_s", Float, nullable=False),
    Column("compute_s", Float, nullable=False),
    Column("computed_audio_s", Float, nullable=False),
    Column("scored", BigInteger, nullable=False),
    Column("avg_logprob", Float, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("corrected", BigInteger, nullable=False),
)

latency_totals = Table(
    "latency_totals",
    metadata,
    # The latencies of each version since ever, likewise.
    Column("version_id", Text, nullable=False),
    Column("bucket", Integer, nullable=False),
    Column("count", BigInteger, nullable=False),
    PrimaryKeyConstraint("version_id", "bucket"),
)
