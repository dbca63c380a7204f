"""A cycle whose training runs on a rented machine; what looks after it when nobody waits."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from misheard import watch
from misheard.cycle.states import Cycle, CycleState, Observer
from misheard.finetune.events import TrainingEvent
from misheard.worker import Done, Worker
from tests import tiny
from tests.emulators import GcsEmulator
from tests.gce.scene import Scene, held_program, scene, wait_until
from tests.gce.test_gce_backend import stray

SECTIONS = {
    "triggers": {"min_error_cases": 1000, "trigger_on_error_rate": False},
    "worker": {"sweep_s": 0.05, "advance_s": 0.05},
}


@pytest.fixture
def here(gcs: GcsEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs.url)
    with scene(tmp_path, gcs, sections=SECTIONS) as made:
        yield made


def begun(here: Scene) -> Cycle:
    workspace = here.workspace
    tiny.hold_out(workspace)
    tiny.correct(workspace, tiny.heard(workspace, 12))
    cycle = workspace.cycles.begin(actor="ann", force=True, approved=True)
    assert cycle is not None
    return cycle


class Seeing(Observer):
    def __init__(self, here: Scene, word: Path) -> None:
        self.here = here
        self.word = word
        self.events: list[TrainingEvent] = []
        self.machines: list[str] = []

    def training(self, event: TrainingEvent) -> None:
        self.events.append(event)
        self.machines += self.here.double.names
        self.word.touch()


def test_a_cycle_trains_on_a_rented_machine_and_its_model_goes_live(
    here: Scene, tmp_path: Path
) -> None:
    cycle = begun(here)
    seeing = Seeing(here, tmp_path / "go on")
    here.double.program = held_program(seeing.word)
    cycle = here.workspace.cycles.run(cycle.id, observer=seeing)
    assert cycle.state is CycleState.AWAITING_APPROVAL, cycle.detail
    assert [event.step for event in seeing.events] == [1, 2, 3, 4]
    assert seeing.machines, "its progress was told when the machine was gone already"
    job = here.workspace.jobs.get(str(cycle.job_id))
    assert job.backend == "gce"
    assert here.is_clean(job.id)
    deployed = here.workspace.cycles.approve(cycle.id, actor="ann")
    assert deployed.state is CycleState.DEPLOYED
    assert here.workspace.deployments.live().version_id == cycle.version_id


def test_a_cycle_for_which_there_is_no_machine_stands_still_and_is_tried_again(
    here: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    here.double.stock_outs |= dict.fromkeys(here.workspace.settings.gce.zones, 1)
    cycle = begun(here)
    with caplog.at_level(logging.WARNING):
        assert watch.look(here.workspace).advanced == ()
    assert f"{cycle.id} stands still. This zone has no such machine" in caplog.text
    stands = here.workspace.cycles.get(cycle.id)
    assert stands.state is CycleState.DATASET
    assert "no such machine" in stands.error
    assert here.workspace.rentals.still_open() == []
    (gone_on,) = watch.look(here.workspace).advanced
    assert gone_on.state is CycleState.AWAITING_APPROVAL
    assert here.is_clean(str(gone_on.job_id))


def test_a_cycle_that_a_budget_has_no_room_for_waits_until_it_has(here: Scene) -> None:
    cycle = begun(here)
    poor = here.configured(monthly_budget_usd=1.0).workspace
    poor.functions = here.workspace.functions
    assert watch.look(poor).advanced == ()
    assert "this month's budget" in poor.cycles.get(cycle.id).error
    assert here.double.asked == []
    (gone_on,) = watch.look(here.workspace).advanced
    assert gone_on.state is CycleState.AWAITING_APPROVAL


def test_a_worker_sweeps(here: Scene) -> None:
    here.submit("job-1")
    here.workspace.jobs.wait("job-1")
    forgotten = stray(here, here.workspace.rentals.owner)
    told: list[Done] = []
    worker = Worker(here.workspace, told=told.append)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        wait_until(lambda: any(done.duty == "sweep" for done in told))
    finally:
        worker.stop()
        thread.join(60)
    (swept,) = [done.what for done in told if done.duty == "sweep"]
    assert swept == f"{forgotten} in us-central1-a: no job is known to have asked for it"
    assert here.double.names == []


def test_a_look_sweeps_too_and_where_nothing_is_rented_it_asks_nobody(here: Scene) -> None:
    here.submit("job-1")
    here.workspace.jobs.wait("job-1")
    forgotten = stray(here, here.workspace.rentals.owner)
    assert [one.name for one in watch.look(here.workspace).swept] == [forgotten]
    asked = len(here.double.asked)
    local = here.workspace.configured({"backend": "local"})
    assert watch.sweep_machines(local) == []
    assert len(here.double.asked) == asked
