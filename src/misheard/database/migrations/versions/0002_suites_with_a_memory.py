"""Suites with a memory, slices by any tag, and the check of the files."""

import sqlalchemy as sa
from alembic import op

from misheard.database.schema import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "infrastructure_checks",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["version_id"],
            ["versions.id"],
            name=op.f("fk_infrastructure_checks_version_id_versions"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_infrastructure_checks")),
    )
    with op.batch_alter_table("infrastructure_checks", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_infrastructure_checks_version_id"), ["version_id"], unique=False
        )

    op.create_table(
        "suite_baselines",
        sa.Column(
            "number",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("suite_id", sa.Text(), nullable=False),
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("wer", sa.Float(), nullable=True),
        sa.Column("cer", sa.Float(), nullable=True),
        sa.Column("silent_with_text", sa.Integer(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["suite_id"], ["suites.id"], name=op.f("fk_suite_baselines_suite_id_suites")
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_suite_baselines")),
    )
    with op.batch_alter_table("suite_baselines", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_suite_baselines_suite_id"), ["suite_id"], unique=False)

    op.create_table(
        "suite_cases",
        sa.Column(
            "number",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("suite_name", sa.Text(), nullable=False),
        sa.Column("audio_sha256", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("speaker_group", sa.Text(), nullable=False),
        sa.Column("duration_s", sa.Float(), nullable=False),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("inference_id", sa.Text(), nullable=False),
        sa.Column(
            "correction_number",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
        ),
        sa.Column("dataset_id", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["correction_number"],
            ["corrections.number"],
            name=op.f("fk_suite_cases_correction_number_corrections"),
        ),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["datasets.id"], name=op.f("fk_suite_cases_dataset_id_datasets")
        ),
        sa.ForeignKeyConstraint(
            ["inference_id"], ["inferences.id"], name=op.f("fk_suite_cases_inference_id_inferences")
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_suite_cases")),
        sa.UniqueConstraint(
            "suite_name",
            "correction_number",
            name=op.f("uq_suite_cases_suite_name_correction_number"),
        ),
    )
    with op.batch_alter_table("suite_cases", schema=None) as batch_op:
        batch_op.create_index(
            "ix_suite_cases_suite_name_audio_sha256", ["suite_name", "audio_sha256"], unique=False
        )

    op.create_table(
        "suite_results",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("audio_sha256", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("words", sa.Integer(), nullable=False),
        sa.Column("baseline_errors", sa.Integer(), nullable=False),
        sa.Column("candidate_errors", sa.Integer(), nullable=False),
        sa.Column("baseline_text", sa.Text(), nullable=False),
        sa.Column("candidate_text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["suite_runs.id"], name=op.f("fk_suite_results_run_id_suite_runs")
        ),
        sa.PrimaryKeyConstraint("run_id", "audio_sha256", name=op.f("pk_suite_results")),
    )
    with op.batch_alter_table("suite_results", schema=None) as batch_op:
        batch_op.create_index(
            "ix_suite_results_audio_sha256_run_id", ["audio_sha256", "run_id"], unique=False
        )

    with op.batch_alter_table("inferences", schema=None) as batch_op:
        batch_op.add_column(sa.Column("tags", sa.JSON(), server_default="{}", nullable=False))


def downgrade() -> None:
    raise NotImplementedError("put a backup in its place: misheard.backups.restore")
