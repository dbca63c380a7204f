"""A workspace that misheard 0.1 wrote, with one whole cycle in it, as today's code reads it."""

from __future__ import annotations

import importlib
import math
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from misheard.cases.records import CaseStatus
from misheard.cycle.states import CycleState
from misheard.database.engine import open_engine
from misheard.database.latencies import bucket_of
from misheard.database.schema import REVISION, hourly, latency_totals, metadata, traffic_totals
from misheard.database.totals import SUMMED
from misheard.gates.suites import SuiteKind
from misheard.settings import FILE_NAME, write_settings
from misheard.workspace import Workspace

OLD = Path(__file__).with_name("revision_0001.sql")
RELEASED = Path(__file__).with_name("revision_0004.sql")
LIVE, BEFORE = "v-0d9986537561", "v-24a7d3db4237"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The workspace before anybody opens it with today's code."""
    with closing(sqlite3.connect(tmp_path / "misheard.db")) as connection:
        connection.executescript(OLD.read_text(encoding="utf-8"))
    write_settings(tmp_path / FILE_NAME, {"speech": {"model": "bundled:whisper-tiny.en"}})
    return tmp_path


@pytest.fixture
def workspace(root: Path) -> Workspace:
    return Workspace.open(root)


def counts(root: Path, tables: list[str]) -> dict[str, int]:
    with closing(sqlite3.connect(root / "misheard.db")) as connection:
        found = [connection.execute(f"SELECT count(*) FROM {name}") for name in tables]
        return dict(zip(tables, [one.fetchone()[0] for one in found], strict=True))


def test_the_old_database_is_of_the_first_revision_and_small(root: Path) -> None:
    with closing(sqlite3.connect(root / "misheard.db")) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("0001",)
    assert OLD.stat().st_size < 60_000


def test_opening_it_brings_it_to_today_s_schema_and_loses_no_row(root: Path) -> None:
    with closing(sqlite3.connect(root / "misheard.db")) as connection:
        query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name != 'alembic_version'"
        tables = [name for (name,) in connection.execute(query)]
    before = counts(root, tables)
    assert all(before.values())
    Workspace.open(root)
    assert counts(root, tables) == before
    with open_engine(f"sqlite:///{root / 'misheard.db'}").connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == REVISION


def test_a_database_of_0_4_is_opened_and_loses_no_row(tmp_path: Path) -> None:
    """Before machines were rented: revision 0004, with a cycle, a deployment and a token."""
    file = tmp_path / "misheard.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(RELEASED.read_text(encoding="utf-8"))
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("0004",)
        query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name != 'alembic_version'"
        tables = [name for (name,) in connection.execute(query)]
    write_settings(tmp_path / FILE_NAME, {"speech": {"model": "bundled:whisper-tiny.en"}})
    before = counts(tmp_path, tables)
    assert before["cycles"] == before["tokens"] == 1
    workspace = Workspace.open(tmp_path)
    assert counts(tmp_path, tables) == before
    with open_engine(f"sqlite:///{file}").connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == REVISION
    assert workspace.rentals.still_open() == []
    (cycle,) = workspace.cycles.listed()
    assert cycle.state is CycleState.DEPLOYED


def test_its_suites_and_their_runs_are_read(workspace: Workspace) -> None:
    found = {suite.name: suite for suite in workspace.suites.listed()}
    assert len(found) == 6
    assert found["no speech"].kind is SuiteKind.EDGE_CASE
    assert found["Critical Benchmark"].has_given_figures
    runs = workspace.suites.runs()
    assert [run.candidate_id for run in runs] == [LIVE] * 3
    by_name = {workspace.suites.get(run.suite_id).name: run for run in runs}
    words = by_name["one word"]
    assert words.verdict.passed
    assert words.verdict.reasons[0] == "25 word errors where the live version makes 29"
    assert words.baseline_wer == pytest.approx(29 / 89)
    assert (words.held_to_version, words.flaky) == ("", ())
    assert all(row["candidate_errors"] == 0 for row in words.fixed)
    assert words.fixed
    quiet = by_name["no speech"]
    assert math.isnan(quiet.baseline_wer)
    assert (quiet.baseline_silent, quiet.comparison.candidate.silent_with_text) == (4, 1)


def test_its_suites_have_a_history_without_single_clips(workspace: Workspace) -> None:
    (point,) = workspace.suites.history.of_suite("one word")
    assert (point.wer, point.baseline_wer) == (pytest.approx(25 / 89), pytest.approx(29 / 89))
    assert (point.passed, point.fixed, point.broken) == (True, None, None)
    assert workspace.suites.history.flaky("one word") == set()
    suite = workspace.suites.named("one word")
    assert workspace.suites.baselines.of(suite) is None
    assert not workspace.suites.baselines.could_move(suite, LIVE)
    assert workspace.suites.cases.of_suite("corrections") == []


def test_its_validation_is_read(workspace: Workspace) -> None:
    (found,) = workspace.validations.listed()
    assert (found.candidate_id, found.baseline_id) == (LIVE, BEFORE)
    assert found.verdict.passed
    assert found.verdict.failures == ()
    assert found.comparison.candidate.wer == pytest.approx(59 / 1105)
    assert found.comparison.slices
    assert found.general is None
    changed = {row["candidate_errors"] - row["baseline_errors"] for row in found.comparison.changed}
    assert sum(changed) != 0
    assert workspace.passed_validation(LIVE)


def test_what_was_heard_and_corrected_is_read(workspace: Workspace) -> None:
    heard = workspace.inferences.recent(limit=10)
    assert len(heard) == 5
    assert all(one.tags == {} for one in heard)
    assert {one.version_id for one in heard} == {LIVE, BEFORE}
    said = list(workspace.cases.labelled())
    assert len(said) == 3
    assert all(one.is_error and not one.tags for one in said)
    cases = workspace.cases.listed(status=CaseStatus.CORRECTED)
    assert [case.inference_id in {one.inference_id for one in said} for case in cases] == [True] * 3


def test_its_latencies_are_counted_as_the_digest_does(workspace: Workspace, root: Path) -> None:
    expected: Counter[tuple[str, int]] = Counter()
    for one in workspace.inferences.recent(limit=10):
        expected[one.version_id, bucket_of(one.latency_s)] += 1
    assert len(expected) > 2
    hours: Counter[tuple[str, int]] = Counter()
    with open_engine(f"sqlite:///{root / 'misheard.db'}").connect() as connection:
        for row in connection.execute(select(hourly)):
            assert sum(row.latency_counts.values()) == row.timed
            for bucket, count in row.latency_counts.items():
                hours[row.version_id, int(bucket)] += count
        totals = connection.execute(select(latency_totals)).all()
    assert hours == expected
    assert {(version, bucket): count for version, bucket, count in totals} == expected


def test_its_hours_are_added_up_as_the_digest_does(workspace: Workspace, root: Path) -> None:
    with open_engine(f"sqlite:///{root / 'misheard.db'}").connect() as connection:
        told = {row.version_id: row for row in connection.execute(select(traffic_totals))}
        assert set(told) == {LIVE, BEFORE}
        for version_id, row in told.items():
            for name in SUMMED:
                summed = select(func.sum(hourly.c[name])).where(hourly.c.version_id == version_id)
                assert getattr(row, name) == pytest.approx(connection.scalar(summed))
    activity = {one.version_id: one.inferences for one in workspace.monitor.activity()}
    assert sum(activity.values()) == workspace.inferences.count()


@given(st.floats())
def test_the_upgrade_has_the_digest_s_buckets(latency_s: float) -> None:
    name = "misheard.database.migrations.versions.0003_unattended"
    assert importlib.import_module(name)._bucket_of(latency_s) == bucket_of(latency_s)


def test_its_cycle_versions_and_deployments_are_read(workspace: Workspace) -> None:
    (cycle,) = workspace.cycles.listed()
    assert cycle.state is CycleState.DEPLOYED
    assert len(workspace.cycles.steps(cycle.id)) == 10
    assert workspace.jobs.get(str(cycle.job_id)).state == "completed"
    assert workspace.deployments.live().version_id == LIVE
    assert [one.action for one in workspace.deployments.history()] == [
        "deploy",
        "rollback",
        "deploy",
        "deploy",
    ]
    assert {one.id for one in workspace.registry.listed()} == {LIVE, BEFORE}
    assert len(workspace.datasets.listed()) == 7
    assert workspace.audit.counts()["correct"] == 2
