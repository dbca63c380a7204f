"""What the rules are given is what the database holds; each rule is fired by real rows."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, insert, update

from misheard.capture import suspicion_kept
from misheard.capture.captured import Captured
from misheard.capture.suspicion import DEFAULTS
from misheard.capture.suspicion_figures import FitFigures, Gain, Ranked
from misheard.cycle.options import CycleOptions
from misheard.database import latencies
from misheard.database.engine import now, writing
from misheard.database.schema import (
    cycle_steps,
    cycles,
    deployments,
    inferences,
    jobs,
    selections,
    suite_runs,
)
from misheard.finetune.events import TrainingEvent, append_event
from misheard.fleet import ServerState
from misheard.gates.suites import SuiteKind
from misheard.monitoring import readings
from misheard.monitoring.alerts import Alerts
from misheard.monitoring.channels.log import LogChannel
from misheard.monitoring.conditions import Readings, Rule
from misheard.monitoring.drift import Direction
from misheard.rollouts.signals import Signal
from misheard.rollouts.states import Arm
from misheard.settings import AlertSettings
from misheard.workspace import Workspace
from tests import tiny
from tests.monitoring.traffic import an_hour, hours, of_audit
from tests.rollouts.made import observed

ON_BOTH_DATABASES = True
HOUR = timedelta(hours=1)
AT = datetime(2026, 3, 18, 13, 20, tzinfo=UTC)  # a Wednesday


@pytest.fixture
def workspace(tmp_path: Path, database_url: str) -> Workspace:
    made = tiny.make(tmp_path / "ws", database={"url": database_url})
    # It went live in the winter.
    with writing(made._engine) as connection:
        connection.execute(update(deployments).values(created_at=AT - timedelta(days=60)))
    return made


def live(workspace: Workspace) -> str:
    return workspace.deployments.live().version_id


def read(workspace: Workspace, moment: datetime = AT, **settings: Any) -> Readings:
    with workspace._engine.connect() as connection:
        return readings.read(
            connection,
            settings=AlertSettings(**settings),
            channels=["log", "hook"],
            root=workspace.root,
            moment=moment,
        )


def fired(workspace: Workspace, moment: datetime = AT, **settings: Any) -> dict[Rule, str]:
    """Rule → subject of what an evaluation opens."""
    alerts = Alerts(
        workspace._engine,
        settings=AlertSettings(**settings),
        channels=[LogChannel()],
        root=workspace.root,
    )
    found, _ = alerts.evaluate(moment)
    return {one.rule: one.subject for one in found}


def test_a_new_workspace_is_well(workspace: Workspace) -> None:
    assert fired(workspace) == {}
    found = read(workspace)
    assert found.live_version == live(workspace)
    assert (found.newest_cycle, found.last_heard_at, found.behind) == (None, None, 0)
    assert 0 < found.free_disk_share < 1


def test_a_workspace_where_nothing_is_live_is_well(workspace: Workspace) -> None:
    with writing(workspace._engine) as connection:
        connection.execute(deployments.delete())
    assert read(workspace).live_version == ""
    assert fired(workspace) == {}


def test_recent_traffic_is_that_of_the_last_hours(workspace: Workspace) -> None:
    version, engine = live(workspace), workspace._engine
    an_hour(engine, AT.replace(hour=13, minute=0), version, inferences=10, latency_s=30.0)
    an_hour(engine, AT.replace(hour=11, minute=0), version, inferences=20, latency_s=60.0)
    an_hour(engine, AT.replace(hour=10, minute=0), version, latency_s=1e6, compute_s=1e6)
    (found,) = read(workspace).recent
    assert (found.version_id, found.inferences, found.latency_s) == (version, 30, 90.0)
    assert fired(workspace, max_latency_s=2.9) == {Rule.LATENCY: version}
    assert fired(workspace, max_real_time_factor=0.25) == {Rule.REAL_TIME_FACTOR: version}


def test_the_slowest_callers_of_the_last_hours(workspace: Workspace) -> None:
    version, engine = live(workspace), workspace._engine
    quick, slow, hangs = (latencies.bucket_of(one) for one in (0.3, 4.0, 300.0))
    for hour, counts in ((13, {quick: 88}), (11, {quick: 6, slow: 6}), (10, {hangs: 100})):
        sums = {"latency_counts": counts, "timed": sum(counts.values())}
        an_hour(engine, AT.replace(hour=hour, minute=0), version, **sums)
    an_hour(engine, AT.replace(minute=0), version, slice="a=b", latency_counts={hangs: 100})
    (found,) = read(workspace).recent
    assert found.latency_p95_s == pytest.approx(4.0, rel=latencies.ACCURACY)
    assert fired(workspace, max_latency_p95_s=4.3) == {}
    assert fired(workspace, max_latency_p95_s=3.5) == {Rule.LATENCY_P95: version}


def test_other_recognisers_are_looked_after_and_what_was_live_before_is_not(
    workspace: Workspace, tmp_path: Path
) -> None:
    version, engine = live(workspace), workspace._engine
    folder = tiny.model(tmp_path / "second")
    old = workspace.registry.register(folder, name="tiny", source="x", actor="ann").id
    hour = AT.replace(minute=0)
    for name in (version, old, "vendor"):
        an_hour(engine, hour, name, latency_s=1e3)
    an_hour(engine, hour - 49 * HOUR, "long gone", latency_s=1e3)
    assert [one.version_id for one in read(workspace).recent] == sorted((version, "vendor"))


def quarter_days(
    version: str, days: int, *, change: timedelta, **changed: float
) -> list[tuple[datetime, str, dict[str, Any]]]:
    """One row every six hours until AT; from `change` before AT on with other sums."""
    made = []
    first = AT.replace(hour=0, minute=0) - timedelta(days=days)
    for number in range(4 * days + 3):
        hour = first + number * timedelta(hours=6)
        sums: dict[str, Any] = {"suspicion": 20.0 + number % 7, "latency_s": 50.0 + number % 5}
        if hour >= AT - change:
            sums |= changed
        made.append((hour, version, sums))
    return made


def test_a_drift_of_each_mean_is_found_in_the_hours(workspace: Workspace) -> None:
    worse = {"suspicion": 40.0, "empty": 30, "latency_s": 90.0}
    told = quarter_days(live(workspace), 50, change=timedelta(days=4), **worse)
    hours(workspace._engine, told)
    found = fired(workspace)
    expected = {Rule.DRIFT_SUSPICION, Rule.DRIFT_EMPTY_SHARE, Rule.DRIFT_LATENCY}
    assert found.keys() == expected
    assert set(found.values()) == {live(workspace)}
    assert fired(workspace) == {}
    means = {one.metric: one.drift for one in read(workspace, drift_of=("latency",)).means}
    assert means.keys() == {"latency"}
    assert means["latency"].direction is Direction.RISE
    assert means["latency"].before == pytest.approx(0.52, abs=0.02)
    assert means["latency"].after == pytest.approx(0.9, abs=0.02)


def test_a_drift_is_looked_for_since_the_deployment(workspace: Workspace) -> None:
    worse = {"suspicion": 40.0, "empty": 30, "latency_s": 90.0}
    told = quarter_days(live(workspace), 50, change=timedelta(days=9), **worse)
    hours(workspace._engine, told)
    with writing(workspace._engine) as connection:
        connection.execute(update(deployments).values(created_at=AT - timedelta(days=9)))
    assert fired(workspace) == {}


def keep_model(workspace: Workspace, moment: datetime, *, is_used: bool) -> None:
    ranked = Ranked(average_precision=0.5, log_loss=0.5, budgets=())
    figures = FitFigures(
        labels=100,
        errors=50,
        groups=10,
        audited=0,
        error_rate=0.5,
        fitted=ranked,
        current=ranked,
        defaults=ranked,
        gain=Gain(estimate=0.0, low=0.0, high=0.0),
        is_used=is_used,
        reason="so it is",
    )
    with writing(workspace._engine) as connection:
        suspicion_kept.keep(connection, DEFAULTS, figures, moment=moment)


def test_another_model_of_suspicion_is_no_drift(workspace: Workspace) -> None:
    change = timedelta(days=9)
    hours(workspace._engine, quarter_days(live(workspace), 50, change=change, suspicion=60.0))
    keep_model(workspace, AT - change, is_used=True)
    assert fired(workspace) == {}
    found = {one.metric: one for one in read(workspace).means}
    assert found["suspicion"].anew_since == AT - change
    assert found["latency"].anew_since is None


def test_a_fit_that_is_not_used_leaves_the_chart_as_it_is(workspace: Workspace) -> None:
    worse = quarter_days(live(workspace), 50, change=timedelta(days=4), suspicion=40.0)
    hours(workspace._engine, worse)
    keep_model(workspace, AT - timedelta(days=30), is_used=True)
    before = read(workspace).means
    keep_model(workspace, AT - timedelta(hours=1), is_used=False)
    assert read(workspace).means == before
    assert fired(workspace).keys() == {Rule.DRIFT_SUSPICION}


def test_a_block_that_is_not_over_is_not_judged(workspace: Workspace) -> None:
    version = live(workspace)
    for hour in (5, 6, 11, 12):
        an_hour(workspace._engine, AT.replace(hour=hour, minute=0), version)
    with workspace._engine.connect() as connection:
        since, until = AT.replace(hour=0, minute=0), AT.replace(hour=12, minute=0)
        options: dict[str, Any] = {"since": since, "until": until, "block_hours": 6}
        found = readings.drift_blocks(connection, version, **options)
    assert [one.start.hour for one in found["latency"]] == [0, 6]
    assert [one.count for one in found["latency"]] == [100, 200]


def test_the_window_of_the_chart_stays_for_weeks() -> None:
    starts = {readings.drift_start(AT + n * HOUR) for n in range(24 * 28)}
    assert len(starts) == 2
    for n in range(0, 2000, 7):
        moment = AT + n * HOUR
        age = moment - readings.drift_start(moment)
        assert timedelta(weeks=12) <= age < timedelta(weeks=16)


def test_the_audited_error_rate_of_the_live_version(workspace: Workspace) -> None:
    heard = tiny.heard(workspace, 40)
    with writing(workspace._engine) as connection:
        for number, one in enumerate(heard):
            row = {
                "inference_id": one.id,
                "created_at": now(),
                "stream": "audit" if number < 30 else "suspicious",
                **(of_audit(one) if 0 < number < 30 else {}),
                "probability": 1.0,
                "priority": 0.0,
                "labelled_at": now() if number != 0 else None,
                "is_error": number % 5 != 1,
                "words": 3,
                "word_errors": 1,
            }
            connection.execute(insert(selections).values(**row))
    found = read(workspace).audited
    assert found is not None
    assert (found.n, found.groups) == (29, 29)
    assert found.estimate == pytest.approx(23 / 29)
    assert read(workspace, max_audited_error_rate=False).audited is None
    assert fired(workspace, now())[Rule.AUDITED_ERROR_RATE] == live(workspace)


def test_the_error_rate_since_the_deployment(workspace: Workspace) -> None:
    tiny.correct(workspace, tiny.heard(workspace, 40)[:25])
    workspace.digest.catch_up()
    assert read(workspace).traffic == (25, 40)
    assert fired(workspace, now())[Rule.ERROR_RATE] == live(workspace)
    assert read(workspace, max_error_rate=False).traffic == (0, 0)


def a_cycle(workspace: Workspace, state: str, *, since: datetime) -> str:
    cycle = workspace.cycles.begin(actor="ann", force=True)
    assert cycle is not None
    with writing(workspace._engine) as connection:
        values = {"state": state, "created_at": since, "detail": "no memory"}
        connection.execute(update(cycles).where(cycles.c.id == cycle.id).values(**values))
        this = cycle_steps.c.cycle_id == cycle.id
        connection.execute(update(cycle_steps).where(this).values(created_at=since))
    return cycle.id


@pytest.mark.parametrize("state", ["failed", "refused"])
def test_a_cycle_that_failed_until_there_is_another(workspace: Workspace, state: str) -> None:
    first = a_cycle(workspace, state, since=AT)
    assert fired(workspace) == {Rule.CYCLE_ENDED: first}
    a_cycle(workspace, "training", since=AT + HOUR)
    assert fired(workspace) == {}
    alerts = Alerts(
        workspace._engine,
        settings=AlertSettings(well_minutes=0.0),
        channels=[],
        root=workspace.root,
    )
    _, (over,) = alerts.evaluate(AT + 2 * HOUR)
    assert over.subject == first


def test_a_canary_that_was_taken_back_until_there_is_another(
    workspace: Workspace, tmp_path: Path
) -> None:
    files = tiny.model(tmp_path / "candidate")
    version = workspace.registry.register(files, name="x", source="x", actor="ann").id
    first = workspace.begin_canary(version, actor="ann", reason="r", force=True)
    assert fired(workspace) == {}
    workspace.rollouts.note([observed(first, Arm.CANDIDATE, Signal.FAILED)] * 4)
    workspace.judge_rollout(actor="ann")
    assert fired(workspace) == {Rule.CANARY_ROLLED_BACK: first.id}
    workspace.begin_shadow(version, actor="ann", reason="a shadow is none")
    assert read(workspace).newest_canary is not None
    shadow = workspace.rollouts.running()
    assert shadow is not None
    workspace.rollouts.stop(shadow.id, actor="ann", reason="r")
    workspace.begin_canary(version, actor="ann", reason="r", force=True)
    newest = read(workspace).newest_canary
    assert newest is not None
    assert not newest.was_rolled_back


@pytest.mark.parametrize("state", ["awaiting_approval", "proposed"])
def test_a_cycle_that_waits_too_long(workspace: Workspace, state: str) -> None:
    cycle_id = a_cycle(workspace, state, since=AT - 23 * HOUR)
    assert fired(workspace) == {}
    assert fired(workspace, AT + 2 * HOUR) == {Rule.APPROVAL: cycle_id}


@pytest.mark.parametrize(
    "state", ["triggered", "dataset", "training", "converted", "validated", "regression", "watched"]
)
def test_a_cycle_that_ought_to_move_and_does_not(workspace: Workspace, state: str) -> None:
    cycle_id = a_cycle(workspace, state, since=AT - 5 * HOUR)
    assert fired(workspace) == {}
    assert fired(workspace, AT + 2 * HOUR) == {Rule.CYCLE_STUCK: cycle_id}


@pytest.mark.parametrize("state", ["deployed", "closed", "rejected", "cancelled", "rolled_back"])
def test_a_cycle_that_has_ended_is_well(workspace: Workspace, state: str) -> None:
    a_cycle(workspace, state, since=AT - 900 * HOUR)
    assert fired(workspace) == {}


def change(workspace: Workspace, cycle_id: str, **values: Any) -> None:
    with writing(workspace._engine) as connection:
        connection.execute(update(cycles).where(cycles.c.id == cycle_id).values(**values))


def test_a_cycle_that_a_process_works_on_or_somebody_trains_is_not_stuck(
    workspace: Workspace,
) -> None:
    cycle_id = a_cycle(workspace, "converted", since=AT - 30 * HOUR)
    change(workspace, cycle_id, lease_until=AT + timedelta(minutes=1))
    assert fired(workspace) == {}
    change(workspace, cycle_id, state="dataset", lease_until=None)
    change(workspace, cycle_id, options=CycleOptions(trained_elsewhere=True).to_dict())
    assert fired(workspace) == {}
    # Once its model has come, it is misheard's turn.
    change(workspace, cycle_id, state="validated", error="no room")
    assert [one.error for one in read(workspace).standing] == ["no room"]
    assert fired(workspace) == {Rule.CYCLE_STUCK: cycle_id}


def test_a_training_is_alive_while_events_come_of_it(workspace: Workspace) -> None:
    cycle_id = a_cycle(workspace, "training", since=AT - 30 * HOUR)
    row = {
        "id": "job-1",
        "created_at": AT,
        "state": "running",
        "backend": "local",
        "base_version_id": live(workspace),
        "dataset_id": tiny.hold_out(workspace).id,
        "recipe": {},
    }
    with writing(workspace._engine) as connection:
        connection.execute(insert(jobs).values(**row))
    # A process that waits for it is no sign of its life.
    change(workspace, cycle_id, job_id="job-1", lease_until=AT + timedelta(minutes=1))
    events = workspace.jobs.paths("job-1").events
    events.parent.mkdir(parents=True)
    append_event(events, TrainingEvent(at_s=1.0, phase="train"))
    for silent_h, is_stuck in ((1, False), (7, True)):
        last = (AT - silent_h * HOUR).timestamp()
        os.utime(events, (last, last))
        found, _ = workspace.alerts.evaluate(AT)
        assert [one.rule for one in found] == [Rule.CYCLE_STUCK] * is_stuck


def test_the_newest_run_of_a_suite_on_the_live_version(workspace: Workspace) -> None:
    suite = workspace.suites.add("menus", SuiteKind.BENCHMARK, tiny.hold_out(workspace))

    def ran(number: int, *, passed: bool, candidate: str) -> None:
        row = {
            "id": f"run-{number}",
            "created_at": AT + number * HOUR,
            "suite_id": suite.id,
            "candidate_id": candidate,
            "baseline_id": live(workspace),
            "passed": passed,
            "reasons": ["9 errors where 2 were"],
            "figures": {},
        }
        with writing(workspace._engine) as connection:
            connection.execute(insert(suite_runs).values(**row))

    ran(1, passed=True, candidate=live(workspace))
    # A candidate that fails is refused; what is live is well.
    ran(2, passed=False, candidate="v-other")
    assert fired(workspace) == {}
    ran(3, passed=False, candidate=live(workspace))
    assert fired(workspace) == {Rule.SUITE_FAILED: "menus"}
    ran(4, passed=True, candidate=live(workspace))
    assert [one.passed for one in read(workspace).suites] == [True]


def test_traffic_that_stopped(workspace: Workspace) -> None:
    (last,) = tiny.heard(workspace, 1)
    assert read(workspace).last_heard_at == last.created_at
    assert fired(workspace, last.created_at + 71 * HOUR) == {}
    assert fired(workspace, last.created_at + 73 * HOUR) == {Rule.NO_TRAFFIC: "traffic"}


def test_traffic_that_stopped_is_known_of_when_no_transcript_is_left(workspace: Workspace) -> None:
    """Else the alert would be over once retention has deleted the last one."""
    workspace.capture([Captured(audio="a", text="x", heard_at=AT)])
    workspace.digest.catch_up()
    rules = workspace.configured({"capture": {"keep_text_days": 0.001}})
    assert rules.capture_retention.run(actor="ann").transcripts == 1
    assert workspace.inferences.recent() == []
    # Of the hour that is left it is the end that is told.
    assert read(workspace).last_heard_at == AT.replace(minute=0) + HOUR
    assert fired(workspace, AT + 73 * HOUR) == {Rule.NO_TRAFFIC: "traffic"}
    workspace.capture([Captured(audio="a", text="x", heard_at=AT + 74 * HOUR)])
    assert read(workspace).last_heard_at == AT + 74 * HOUR
    assert fired(workspace, AT + 75 * HOUR) == {}


def test_what_was_only_reported_is_no_traffic(workspace: Workspace) -> None:
    tiny.heard(workspace, 1)
    with writing(workspace._engine) as connection:
        connection.execute(update(inferences).values(reported=True))
    assert read(workspace).last_heard_at is None


def test_a_digest_that_is_behind(workspace: Workspace) -> None:
    tiny.heard(workspace, 3)
    assert read(workspace).behind == 3
    assert fired(workspace, now(), max_digest_behind=2) == {Rule.DIGEST_BEHIND: "digest"}
    workspace.digest.catch_up()
    assert read(workspace).behind == 0


def test_a_disk_that_is_nearly_full(workspace: Workspace) -> None:
    found = fired(workspace, min_free_disk_percent=100.0)
    assert found == {Rule.DISK: "workspace"}


_GROWING = {"hourly", "inferences", "selections", "deliveries", "observations", "error_cases"}


def test_nothing_that_grows_is_read_as_a_whole(workspace: Workspace) -> None:
    if workspace._engine.dialect.name != "sqlite":
        return  # which chooses by what is in the table
    an_hour(workspace._engine, AT.replace(minute=0), live(workspace))
    asked: list[tuple[str, Any]] = []
    event.listen(
        workspace._engine, "before_cursor_execute", lambda *told: asked.append((told[2], told[3]))
    )
    read(workspace)
    queries = [one for one in asked if one[0].startswith("SELECT")]
    assert len(queries) > 10
    with workspace._engine.connect() as connection:
        for statement, values in queries:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
            for *_, step in plan:
                verb, table, *how = step.split()
                whole = verb == "SCAN" and table in _GROWING and "INDEX" not in how
                assert not whole, (step, statement)


def test_a_server_is_behind_from_the_first_deployment_that_it_missed(
    workspace: Workspace, tmp_path: Path
) -> None:
    first = workspace.deployments.live()
    server = ServerState(
        id="server-1",
        started_at=AT - 9 * HOUR,
        seen_at=AT,
        address="",
        slot="production",
        version_id=first.version_id,
        deployment_number=first.number,
        staging_number=0,
        loaded=(first.version_id,),
        failed={},
    )
    workspace.fleet.tell(server)
    workspace.fleet.tell(replace(server, id="gone", seen_at=AT - HOUR))
    workspace.fleet.tell(replace(server, id="starting", version_id="", deployment_number=0))
    assert [(one.id, one.behind_since) for one in read(workspace).servers] == [
        ("server-1", None),
        ("starting", AT - 9 * HOUR),
    ]
    workspace.fleet.leave("starting")
    for number, hours_ago in enumerate((3, 2, 1), start=first.number + 1):
        version_id = f"v-{number}"
        model = tiny.model(tmp_path / version_id)
        workspace.registry.register(model, name="t", source="", actor="ann", version_id=version_id)
        made = workspace.deployments.deploy(version_id, actor="ann", reason="test")
        with writing(workspace._engine) as connection:
            row = deployments.c.number == made.number
            at = AT - hours_ago * HOUR
            connection.execute(update(deployments).where(row).values(created_at=at))
    workspace.fleet.tell(replace(server, failed={version_id: "It is damaged."}))
    (reading,) = read(workspace).servers
    assert (reading.behind_since, reading.live_version) == (AT - 3 * HOUR, version_id)
    assert reading.reason == "It is damaged."
    assert fired(workspace)[Rule.SERVER_BEHIND] == "server-1"
