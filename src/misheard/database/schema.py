"""All tables, at one glance.

Rows are added, not rewritten: a change is a new row. The exceptions are `jobs` and `cycles`, whose
state moves forward, and each step of a cycle is a row of `cycle_steps` besides.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

REVISION = "0003"
"""The newest migration; a workspace at another revision is upgraded or refused."""


class UtcDateTime(TypeDecorator[datetime]):
    """Aware datetimes in UTC; SQLite itself would forget the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times rather than guess their zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a time without a zone: {value}")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Give the zone back."""
        del dialect
        if value is None:
            return None
        made: datetime = value.replace(tzinfo=UTC) if value.tzinfo is None else value
        return made.astimezone(UTC)


# SQLite counts rows by itself only in a column that is exactly INTEGER.
_Serial = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


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
    Column("number", _Serial, primary_key=True, autoincrement=True),
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
    Column("number", _Serial, primary_key=True, autoincrement=True),
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
    Column("number", _Serial, primary_key=True, autoincrement=True),
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
    Column("number", _Serial, primary_key=True, autoincrement=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("suite_name", Text, nullable=False),
    Column("audio_sha256", Text, nullable=False),
    Column("reference", Text, nullable=False),
    Column("speaker_group", Text, nullable=False),
    Column("duration_s", Float, nullable=False),
    Column("tags", JSON, nullable=False),
    # Where it comes from: who corrected which transcript, and how.
    Column("inference_id", Text, ForeignKey("inferences.id"), nullable=False, index=True),
    Column("correction_number", _Serial, ForeignKey("corrections.number"), nullable=False),
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

deployments = Table(
    "deployments",
    metadata,
    # A slot's highest number is what is live in it.
    Column("number", _Serial, primary_key=True, autoincrement=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("slot", Text, nullable=False),
    Column("version_id", Text, ForeignKey("versions.id"), nullable=False),
    Column("action", Text, nullable=False),
    # The row it came after; two deployers that saw the same one cannot both win.
    Column("after_number", _Serial, nullable=False),
    # The row that a rollback from here returns to; 0 where there is none.
    Column("undo_number", _Serial, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    UniqueConstraint("slot", "after_number"),
    Index("ix_deployments_slot_number", "slot", "number"),
)

cycles = Table(
    "cycles",
    metadata,
    Column("id", Text, primary_key=True),
    Column("created_at", UtcDateTime, nullable=False, index=True),
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
    Column("number", _Serial, primary_key=True, autoincrement=True),
    Column("cycle_id", Text, ForeignKey("cycles.id"), nullable=False, index=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("from_state", Text, nullable=False),
    Column("to_state", Text, nullable=False),
    Column("detail", Text, nullable=False),
)

observations = Table(
    "observations",
    metadata,
    # Figures that were told to us or measured by a gate; one row an event, read by window.
    Column("number", _Serial, primary_key=True, autoincrement=True),
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

audit = Table(
    "audit",
    metadata,
    Column("number", _Serial, primary_key=True, autoincrement=True),
    Column("created_at", UtcDateTime, nullable=False, index=True),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False, index=True),
    Column("subject", Text, nullable=False),
    Column("from_value", Text, nullable=False),
    Column("to_value", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("evidence", JSON, nullable=False),
)

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
    # Set by the newest correction: when, and how many of its words were wrong.
    Column("labelled_at", UtcDateTime),
    Column("is_error", Boolean),
    Column("words", Integer),
    Column("word_errors", Integer),
    Index("ix_selections_queue", "stream", "labelled_at", "priority", "inference_id"),
)

marks = Table(
    "marks",
    metadata,
    # How far each reader of the log has come: the number of the last inference that it counted.
    # Of a tag whose values are counted apart ("slice channel"): after which number that began.
    Column("reader", Text, primary_key=True),
    Column("number", _Serial, nullable=False),
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
    Index("ix_hourly_version_id_hour", "version_id", "hour"),
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
    Column("number", _Serial, primary_key=True, autoincrement=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("weights", JSON, nullable=False),
    Column("figures", JSON, nullable=False),
)

trigger_evaluations = Table(
    "trigger_evaluations",
    metadata,
    # One row for each time that the answer or its reasons changed.
    Column("number", _Serial, primary_key=True, autoincrement=True),
    Column("created_at", UtcDateTime, nullable=False),
    # When it came to the same last, and how often it did.
    Column("last_at", UtcDateTime, nullable=False),
    Column("times", Integer, nullable=False),
    Column("should_trigger", Boolean, nullable=False),
    Column("decision", JSON, nullable=False),
    Column("cycle_id", Text, ForeignKey("cycles.id")),
)

forgotten = Table(
    "forgotten",
    metadata,
    # Recordings that somebody had deleted: no dataset gives them out any more.
    Column("audio_sha256", Text, primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("audit_number", _Serial, nullable=False),
)

discarded = Table(
    "discarded",
    metadata,
    # Blobs that were let go of, until they are deleted; one that something names stays.
    Column("sha256", Text, primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
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
    Column("number", _Serial, primary_key=True, autoincrement=True),
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
    Column("number", _Serial, primary_key=True, autoincrement=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("rule", Text, nullable=False),
    Column("until", UtcDateTime, nullable=False, index=True),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
)
