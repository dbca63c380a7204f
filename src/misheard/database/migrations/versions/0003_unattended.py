"""What months of unattended work need: rollups, tallies, an audit stream, alerts."""

import math
from collections import Counter, defaultdict
from datetime import datetime

import sqlalchemy as sa
from alembic import op

from misheard.database.schema import UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("fired_at", UtcDateTime(), nullable=False),
        sa.Column("well_since", UtcDateTime(), nullable=True),
        sa.Column("resolved_at", UtcDateTime(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alerts")),
    )
    with op.batch_alter_table("alerts", schema=None) as batch_op:
        batch_op.create_index(
            "ix_alerts_resolved_at_rule", ["resolved_at", "rule", "subject"], unique=False
        )
    still = sa.text("resolved_at IS NULL")
    op.create_index(
        "uq_alerts_open",
        "alerts",
        ["rule", "subject"],
        unique=True,
        sqlite_where=still,
        postgresql_where=still,
    )

    op.create_table(
        "forgotten",
        sa.Column("audio_sha256", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column(
            "audit_number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.PrimaryKeyConstraint("audio_sha256", name=op.f("pk_forgotten")),
    )
    op.create_table(
        "discarded",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_discarded")),
    )
    with op.batch_alter_table("datasets", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("withdrawn", sa.Integer(), server_default="0", nullable=False)
        )
    op.create_index("ix_suite_cases_inference_id", "suite_cases", ["inference_id"])
    op.create_table(
        "hourly",
        sa.Column("hour", UtcDateTime(), nullable=False),
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("slice", sa.Text(), nullable=False),
        sa.Column("inferences", sa.Integer(), nullable=False),
        sa.Column("let_go", sa.Integer(), server_default="0", nullable=False),
        sa.Column("empty", sa.Integer(), nullable=False),
        sa.Column("audio_s", sa.Float(), nullable=False),
        sa.Column("timed", sa.Integer(), nullable=False),
        sa.Column("latency_s", sa.Float(), nullable=False),
        sa.Column("least_latency_s", sa.Float(), nullable=True),
        sa.Column("most_latency_s", sa.Float(), nullable=True),
        sa.Column("latency_counts", sa.JSON(), nullable=False),
        sa.Column("compute_s", sa.Float(), nullable=False),
        sa.Column("computed_audio_s", sa.Float(), nullable=False),
        sa.Column("suspected", sa.Integer(), nullable=False),
        sa.Column("suspicion", sa.Float(), nullable=False),
        sa.Column("suspicion_squared", sa.Float(), nullable=False),
        sa.Column("scored", sa.Integer(), nullable=False),
        sa.Column("avg_logprob", sa.Float(), nullable=False),
        sa.Column("errors", sa.Integer(), nullable=False),
        sa.Column("corrected", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("hour", "version_id", "slice", name=op.f("pk_hourly")),
    )
    with op.batch_alter_table("hourly", schema=None) as batch_op:
        batch_op.create_index("ix_hourly_slice", ["slice", "hour", "version_id"], unique=False)

    op.create_table(
        "traffic_totals",
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("inferences", sa.BigInteger(), nullable=False),
        sa.Column("empty", sa.BigInteger(), nullable=False),
        sa.Column("audio_s", sa.Float(), nullable=False),
        sa.Column("timed", sa.BigInteger(), nullable=False),
        sa.Column("latency_s", sa.Float(), nullable=False),
        sa.Column("compute_s", sa.Float(), nullable=False),
        sa.Column("computed_audio_s", sa.Float(), nullable=False),
        sa.Column("scored", sa.BigInteger(), nullable=False),
        sa.Column("avg_logprob", sa.Float(), nullable=False),
        sa.Column("errors", sa.BigInteger(), nullable=False),
        sa.Column("corrected", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("version_id", name=op.f("pk_traffic_totals")),
    )
    op.create_table(
        "latency_totals",
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("bucket", sa.Integer(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("version_id", "bucket", name=op.f("pk_latency_totals")),
    )

    op.create_table(
        "silences",
        sa.Column(
            "number",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("until", UtcDateTime(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_silences")),
    )
    with op.batch_alter_table("silences", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_silences_until"), ["until"], unique=False)

    op.create_table(
        "speaker_norms",
        sa.Column("speaker", sa.Text(), nullable=False),
        sa.Column("utterances", sa.Integer(), nullable=False),
        sa.Column("mean", sa.Float(), nullable=False),
        sa.Column("squared_distance", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("speaker", name=op.f("pk_speaker_norms")),
    )
    op.create_table(
        "suspicion_models",
        sa.Column(
            "number",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("weights", sa.JSON(), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_suspicion_models")),
    )
    op.create_table(
        "tallies",
        sa.Column("since_cycle", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("suspicion_percent", sa.Integer(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint(
            "since_cycle", "kind", "suspicion_percent", name=op.f("pk_tallies")
        ),
    )
    op.create_table(
        "deliveries",
        sa.Column(
            "number",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("alert_id", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", UtcDateTime(), nullable=True),
        sa.Column("delivered_at", UtcDateTime(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["alert_id"], ["alerts.id"], name=op.f("fk_deliveries_alert_id_alerts")
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_deliveries")),
    )
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_deliveries_alert_id"), ["alert_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_deliveries_next_at"), ["next_at"], unique=False)

    op.create_table(
        "selections",
        sa.Column("inference_id", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("probability", sa.Float(), nullable=False),
        sa.Column("priority", sa.Float(), nullable=False),
        sa.Column("labelled_at", UtcDateTime(), nullable=True),
        sa.Column("is_error", sa.Boolean(), nullable=True),
        sa.Column("words", sa.Integer(), nullable=True),
        sa.Column("word_errors", sa.Integer(), nullable=True),
        sa.Column("heard_at", UtcDateTime(), nullable=True),
        sa.Column("version_id", sa.Text(), nullable=True),
        sa.Column("speaker_group", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["inference_id"], ["inferences.id"], name=op.f("fk_selections_inference_id_inferences")
        ),
        sa.PrimaryKeyConstraint("inference_id", name=op.f("pk_selections")),
    )
    with op.batch_alter_table("selections", schema=None) as batch_op:
        batch_op.create_index(
            "ix_selections_queue",
            ["stream", "labelled_at", "priority", "inference_id"],
            unique=False,
        )
        labelled = sa.text("heard_at IS NOT NULL")
        for name, columns in (
            ("ix_selections_audited", ["heard_at", "inference_id"]),
            ("ix_selections_audited_version", ["version_id", "heard_at", "inference_id"]),
        ):
            batch_op.create_index(
                name, columns, unique=False, sqlite_where=labelled, postgresql_where=labelled
            )

    if op.get_bind().dialect.name == "sqlite":
        _make_cycles_anew()
    else:
        _change_cycles()
    op.create_table(
        "trigger_evaluations",
        sa.Column(
            "number",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("last_at", UtcDateTime(), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.Column("should_trigger", sa.Boolean(), nullable=False),
        sa.Column("decision", sa.JSON(), nullable=False),
        sa.Column("cycle_id", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["cycle_id"], ["cycles.id"], name=op.f("fk_trigger_evaluations_cycle_id_cycles")
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_trigger_evaluations")),
    )
    op.create_index("ix_jobs_ended_at", "jobs", ["ended_at"])
    with op.batch_alter_table("error_cases", schema=None) as batch_op:
        batch_op.add_column(sa.Column("status", sa.Text(), server_default="open", nullable=False))
        batch_op.add_column(sa.Column("since_cycle", sa.Text(), server_default="", nullable=False))
        batch_op.create_index(
            "ix_error_cases_status_suspicion_id", ["status", "suspicion", "id"], unique=False
        )

    op.create_table(
        "marks",
        sa.Column("reader", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("reader", name=op.f("pk_marks")),
    )
    if op.get_bind().dialect.name == "sqlite":
        _make_inferences_anew()
    else:
        _change_inferences()
    given = {name: sa.text(f"{name} IS NOT NULL") for name in ("speaker", "session")}
    for name, where in given.items():
        op.create_index(
            f"ix_inferences_{name}",
            "inferences",
            [name],
            sqlite_where=where,
            postgresql_where=where,
        )
    kept = sa.text("audio_bytes IS NOT NULL")
    op.create_index(
        "ix_inferences_kept_audio",
        "inferences",
        ["created_at", "number", "audio_bytes"],
        sqlite_where=kept,
        postgresql_where=kept,
    )
    op.execute("UPDATE inferences SET audio_bytes = -1 WHERE audio_sha256 <> ''")
    _fill()


_KEPT = (
    "id, created_at, client_id, speaker_group, audio_sha256, source, duration_s, version_id, text, "
    "avg_logprob, no_speech_prob, compression_ratio, latency_s, reported, tags"
)


def _make_inferences_anew() -> None:
    """SQLite gives a table no other key. Nobody looks at foreign keys while a schema is moved."""
    op.create_table(
        "moved",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("client_id", sa.Text()),
        sa.Column("speaker", sa.Text()),
        sa.Column("session", sa.Text()),
        sa.Column("speaker_group", sa.Text(), nullable=False),
        sa.Column("audio_sha256", sa.Text(), nullable=False),
        sa.Column("audio_bytes", sa.BigInteger()),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("duration_s", sa.Float()),
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("second_text", sa.Text()),
        sa.Column("avg_logprob", sa.Float()),
        sa.Column("no_speech_prob", sa.Float()),
        sa.Column("compression_ratio", sa.Float()),
        sa.Column("latency_s", sa.Float()),
        sa.Column("compute_s", sa.Float()),
        sa.Column("reported", sa.Boolean(), nullable=False),
        sa.Column("tags", sa.JSON(), server_default="{}", nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_inferences")),
        sa.UniqueConstraint("id", name=op.f("uq_inferences_id")),
        sa.UniqueConstraint("client_id", name=op.f("uq_inferences_client_id")),
        sqlite_autoincrement=True,
    )
    op.execute(
        f"INSERT INTO moved ({_KEPT}) SELECT {_KEPT} FROM inferences ORDER BY created_at, id"
    )
    op.drop_table("inferences")
    op.rename_table("moved", "inferences")
    op.create_index("ix_inferences_created_at", "inferences", ["created_at"])
    op.create_index("ix_inferences_audio_sha256", "inferences", ["audio_sha256"])


def _change_inferences() -> None:
    op.execute("ALTER TABLE inferences DROP CONSTRAINT pk_inferences CASCADE")
    op.create_unique_constraint("uq_inferences_id", "inferences", ["id"])
    op.execute("ALTER TABLE inferences ADD COLUMN number BIGSERIAL")
    op.create_primary_key("pk_inferences", "inferences", ["number"])
    for table in ("error_cases", "corrections", "selections", "suite_cases"):
        name = f"fk_{table}_inference_id_inferences"
        op.create_foreign_key(name, table, "inferences", ["inference_id"], ["id"])
    op.add_column("inferences", sa.Column("speaker", sa.Text()))
    op.add_column("inferences", sa.Column("session", sa.Text()))
    op.add_column("inferences", sa.Column("second_text", sa.Text()))
    op.add_column("inferences", sa.Column("compute_s", sa.Float()))
    op.add_column("inferences", sa.Column("audio_bytes", sa.BigInteger()))
    for name in ("duration_s", "latency_s"):
        op.alter_column("inferences", name, existing_type=sa.Float(), nullable=True)
    op.drop_index("ix_inferences_version_id_created_at")


_OF_CYCLES = (
    "id, created_at, state, actor, baseline_id, held_out_id, options, decision, dataset_id, "
    "job_id, version_id, validation_id, detail, lease_owner, lease_until, fence"
)


def _make_cycles_anew() -> None:
    """As `_make_inferences_anew`."""
    versions, datasets = ["versions.id"], ["datasets.id"]
    op.create_table(
        "moved",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("baseline_id", sa.Text(), nullable=False),
        sa.Column("held_out_id", sa.Text()),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("decision", sa.JSON(), nullable=False),
        sa.Column("dataset_id", sa.Text()),
        sa.Column("job_id", sa.Text()),
        sa.Column("version_id", sa.Text()),
        sa.Column("validation_id", sa.Text()),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.Column("lease_owner", sa.Text()),
        sa.Column("lease_until", UtcDateTime()),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_cycles")),
        sa.UniqueConstraint("id", name=op.f("uq_cycles_id")),
        sa.ForeignKeyConstraint(
            ["baseline_id"], versions, name=op.f("fk_cycles_baseline_id_versions")
        ),
        sa.ForeignKeyConstraint(
            ["held_out_id"], datasets, name=op.f("fk_cycles_held_out_id_datasets")
        ),
        sa.ForeignKeyConstraint(
            ["dataset_id"], datasets, name=op.f("fk_cycles_dataset_id_datasets")
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_cycles_job_id_jobs")),
        sa.ForeignKeyConstraint(
            ["version_id"], versions, name=op.f("fk_cycles_version_id_versions")
        ),
        sa.ForeignKeyConstraint(
            ["validation_id"], ["validations.id"], name=op.f("fk_cycles_validation_id_validations")
        ),
    )
    op.execute(
        f"INSERT INTO moved ({_OF_CYCLES}) SELECT {_OF_CYCLES} FROM cycles ORDER BY created_at, id"
    )
    op.drop_table("cycles")
    op.rename_table("moved", "cycles")
    op.create_index("ix_cycles_state", "cycles", ["state"])


def _change_cycles() -> None:
    op.execute("ALTER TABLE cycles DROP CONSTRAINT pk_cycles CASCADE")
    op.create_unique_constraint("uq_cycles_id", "cycles", ["id"])
    op.execute("ALTER TABLE cycles ADD COLUMN number BIGSERIAL")
    op.execute(
        """UPDATE cycles SET number = ordered.place FROM (
               SELECT id, row_number() OVER (ORDER BY created_at, id) AS place FROM cycles
           ) ordered WHERE ordered.id = cycles.id"""
    )
    op.create_primary_key("pk_cycles", "cycles", ["number"])
    op.create_foreign_key(
        "fk_cycle_steps_cycle_id_cycles", "cycle_steps", "cycles", ["cycle_id"], ["id"]
    )
    op.add_column("cycles", sa.Column("error", sa.Text(), server_default="", nullable=False))
    op.drop_index("ix_cycles_created_at")


_NEWEST = """
    SELECT c.is_error FROM corrections c WHERE c.inference_id = {of}
    ORDER BY c.number DESC LIMIT 1
"""


def _fill() -> None:
    """What would have been counted had it been counted as it came."""
    newest = _NEWEST.format(of="error_cases.inference_id")
    later = "(SELECT max(created_at) FROM cycles)"
    last = "(SELECT id FROM cycles ORDER BY number DESC LIMIT 1)"
    op.execute(
        f"""UPDATE error_cases SET
            status = CASE ({newest}) WHEN true THEN 'corrected' WHEN false THEN 'confirmed'
                     ELSE 'open' END,
            since_cycle = CASE
                WHEN created_at > {later}
                     OR (SELECT max(c.created_at) FROM corrections c
                         WHERE c.inference_id = error_cases.inference_id) > {later}
                THEN {last} ELSE '' END"""
    )
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    percent = "CAST(suspicion * 100 + 1e-9 AS INTEGER)"
    if not on_sqlite:
        percent = "CAST(floor(suspicion * 100 + 1e-9) AS INTEGER)"
    op.execute(
        f"""INSERT INTO tallies (since_cycle, kind, suspicion_percent, count)
            SELECT since_cycle, status, coalesce({percent}, -1), count(*)
            FROM error_cases GROUP BY 1, 2, 3"""
    )
    is_error = f"(e.id IS NOT NULL AND coalesce(({_NEWEST.format(of='i.id')}), true))"
    heard = "FROM inferences i LEFT JOIN error_cases e ON e.inference_id = i.id"
    both = (("inferences", "true", "true"), ("inference_errors", is_error, "o.is_error"))
    for kind, which, told in both:
        op.execute(
            f"""INSERT INTO tallies (since_cycle, kind, suspicion_percent, count)
                SELECT coalesce({last}, ''), '{kind}', -1, (
                    SELECT count(*) {heard} WHERE NOT i.reported AND {which}
                    AND ({later} IS NULL OR i.created_at > {later})
                ) + (
                    SELECT count(*) FROM observations o WHERE o.kind = 'inference' AND {told}
                    AND ({later} IS NULL OR o.created_at > {later})
                )"""
        )
    hour = "date_trunc('hour', i.created_at)"
    if on_sqlite:
        hour = "strftime('%Y-%m-%d %H:00:00.000000', i.created_at)"
    op.execute(
        f"""INSERT INTO hourly (hour, version_id, slice, inferences, empty, audio_s, timed,
                latency_s, least_latency_s, most_latency_s, latency_counts, compute_s,
                computed_audio_s, suspected, suspicion, suspicion_squared, scored, avg_logprob,
                errors, corrected)
            SELECT {hour}, i.version_id, '', count(*),
                sum(CASE WHEN trim(i.text) = '' THEN 1 ELSE 0 END), sum(i.duration_s),
                count(i.latency_s), sum(i.latency_s), min(i.latency_s), max(i.latency_s),
                '{{}}', 0, 0, 0, 0, 0, count(i.avg_logprob), coalesce(sum(i.avg_logprob), 0),
                sum(CASE WHEN {is_error} THEN 1 ELSE 0 END),
                sum(CASE WHEN ({_NEWEST.format(of="i.id")}) THEN 1 ELSE 0 END)
            {heard} WHERE NOT i.reported GROUP BY 1, 2"""
    )
    summed = """inferences, empty, audio_s, timed, latency_s, compute_s, computed_audio_s, scored,
        avg_logprob, errors, corrected"""
    sums = ", ".join(f"sum({name.strip()})" for name in summed.split(","))
    op.execute(
        f"""INSERT INTO traffic_totals (version_id, {summed})
            SELECT version_id, {sums} FROM hourly GROUP BY version_id"""
    )
    _count_latencies()
    op.execute("INSERT INTO marks SELECT 'digest', coalesce(max(number), 0) FROM inferences")


def _count_latencies() -> None:
    """Not every SQLite has a logarithm, so it is taken here."""
    heard = sa.table(
        "inferences",
        sa.column("created_at", UtcDateTime()),
        *(sa.column(name) for name in ("version_id", "latency_s")),
        sa.column("reported", sa.Boolean()),
    )
    query = sa.select(heard.c.created_at, heard.c.version_id, heard.c.latency_s)
    query = query.where(heard.c.reported.is_(False), heard.c.latency_s.is_not(None))
    hours: defaultdict[tuple[datetime, str], Counter[int]] = defaultdict(Counter)
    totals: Counter[tuple[str, int]] = Counter()
    connection = op.get_bind()
    found = connection.execute(query, execution_options={"yield_per": 10_000})
    for created_at, version_id, latency_s in found:
        hour = created_at.replace(minute=0, second=0, microsecond=0)
        bucket = _bucket_of(latency_s)
        hours[hour, version_id][bucket] += 1
        totals[version_id, bucket] += 1
    hourly = sa.table(
        "hourly",
        sa.column("hour", UtcDateTime()),
        sa.column("version_id"),
        sa.column("latency_counts", sa.JSON()),
    )
    for (hour, version_id), counts in hours.items():
        this = (hourly.c.hour == hour) & (hourly.c.version_id == version_id)
        connection.execute(sa.update(hourly).where(this).values(latency_counts=counts))
    made = sa.table("latency_totals", *(sa.column(n) for n in ("version_id", "bucket", "count")))
    rows = [
        {"version_id": version_id, "bucket": bucket, "count": count}
        for (version_id, bucket), count in totals.items()
    ]
    op.bulk_insert(made, rows)


def _bucket_of(latency_s: float) -> int:
    """As the digest had it at this revision."""
    if not latency_s > 1e-4:
        return -96
    return 121 if latency_s > 1e5 else math.ceil(math.log10(latency_s) * 24)
