"""What production heard, and how suspicious that is."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Boolean, Column, Float, Index, Integer, Table, Text, text

from misheard.database.schema.base import Serial, UtcDateTime, metadata


def _where_given(name: str) -> Index:
    """An index of the rows that have a value there, so that it costs the others nothing."""
    given = text(f"{name} IS NOT NULL")
    return Index(f"ix_inferences_{name}", name, sqlite_where=given, postgresql_where=given)


KEEPS_AUDIO = text("audio_bytes IS NOT NULL")
"""Which inferences have audio in the workspace; a condition that their index is of."""

inferences = Table(
    "inferences",
    metadata,
    # Counts arrivals, and is never given twice, so that `marks` can say how far a reader has come.
    Column("number", Serial, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    # When it was heard, as its sender says; else when it was recorded.
    Column("created_at", UtcDateTime, nullable=False, index=True),
    # The caller's own id; recording it twice makes one row.
    Column("client_id", Text, unique=True),
    # Whose data it is, by the caller's own ids: what a request to delete names.
    Column("speaker", Text),
    Column("session", Text),
    Column("speaker_group", Text, nullable=False),
    # Empty while the audio is only referred to, and after it was let go of.
    Column("audio_sha256", Text, nullable=False, index=True),
    # How much of it is kept: NULL where none is, -1 where it is and nobody has looked how much.
    Column("audio_bytes", BigInteger),
    # Where the audio came from, as its sender called it; it may be gone by now.
    Column("source", Text, nullable=False),
    Column("duration_s", Float),
    # One of ours, or the name of a recogniser that is none of ours.
    Column("version_id", Text, nullable=False),
    Column("text", Text, nullable=False),
    # What another model heard, where one was asked.
    Column("second_text", Text),
    Column("avg_logprob", Float),
    Column("no_speech_prob", Float),
    Column("compression_ratio", Float),
    Column("latency_s", Float),
    Column("compute_s", Float),
    # True: known only because somebody reported it as wrong, so it is no sample of the traffic.
    Column("reported", Boolean, nullable=False),
    # Whatever slices are cut by: channel, noise, speaker.
    Column("tags", JSON, nullable=False, default=dict, server_default="{}"),
    _where_given("speaker"),
    _where_given("session"),
    # Oldest first, what retention has to look at.
    Index(
        "ix_inferences_kept_audio",
        "created_at",
        "number",
        "audio_bytes",
        sqlite_where=KEEPS_AUDIO,
        postgresql_where=KEEPS_AUDIO,
    ),
    sqlite_autoincrement=True,
)

speaker_norms = Table(
    "speaker_norms",
    metadata,
    # How fast each speaker speaks, and everybody (""): characters a second (Welford's moments).
    Column("speaker", Text, primary_key=True),
    Column("utterances", Integer, nullable=False),
    Column("mean", Float, nullable=False),
    Column("squared_distance", Float, nullable=False),
)

suspicion_models = Table(
    "suspicion_models",
    metadata,
    # Fitted on this workspace's own corrections; the newest whose figures say `is_used` counts.
    Column("number", Serial, primary_key=True, autoincrement=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("weights", JSON, nullable=False),
    Column("figures", JSON, nullable=False),
)
