"""One look: roll back what does worse, run due suites, go on with cycles."""

from __future__ import annotations

import itertools
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from misheard.capture.inferences import Inference
from misheard.cycle.cycles import Cycles
from misheard.cycle.options import CycleOptions
from misheard.cycle.states import CycleState, Observer
from misheard.database.engine import now, open_engine, writing
from misheard.database.schema import inferences, suite_runs
from misheard.gates.suites import SuiteKind
from misheard.watch import _warn_once, look, roll_back_if_worse, watch
from misheard.workspace import Workspace
from tests import tiny
from tests.capture.labelled import correct, traffic

ON_BOTH_DATABASES = True
S = CycleState
Make = Callable[..., Workspace]
QUIET = {"triggers": {"min_error_cases": 1000, "trigger_on_error_rate": False}}
EAGER = {"triggers": tiny.TRIGGERS}
ASKING = {"triggers": {**tiny.TRIGGERS, "require_approval": True}}


@pytest.fixture
def make(tmp_path: Path, database_url: str) -> Make:
    database = {"url": database_url}
    return lambda **settings: tiny.make(tmp_path / "ws", database=database, **settings)


def second(workspace: Workspace) -> str:
    """Another version goes live; the one before it can be gone back to."""
    folder = tiny.model(workspace.root.parent / "second", tuned=True)
    made = workspace.registry.register(folder, name="tiny", source="x", actor="ann")
    workspace.deploy(made.id, actor="ann", reason="try", force=True)
    return made.id


def went_wrong(workspace: Workspace, errors: int, inferences: int, *, first: int = 30) -> None:
    """So many transcripts of the live version, of which so many are corrected."""
    made = tiny.heard(workspace, inferences, first=first)
    tiny.correct(workspace, made[:errors])


def test_nothing_to_do_does_nothing(make: Make) -> None:
    workspace = make(**QUIET)
    before = tiny.rows(workspace)
    seen = look(workspace)
    assert (seen.rolled_back, seen.runs, seen.begun, seen.advanced) == (None, (), None, ())
    # But for what the trigger came to.
    after = tiny.rows(workspace)
    assert len(after.pop("trigger_evaluations")) == 1
    assert before.pop("trigger_evaluations") == []
    assert after == before


def test_a_version_that_is_surely_too_often_wrong_is_rolled_back(make: Make) -> None:
    workspace = make(**QUIET)
    first = workspace.deployments.live().version_id
    second(workspace)
    went_wrong(workspace, 12, 12)
    made = look(workspace).rolled_back
    assert made is not None
    assert (made.version_id, made.action, made.actor) == (first, "rollback", "watch")
    assert made.reason == (
        "an error rate of 100.0% in 12 sessions since the deployment, surely at least 60.6%, more "
        "than 50.0%"
    )
    assert workspace.deployments.live() == made
    # What the version before did is counted from now on.
    assert look(workspace).rolled_back is None


def test_a_few_errors_are_not_enough_to_be_sure(make: Make) -> None:
    workspace = make(**QUIET)
    live = second(workspace)
    went_wrong(workspace, 8, 8)
    assert look(workspace).rolled_back is None
    went_wrong(workspace, 1, 1, first=50)
    assert look(workspace).rolled_back is not None
    assert workspace.deployments.live().version_id != live


def in_calls(workspace: Workspace, made: list[Inference], calls: int) -> None:
    """They were heard in so many calls, in turn."""
    with writing(workspace._engine) as connection:
        for number, one in enumerate(made):
            row = update(inferences).where(inferences.c.id == one.id)
            connection.execute(row.values(session=f"call {number % calls}"))


def test_one_call_takes_nothing_back_however_many_of_its_transcripts_are_wrong(make: Make) -> None:
    workspace = make(**QUIET)
    second(workspace)
    made = tiny.heard(workspace, 40)
    in_calls(workspace, made, calls=8)
    tiny.correct(workspace, made)
    assert look(workspace).rolled_back is None
    # A ninth is enough, though it is short.
    other = tiny.heard(workspace, 1, first=90)
    tiny.correct(workspace, other)
    assert look(workspace).rolled_back is not None


def test_a_call_that_is_wrong_in_part_is_not_wrong_as_a_whole(make: Make) -> None:
    workspace = make(**QUIET)
    second(workspace)
    made = tiny.heard(workspace, 80)
    in_calls(workspace, made, calls=20)
    # One of four in each call.
    tiny.correct(workspace, made[:20])
    assert look(workspace).rolled_back is None
    assert workspace.observations.sessions(
        since=workspace.deployments.live().created_at,
        version_id=workspace.deployments.live().version_id,
    ) == (5.0, 20)


def test_an_error_rate_below_the_threshold_is_left_alone(make: Make) -> None:
    workspace = make(**QUIET)
    second(workspace)
    went_wrong(workspace, 6, 12)
    assert look(workspace).rolled_back is None
    strict = workspace.configured({"deployment": {"rollback_on_error_threshold": 0.1}})
    assert look(strict).rolled_back is not None


def test_what_was_wrong_before_the_deployment_is_not_held_against_it(make: Make) -> None:
    workspace = make(**QUIET)
    went_wrong(workspace, 12, 12)
    second(workspace)
    assert look(workspace).rolled_back is None
    went_wrong(workspace, 0, 12, first=50)
    assert look(workspace).rolled_back is None


def test_a_version_that_is_live_again_starts_anew(make: Make) -> None:
    workspace = make(**QUIET)
    live = second(workspace)
    went_wrong(workspace, 12, 12)
    assert look(workspace).rolled_back is not None
    workspace.deploy(live, actor="ann", reason="its input was broken, not it")
    assert look(workspace).rolled_back is None
    assert workspace.deployments.live().version_id == live


def test_what_another_version_heard_is_not_held_against_it(make: Make) -> None:
    workspace = make(**QUIET)
    base = workspace.deployments.live().version_id
    second(workspace)
    made = tiny.heard(workspace, 12)
    assert {one.version_id for one in made} != {base}
    with writing(workspace._engine) as connection:
        connection.execute(update(inferences).values(version_id=base))
    tiny.correct(workspace, made)
    assert look(workspace).rolled_back is None


def test_the_automatic_rollback_can_be_switched_off(make: Make) -> None:
    workspace = make(deployment={"enable_auto_rollback": False}, **QUIET)
    live = second(workspace)
    went_wrong(workspace, 12, 12)
    assert look(workspace).rolled_back is None
    assert workspace.deployments.live().version_id == live
    enabled = workspace.configured({"deployment": {"enable_auto_rollback": True}})
    assert roll_back_if_worse(enabled) is not None


def test_where_there_is_nothing_to_go_back_to_the_first_version_stays(make: Make) -> None:
    workspace = make(**QUIET)
    went_wrong(workspace, 12, 12)
    assert look(workspace).rolled_back is None
    assert len(workspace.deployments.history()) == 1


def test_the_cycle_that_made_a_version_learns_that_it_was_rolled_back(
    make: Make, tmp_path: Path
) -> None:
    workspace = make(**QUIET)
    tiny.hold_out(workspace)
    begun = tiny.begin_with_model(workspace, tmp_path / "tuned", auto_deploy=True)
    assert workspace.cycles.run(begun.id).state is S.DEPLOYED
    went_wrong(workspace, 12, 12)
    assert look(workspace).rolled_back is not None
    assert workspace.cycles.get(begun.id).state is S.ROLLED_BACK
    assert look(workspace).advanced == ()


def later(workspace: Workspace, hours: float) -> None:
    """What a clock does."""
    with writing(workspace._engine) as connection:
        moved = {"created_at": now() - timedelta(hours=hours)}
        connection.execute(update(suite_runs).values(**moved))


def test_due_suites_are_run_once_an_interval_on_what_is_live(make: Make) -> None:
    schedule = {"run_on_schedule": True, "schedule_interval_hours": 2.0}
    workspace = make(regression=schedule, **QUIET)
    assert look(workspace).runs == ()
    suite = workspace.suites.add("pins", SuiteKind.CRITICAL, tiny.hold_out(workspace, "pins", 3))
    (run,) = look(workspace).runs
    assert (run.suite_id, run.cycle_id) == (suite.id, None)
    assert run.candidate_id == run.baseline_id == workspace.deployments.live().version_id
    # A third of what the first model hears is wrong, by the function that hears for it.
    assert run.comparison.candidate.wer == pytest.approx(2 / 9)
    assert look(workspace).runs == ()
    later(workspace, 1.9)
    assert look(workspace).runs == ()
    later(workspace, 2.1)
    assert len(look(workspace).runs) == 1
    assert len(workspace.suites.runs()) == 2


def test_without_a_schedule_no_suite_is_run(make: Make) -> None:
    workspace = make(**QUIET)
    workspace.suites.add("pins", SuiteKind.CRITICAL, tiny.hold_out(workspace, "pins", 3))
    assert look(workspace).runs == ()


def test_where_training_needs_a_yes_a_look_proposes_and_the_next_one_waits(make: Make) -> None:
    workspace = make(**ASKING)
    went_wrong(workspace, 3, 3)
    begun = look(workspace).begun
    assert begun is not None
    assert (begun.state, begun.actor) == (S.PROPOSED, "watch")
    again = look(workspace)
    assert (again.begun, again.advanced) == (None, ())
    assert workspace.cycles.listed() == [begun]


def test_a_look_that_trains_nothing_begins_a_cycle_and_leaves_it_to_others(make: Make) -> None:
    workspace = make(**EAGER)
    went_wrong(workspace, 3, 3)
    seen = look(workspace, train=False)
    assert seen.begun is not None
    assert (seen.begun.state, seen.advanced) == (S.TRIGGERED, ())
    assert workspace.cycles.listed() == [seen.begun]
    again = look(workspace, train=False)
    assert (again.begun, again.advanced) == (None, ())
    assert tiny.rows(workspace)["jobs"] == []


def test_a_look_goes_on_with_what_was_begun(make: Make, tmp_path: Path) -> None:
    workspace = make(**QUIET)
    tiny.hold_out(workspace)
    begun = tiny.begin_with_model(workspace, tmp_path / "tuned")
    told: list[str] = []

    class Watcher(Observer):
        def step(self, cycle: Any) -> None:
            told.append(cycle.state.value)

    (advanced,) = look(workspace, observer=Watcher()).advanced
    assert (advanced.id, advanced.state) == (begun.id, S.AWAITING_APPROVAL)
    assert told[0] == "triggered"
    assert told[-1] == "awaiting_approval"
    # It waits for a person now.
    assert look(workspace).advanced == ()


def test_the_oldest_cycle_goes_first(make: Make, tmp_path: Path) -> None:
    workspace = make(deployment={"require_approval": False}, **QUIET)
    tiny.hold_out(workspace)
    cycles = [tiny.begin_with_model(workspace, tmp_path / f"tuned-{n}") for n in range(2)]
    look(workspace)
    first = workspace.cycles.get(cycles[0].id)
    assert first.state is S.DEPLOYED
    assert workspace.deployments.live().version_id == first.version_id


def test_a_cycle_that_cannot_go_on_keeps_no_other_from_it(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It was compared with a version that is no longer live, so it may not be deployed."""
    workspace = make(deployment={"require_approval": False}, **QUIET)
    tiny.hold_out(workspace)
    stuck = tiny.begin_with_model(workspace, tmp_path / "tuned")
    second(workspace)
    other = tiny.begin_with_model(workspace, tmp_path / "other", skip_validation=True)
    with caplog.at_level(logging.WARNING, logger="misheard"):
        advanced = look(workspace).advanced
    assert [(one.id, one.state) for one in advanced] == [(other.id, S.DEPLOYED)]
    assert workspace.cycles.get(stuck.id).state is S.REGRESSION
    (record,) = caplog.records
    assert stuck.id in record.getMessage()
    assert "was compared with" in record.getMessage()


def test_a_cycle_that_waits_for_a_trainer_is_left_to_it(make: Make) -> None:
    workspace = make(**QUIET)
    went_wrong(workspace, 3, 3)
    options = CycleOptions(trained_elsewhere=True)
    begun = workspace.cycles.begin(actor="ann", force=True, approved=True, options=options)
    assert begun is not None
    assert [one.state for one in look(workspace).advanced] == [S.DATASET]
    assert look(workspace).advanced == ()
    workspace.cycles.train_elsewhere(begun.id, actor="trainer")
    assert look(workspace).advanced == ()


def test_a_cycle_that_another_process_works_on_is_left_to_it(make: Make, tmp_path: Path) -> None:
    workspace = make(**QUIET)
    tiny.hold_out(workspace)
    begun = tiny.begin_with_model(workspace, tmp_path / "tuned")
    rival = Cycles(
        workspace._engine,
        observations=workspace.observations,
        deployments=workspace.deployments,
        stages=workspace.cycles._stages,
    )
    fence = rival._store.take_lease(begun.id)
    assert look(workspace).advanced == ()
    assert workspace.cycles.get(begun.id).state is S.TRIGGERED
    rival._store.release(begun.id, fence)
    assert [one.state for one in look(workspace).advanced] == [S.AWAITING_APPROVAL]


@contextmanager
def locked(workspace: Workspace) -> Iterator[None]:
    """Another program is stopped in the middle of writing."""
    other = open_engine(workspace._engine.url)
    with writing(other):
        yield
    other.dispose()


@pytest.fixture
def impatient(make: Make, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """One that does not wait half a minute for a lock."""
    quick = partial(open_engine, patience_s=0.05)
    monkeypatch.setattr("misheard.rooms.opened.open_engine", quick)
    return make(**EAGER)


def test_what_goes_wrong_with_one_duty_keeps_no_other_from_being_done(
    impatient: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    went_wrong(impatient, 3, 3)
    looks = watch(impatient, interval_s=1.0, sleep=lambda _: None, train=False)
    with locked(impatient), caplog.at_level(logging.WARNING, logger="misheard"):
        seen = next(looks)
    # What only reads is done.
    assert seen.failed == ("digest", "trigger", "alerts")
    assert (seen.begun, seen.rolled_back) == (None, None)
    told = [one.getMessage() for one in caplog.records]
    assert [one.partition(" ")[0] for one in told] == list(seen.failed)
    assert all("was locked for" in one and "another program" in one for one in told)
    again = next(looks)
    assert again.failed == ()
    assert again.begun is not None


def test_a_cycle_whose_database_is_locked_goes_on_at_the_next_look(
    impatient: Workspace, tmp_path: Path
) -> None:
    tiny.hold_out(impatient)
    begun = tiny.begin_with_model(impatient, tmp_path / "tuned")
    with locked(impatient):
        assert look(impatient).advanced == ()
    assert [one.id for one in look(impatient).advanced] == [begun.id]


def test_watching_looks_again_and_again_and_sleeps_in_between(make: Make) -> None:
    workspace = make(**QUIET)
    slept: list[float] = []
    looks = watch(workspace, interval_s=7.5, sleep=slept.append)
    assert len(list(itertools.islice(looks, 3))) == 3
    assert slept == [7.5, 7.5]


def test_what_comes_between_two_looks_is_seen_by_the_second(make: Make) -> None:
    workspace = make(**ASKING)
    moments: list[datetime] = []

    def sleep(_: float) -> None:
        moments.append(now())
        went_wrong(workspace, 3, 3)

    looks = watch(workspace, interval_s=1.0, sleep=sleep)
    assert next(looks).begun is None
    begun = next(looks).begun
    assert begun is not None
    assert begun.created_at > moments[0]


def labelled(workspace: Workspace) -> None:
    """Enough to learn what is suspicious."""
    items, wrong = traffic(150)
    workspace.capture(items)
    correct(workspace.cases, workspace.inferences, wrong)


def test_suspicion_is_learnt_when_enough_was_corrected(make: Make) -> None:
    workspace = make(**QUIET)
    assert look(workspace).suspicion is None
    labelled(workspace)
    made = look(workspace).suspicion
    assert made is not None and made.figures is not None
    assert made.figures.is_used
    assert workspace.suspicions.current() == made
    (entry, *_) = workspace.audit.entries(limit=1)
    assert (entry.actor, entry.action) == ("watch", "fit suspicion")
    assert look(workspace).suspicion is None


def test_without_the_library_for_it_that_is_said_once(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    workspace = make(**QUIET)
    # As import finds it where it is not installed, in a process that has said nothing yet.
    monkeypatch.setitem(sys.modules, "sklearn", None)
    _warn_once.cache_clear()
    look(workspace)
    assert "suspicion" not in caplog.text
    labelled(workspace)
    for _ in range(3):
        assert look(workspace).suspicion is None
    (said,) = [one for one in caplog.messages if "not learnt" in one]
    assert "pip install 'misheard[suspicion]'" in said
    assert workspace.suspicions.newest() is None
