"""A worker does each duty in its time, lets none hold up another, and stops when it is told to."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from misheard.cycle.states import CycleState, Observer
from misheard.gates.suites import SuiteKind
from misheard.rollouts.signals import Signal
from misheard.rollouts.states import Arm
from misheard.speech.transcriber import Progress
from misheard.worker import Done, Worker
from misheard.workspace import Workspace
from tests import tiny
from tests.capture.labelled import correct, traffic
from tests.rollouts.made import observed

S = CycleState
QUIET = {"min_error_cases": 1000, "trigger_on_error_rate": False}
OFTEN = dict.fromkeys(("advance_s", "digest_s", "rollback_s", "trigger_s", "suites_s"), 0.02)
# What a clock says must not decide on a busy machine.
UNTIMED = {"max_slowdown": 1e9, "max_real_time_factor": 1e9}
_PATIENCE_S = 300.0


def make(folder: Path, **settings: dict[str, Any]) -> Workspace:
    plain: dict[str, dict[str, Any]] = {
        "triggers": QUIET,
        "worker": OFTEN,
        "validation": UNTIMED,
    }
    return tiny.make(folder / "ws", **{**plain, **settings})


@contextmanager
def working(
    workspace: Workspace, observer: Observer | None = None
) -> Iterator[tuple[Worker, list[Done]]]:
    """A worker in a thread, and what it told of."""
    told: list[Done] = []
    worker = Worker(workspace, told=told.append, observer=observer)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield worker, told
    finally:
        worker.stop()
        thread.join(_PATIENCE_S)
        assert not thread.is_alive()


def wait_for(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_takes_cycles_on_and_tells_of_every_step(tmp_path: Path) -> None:
    workspace = make(tmp_path)
    tiny.hold_out(workspace)
    begun = tiny.begin_with_model(workspace, tmp_path / "tuned")
    with working(workspace) as (_, told):
        wait_for(lambda: workspace.cycles.get(begun.id).state is S.AWAITING_APPROVAL)
        wait_for(lambda: len(told) == 4)
    assert {one.duty for one in told} == {"advance"}
    states = ("converted", "validated", "regression", "awaiting_approval")
    for one, state in zip(told, states, strict=True):
        assert one.what.startswith(f"{begun.id} is {state}: ")


def test_it_counts_what_was_heard_and_begins_what_is_worth_it(tmp_path: Path) -> None:
    workspace = make(tmp_path, triggers={**tiny.TRIGGERS, "require_approval": True})
    tiny.correct(workspace, tiny.heard(workspace, 3))
    with working(workspace) as (_, told):
        wait_for(lambda: {"digest", "trigger"} <= {one.duty for one in told})
    assert workspace.digest.behind() == 0
    (cycle,) = workspace.cycles.listed()
    assert (cycle.state, cycle.actor) == (S.PROPOSED, "worker")
    assert [one.what for one in told if one.duty == "digest"] == ["counted 3 transcripts"]


def test_it_rolls_back_what_does_worse(tmp_path: Path) -> None:
    workspace = make(tmp_path)
    first = workspace.deployments.live().version_id
    made = workspace.registry.register(
        tiny.model(tmp_path / "second"), name="tiny", source="x", actor="ann"
    )
    workspace.deploy(made.id, actor="ann", reason="try", force=True)
    tiny.correct(workspace, tiny.heard(workspace, 12))
    with working(workspace), working(workspace.configured({})):
        wait_for(lambda: workspace.deployments.live().version_id == first)
    newest, *before = workspace.deployments.history()
    assert (newest.action, newest.actor, len(before)) == ("rollback", "worker", 2)


def test_of_two_one_takes_a_bad_canary_back(tmp_path: Path) -> None:
    workspace = make(tmp_path)
    made = workspace.registry.register(
        tiny.model(tmp_path / "second"), name="tiny", source="x", actor="ann"
    )
    rollout = workspace.begin_canary(made.id, actor="ann", reason="try", force=True)
    with working(workspace) as (_, told), working(workspace.configured({})) as (_, also):
        time.sleep(0.1)
        assert workspace.rollouts.running() == rollout
        workspace.rollouts.note([observed(rollout, Arm.CANDIDATE, Signal.FAILED)] * 4)
        wait_for(lambda: workspace.rollouts.running() is None)
    assert workspace.rollouts.get(rollout.id).state == "rolled_back"
    said = [one.what for one in [*told, *also] if one.duty == "rollouts"]
    assert len(said) == 1
    assert said[0].startswith(f"canary {rollout.id} of {made.id} is rolled back: surely worse")


def test_of_two_one_runs_each_due_suite(tmp_path: Path) -> None:
    workspace = make(tmp_path, regression={"run_on_schedule": True})
    for number in range(3):
        pins = tiny.hold_out(workspace, f"pins {number}", 2 + number)
        workspace.suites.add(f"pins {number}", SuiteKind.CRITICAL, pins)
    with working(workspace), working(workspace.configured({})):
        wait_for(lambda: len(workspace.suites.runs()) >= 3)
        time.sleep(0.2)
    assert len(workspace.suites.runs()) == 3


def test_of_two_one_learns_what_is_suspicious(tmp_path: Path) -> None:
    workspace = make(tmp_path, worker={**OFTEN, "suspicion_s": 0.02})
    items, wrong = traffic(150)
    workspace.capture(items)
    correct(workspace.cases, workspace.inferences, wrong)
    with working(workspace) as (_, one), working(workspace.configured({})) as (_, other):
        wait_for(lambda: "suspicion" in {done.duty for done in [*one, *other]})
        time.sleep(0.5)
    (told,) = [done.what for done in [*one, *other] if done.duty == "suspicion"]
    assert told.startswith("model 1: average precision ")
    assert [entry.action for entry in workspace.audit.entries(limit=500)].count(
        "fit suspicion"
    ) == 1


class Busy(Observer):
    """Work that does not end until it is let go, but gives signs of life."""

    def __init__(self) -> None:
        self.is_busy = threading.Event()
        self.is_let_go = threading.Event()

    def progress(self, what: str, total: int) -> Progress:
        del what, total

        def done(_: int) -> None:
            self.is_busy.set()
            self.is_let_go.wait(_PATIENCE_S)

        return done


def test_what_takes_long_keeps_the_digest_from_nothing(tmp_path: Path) -> None:
    workspace = make(tmp_path)
    tiny.hold_out(workspace)
    tiny.begin_with_model(workspace, tmp_path / "tuned")
    busy = Busy()
    with working(workspace, busy):
        assert busy.is_busy.wait(_PATIENCE_S)
        tiny.heard(workspace, 2)
        wait_for(lambda: workspace.digest.behind() == 0)
        busy.is_let_go.set()


def test_told_to_stop_it_gives_back_what_it_is_at(tmp_path: Path) -> None:
    workspace = make(tmp_path)
    tiny.hold_out(workspace)
    begun = tiny.begin_with_model(workspace, tmp_path / "tuned")
    busy = Busy()
    with working(workspace, busy) as (worker, told):
        assert busy.is_busy.wait(_PATIENCE_S)
        assert workspace.cycles.held_until(begun.id) is not None
        worker.stop()
        busy.is_let_go.set()
    assert told[-1].what == "stopped in the middle, and gave it back"
    assert workspace.cycles.get(begun.id).state is S.CONVERTED
    assert workspace.cycles.held_until(begun.id) is None
    assert workspace.cycles.run(begun.id).state is S.AWAITING_APPROVAL


def test_a_cycle_that_cannot_go_on_is_let_be_for_ever_longer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    workspace = make(tmp_path, deployment={"require_approval": False})
    tiny.hold_out(workspace)
    stuck = tiny.begin_with_model(workspace, tmp_path / "tuned")
    other_model = workspace.registry.register(
        tiny.model(tmp_path / "second"), name="tiny", source="x", actor="ann"
    )
    workspace.deploy(other_model.id, actor="ann", reason="try", force=True)
    other = tiny.begin_with_model(workspace, tmp_path / "other", skip_validation=True)
    began = time.monotonic()
    with caplog.at_level(logging.WARNING, logger="misheard"), working(workspace):
        wait_for(lambda: workspace.cycles.get(other.id).state is S.DEPLOYED)
        time.sleep(0.5)
    assert workspace.cycles.get(stuck.id).state is S.REGRESSION
    assert "was compared with" in workspace.cycles.get(stuck.id).error
    # Every 20 ms it would be 25 times in that half second alone; each wait is twice the last one.
    waits = (time.monotonic() - began) / OFTEN["advance_s"]
    tries = sum(stuck.id in one.getMessage() for one in caplog.records)
    assert 1 <= tries <= 1 + math.log2(1 + waits) < 25


def test_a_duty_that_breaks_is_tried_again_and_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    workspace = make(tmp_path)
    tiny.heard(workspace, 2)
    failures = iter([OSError("the disk is away"), OSError("still")])
    digest = type(workspace.digest)
    catch_up = digest.catch_up

    def away(self: Any, **options: Any) -> int:
        for error in failures:
            raise error
        return catch_up(self, **options)

    monkeypatch.setattr(digest, "catch_up", away)
    with working(workspace) as (_, told):
        wait_for(lambda: any(one.duty == "digest" for one in told))
    assert sum("digest failed" in one.getMessage() for one in caplog.records) == 2
