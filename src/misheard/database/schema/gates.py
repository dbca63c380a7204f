"""What candidates made of held-out speech, and what the gates said of it."""

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
    UniqueConstraint,
)

from misheard.database.schema.base import Serial, UtcDateTime, metadata

hypotheses = Table(
    "hypotheses",
    metadata,
    # What a version makes of a clip never changes, so it is computed once.
    Column("version_id", Text, ForeignKey("versions.id"), nullable=False),
    Column("audio_sha256", Text, nullable=False),
    Column("decoding", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("compute_s", Float, nullable=False),
    PrimaryKeyConstraint("version_id", "audio_sha256", "decoding"),
)

validations = Table(
    "validations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("created_at", UtcDateTime, nullable=False, index=True),
    # Version ids, or names of transcribers that are none of ours.
    Column("candidate_id", Text, nullable=False, index=True),
    Column("baseline_id", Text, nullable=False),
    Column("dataset_id", Text, ForeignKey("datasets.id"), nullable=False),
    Column("set_name", Text, nullable=False),
    Column("passed", Boolean, nullable=False),
    Column("reasons", JSON, nullable=False),
    Column("figures", JSON, nullable=False),
    # JSON lines: every utterance with both texts and both counts of errors.
    Column("utterances_sha256", Text, nullable=False),
)

suites = Table(
    "suites",
    metadata,
    Column("id", Text, primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
    # The newest suite of a name counts; earlier ones keep their runs.
    Column("name", Text, nullable=False, index=True),
    Column("kind", Text, nullable=False),
    Column("dataset_id", Text, ForeignKey("datasets.id"), nullable=False),
    Column("description", Text, nullable=False),
    # What the suite is held to where figures were given; else to the live version.
    Column("baseline_version", Text, nullable=False),
    Column("baseline_wer", Float),
    Column("baseline_cer", Float),
    # NULL: what the settings allow a suite of this kind.
    Column("max_wer_degradation", Float),
    Column("max_cer_degradation", Float),
)

suite_runs = Table(
    "suite_runs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("created_at", UtcDateTime, nullable=False, index=True),
    Column("suite_id", Text, ForeignKey("suites.id"), nullable=False, index=True),
    # The cycle that it was a gate of; NULL for a run by hand or by the clock.
    Column("cycle_id", Text, index=True),
    Column("candidate_id", Text, nullable=False, index=True),
    Column("baseline_id", Text, nullable=False),
    Column("passed", Boolean, nullable=False),
    Column("reasons", JSON, nullable=False),
    Column("figures", JSON, nullable=False),
)

suite_baselines = Table(
    "suite_baselines",
    metadata,
    # What a suite is held to; its highest number counts. It moves only by a new row.
    Column("number", Serial, primary_key=True, autoincrement=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("suite_id", Text, ForeignKey("suites.id"), nullable=False, index=True),
    Column("version_id", Text, nullable=False),
    # NULL where no word is spoken.
    Column("wer", Float),
    Column("cer", Float),
    Column("silent_with_text", Integer, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
)

suite_cases = Table(
    "suite_cases",
    metadata,
    # Utterances that a suite has for good; of an utterance the highest number counts.
    Column("number", Serial, primary_key=True, autoincrement=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("suite_name", Text, nullable=False),
    Column("audio_sha256", Text, nullable=False),
    Column("reference", Text, nullable=False),
    Column("speaker_group", Text, nullable=False),
    Column("duration_s", Float, nullable=False),
    Column("tags", JSON, nullable=False),
    # Where it comes from: who corrected which transcript, and how.
    Column("inference_id", Text, ForeignKey("inferences.id"), nullable=False, index=True),
    Column("correction_number", Serial, ForeignKey("corrections.number"), nullable=False),
    Column("dataset_id", Text, ForeignKey("datasets.id")),
    UniqueConstraint("suite_name", "correction_number"),
    Index("ix_suite_cases_suite_name_audio_sha256", "suite_name", "audio_sha256"),
)

suite_results = Table(
    "suite_results",
    metadata,
    # Every utterance of a run, so that a case has a history.
    Column("run_id", Text, ForeignKey("suite_runs.id"), nullable=False),
    Column("audio_sha256", Text, nullable=False),
    Column("reference", Text, nullable=False),
    Column("words", Integer, nullable=False),
    Column("baseline_errors", Integer, nullable=False),
    Column("candidate_errors", Integer, nullable=False),
    Column("baseline_text", Text, nullable=False),
    Column("candidate_text", Text, nullable=False),
    PrimaryKeyConstraint("run_id", "audio_sha256"),
    Index("ix_suite_results_audio_sha256_run_id", "audio_sha256", "run_id"),
)

infrastructure_checks = Table(
    "infrastructure_checks",
    metadata,
    # An artefact that was loaded, and asked to transcribe, in a process of its own.
    Column("id", Text, primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("version_id", Text, ForeignKey("versions.id"), nullable=False, index=True),
    Column("passed", Boolean, nullable=False),
    Column("detail", Text, nullable=False),
    Column("figures", JSON, nullable=False),
)
