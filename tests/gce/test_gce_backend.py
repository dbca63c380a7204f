"""A job on a rented machine: the model comes home or a reason does, and then nothing runs.

The machine runs all but the training, so that a test takes a second; `test_gce_training.py` trains.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from misheard.database.engine import now, writing
from misheard.database.schema import rentals as table
from misheard.errors import (
    BudgetError,
    BundleError,
    ComputeRefusedError,
    ComputeUnreachableError,
    InvalidSettingError,
    JobFailedError,
    MachineMissingError,
    NoMachineError,
    NotOursError,
    QuotaError,
)
from misheard.finetune.backends.backend import RunState
from misheard.finetune.events import TrainingEvent
from misheard.finetune.jobs import JobState
from misheard.finetune.paths import JobPaths
from misheard.finetune.rented.layout import RentedJob
from misheard.finetune.rented.machines import labels
from misheard.finetune.rented.sweep import Swept
from misheard.workspace import Workspace
from tests.emulators import GcsEmulator
from tests.gce.conftest import machine
from tests.gce.quick_machine import MODEL, STEPS
from tests.gce.scene import Scene, held_program, scene, wait_until, with_patience


@pytest.fixture
def here(gcs: GcsEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs.url)
    with scene(tmp_path, gcs) as made:
        yield made


def test_a_model_comes_home_its_progress_before_it_and_nothing_is_left(
    here: Scene, tmp_path: Path
) -> None:
    word = tmp_path / "go on"
    here.double.program = held_program(word)
    seen: list[TrainingEvent] = []
    there: list[bool] = []

    def see(event: TrainingEvent) -> None:
        seen.append(event)
        there.append(here.double.names != [])
        word.touch()

    here.submit("job-1")
    assert here.gce.state(here.paths("job-1")) is RunState.RUNNING
    job = here.workspace.jobs.wait("job-1", on_event=see)
    assert job.state is JobState.COMPLETED
    assert job.result == {"trained_s": 0.4}
    assert (here.paths("job-1").model / "model.bin").read_bytes() == MODEL
    assert [event.step for event in seen] == [1, 2, 3, 4]
    # They were told while it trained, not when all was over.
    assert there[0]
    assert here.is_clean("job-1")
    assert here.endings("job-1") == ["done"]
    # What others can use again stays: base and wheel.
    assert len(here.objects("training/shared/")) == 4
    inserted = here.double.requests("POST", "/instances")
    assert len(inserted) == 1
    body = inserted[0].body
    assert body["scheduling"]["maxRunDuration"] == {"seconds": "21600"}
    assert body["scheduling"]["instanceTerminationAction"] == "DELETE"


def test_a_job_that_is_home_is_neither_started_nor_touched_again(here: Scene) -> None:
    here.submit("job-1")
    here.workspace.jobs.wait("job-1")
    asked = len(here.double.asked)
    here.submit("job-1")
    here.gce.start(here.paths("job-1"))
    here.gce.cancel(here.paths("job-1"))
    assert here.gce.state(here.paths("job-1")) is RunState.SUCCEEDED
    assert len(here.double.asked) == asked


def test_a_second_job_sends_neither_base_nor_wheel_again(here: Scene) -> None:
    here.submit("job-1")
    here.workspace.jobs.wait("job-1")
    before = here.objects("training/shared/")
    here.submit("job-2")
    here.workspace.jobs.wait("job-2")
    assert here.objects("training/shared/") == before


def test_a_training_that_fails_says_why_and_its_machine_is_gone(here: Scene) -> None:
    here.submit("job-fails")
    with pytest.raises(JobFailedError, match="ValueError: no good"):
        here.workspace.jobs.wait("job-fails")
    assert here.workspace.jobs.get("job-fails").error == "ValueError: no good"
    assert here.paths("job-fails").log.read_text(encoding="utf-8").count("step") == STEPS
    assert here.is_clean("job-fails")
    assert here.endings("job-fails") == ["failed"]


@pytest.mark.parametrize("wrong", ["wrong-manifest", "wrong-bytes"])
def test_what_is_not_what_the_manifest_says_never_comes_home(here: Scene, wrong: str) -> None:
    job_id = f"job-{wrong}"
    here.submit(job_id)
    with pytest.raises(JobFailedError, match="cannot be taken home"):
        here.workspace.jobs.wait(job_id)
    assert not here.paths(job_id).result.exists()
    assert not here.paths(job_id).model.exists()
    assert (here.double.names, here.workspace.rentals.still_open()) == ([], [])
    # It may be all that is left of a night of training, so it is kept, and where is told.
    left = here.objects(f"training/jobs/{job_id}/")
    assert f"training/jobs/{job_id}/manifest.json" in left
    # What people said is not.
    assert not [name for name in left if "/inputs/" in name]
    assert "gcloud storage rm -r gs://" in str(here.workspace.jobs.get(job_id).error)


def test_a_machine_that_is_taken_away_is_replaced(here: Scene, tmp_path: Path) -> None:
    word = tmp_path / "go on"
    here.double.program = held_program(word)
    here.submit("job-1")
    wait_until(lambda: here.gce.state(here.paths("job-1")) and here.paths("job-1").events.exists())
    (name,) = here.double.names
    here.double.preempt(name)
    word.touch()
    assert here.workspace.jobs.wait("job-1").state is JobState.COMPLETED
    assert here.endings("job-1") == ["preempted", "done"]
    assert here.double.most_running == 1
    assert [one.metadata["misheard-attempt"] for one in here.double.history] == ["1", "2"]
    assert here.is_clean("job-1")


def test_a_machine_that_switches_itself_off_without_a_word_is_replaced_once_only(
    here: Scene,
) -> None:
    """Where the program cannot even begin, the next machine would fare no better."""
    here.double.program = lambda _metadata, _directory: ["false"]
    here.submit("job-1")
    with pytest.raises(JobFailedError, match="2 machines in a row have not begun"):
        here.workspace.jobs.wait("job-1")
    assert len(here.double.history) == 2
    assert (here.double.names, here.workspace.rentals.still_open()) == ([], [])
    assert here.objects("training/jobs/job-1/inputs/") == []


def test_spot_machines_that_are_taken_back_early_are_no_sign_that_the_next_fares_no_better(
    here: Scene,
) -> None:
    here.double.program = lambda _metadata, _directory: ["sleep", "600"]
    spot = here.configured(spot=True)
    spot.submit("job-1")
    for _ in range(2):
        spot.double.preempt(spot.double.names[0])
        spot.gce._following.look(spot.paths("job-1"))
    assert not spot.paths("job-1").failure.exists()
    assert len(spot.double.history) == 3


def test_there_are_no_more_machines_than_the_settings_allow(here: Scene) -> None:
    few = here.configured(max_attempts=3)
    few.submit("job-endless")
    paths = few.paths("job-endless")
    for _ in range(3):
        wait_until(lambda: few.gce.state(paths) and len(few.double.names) == 1 and few.begun(paths))
        (name,) = few.double.names
        few.double.preempt(name)
    with pytest.raises(JobFailedError, match=r"3 machines were not enough \(gce.max_attempts\)"):
        few.workspace.jobs.wait("job-endless")
    assert few.endings("job-endless") == ["preempted"] * 3
    # What it has saved is kept, and what people said is not.
    left = few.objects("training/jobs/job-endless/")
    assert left
    assert not [name for name in left if "/inputs/" in name]


def test_a_machine_that_gives_no_sign_of_life_is_deleted_and_replaced(here: Scene) -> None:
    here.submit("job-mute")
    paths = here.paths("job-mute")
    assert here.gce.state(paths) is RunState.RUNNING
    assert len(here.double.history) == 1
    # The machine after it has the whole of its time again, in which it has to begin.
    begun = now() - timedelta(minutes=here.workspace.settings.gce.silent_minutes + 10)
    with writing(here.workspace._engine) as connection:
        connection.execute(update(table).values(asked_at=begun, running_at=begun))
    assert here.workspace.jobs.wait("job-mute").state is JobState.COMPLETED
    assert here.endings("job-mute") == ["silent", "done"]
    # It is paid for until it is deleted, whether it says anything or not.
    silent = here.workspace.rentals.of_job("job-mute")[0]
    assert silent.hours() >= 30 / 60
    assert here.is_clean("job-mute")


@pytest.mark.parametrize("who", ["follower", "cancelling", "sweep"])
def test_a_machine_costs_until_it_was_switched_off_whoever_finds_it_so_and_when(
    here: Scene, who: str
) -> None:
    here.double.program = lambda _metadata, _directory: ["sleep", "600"]
    here.submit("job-1")
    (row,) = here.workspace.rentals.still_open()
    begun = now() - timedelta(hours=3)
    with writing(here.workspace._engine) as connection:
        connection.execute(update(table).values(asked_at=begun, running_at=begun))
    here.double.power_off(row.name)
    wait_until(lambda: here.double.status(row.name) == "TERMINATED")
    made = here.double._find(row.name)
    assert made is not None
    made.stopped = (begun + timedelta(hours=1)).isoformat(timespec="milliseconds")
    if who == "follower":
        here.gce.state(here.paths("job-1"))
    elif who == "cancelling":
        here.workspace.jobs.cancel("job-1")
    else:
        here.workspace.jobs._end("job-1", JobState.CANCELLED, error="cancelled")
        here.gce.sweep()
    ended = here.workspace.rentals.get(row.number)
    assert not ended.is_open
    assert ended.hours() == pytest.approx(1.0, abs=1e-5)


def test_a_job_that_another_computer_has_begun_is_followed_home(here: Scene) -> None:
    here.submit("job-1")
    shutil.rmtree(here.paths("job-1").root)
    assert here.workspace.jobs.wait("job-1").state is JobState.COMPLETED
    assert (here.paths("job-1").model / "model.bin").read_bytes() == MODEL
    assert here.is_clean("job-1")


def test_a_machine_for_inputs_that_only_another_computer_has_is_not_asked_for(here: Scene) -> None:
    here.submit("job-endless")
    shutil.rmtree(here.paths("job-endless").root)
    here.double.preempt(here.double.names[0])
    with pytest.raises(BundleError, match="Go on where it was begun"):
        here.workspace.jobs.wait("job-endless")
    assert here.objects("training/jobs/job-endless/inputs/") != []
    assert here.double.names == []


def test_a_job_that_another_computer_has_begun_can_be_cancelled(here: Scene) -> None:
    here.submit("job-endless")
    shutil.rmtree(here.paths("job-endless").root)
    assert here.workspace.jobs.cancel("job-endless").state is JobState.CANCELLED
    assert here.is_clean("job-endless")
    assert here.endings("job-endless") == ["cancelled"]


def test_a_cancelled_job_has_no_machine_and_leaves_nothing(here: Scene) -> None:
    here.submit("job-endless")
    assert here.workspace.jobs.cancel("job-endless").state is JobState.CANCELLED
    assert here.is_clean("job-endless")
    assert here.endings("job-endless") == ["cancelled"]
    assert here.gce.state(here.paths("job-endless")) is RunState.STOPPED
    with pytest.raises(JobFailedError, match="cancelled"):
        here.workspace.jobs.wait("job-endless")


def test_a_machine_that_was_deleted_by_hand_is_not_replaced_before_somebody_says_so(
    here: Scene, tmp_path: Path
) -> None:
    word = tmp_path / "go on"
    here.double.program = held_program(word)
    here.submit("job-1")
    wait_until(lambda: here.gce.state(here.paths("job-1")) and here.begun(here.paths("job-1")))
    other = here.configured().gce
    (name,) = here.double.names
    assert other.delete_machine(here.paths("job-1")) == [name]
    assert other.delete_machine(here.paths("job-1")) == []
    with pytest.raises(MachineMissingError, match="deleted by hand"):
        here.workspace.jobs.wait("job-1")
    assert len(here.double.history) == 1
    # Nothing is lost: the next attempt goes on from what is saved.
    assert here.objects("training/jobs/job-1/attempts/1/")
    word.touch()
    here.submit("job-1")
    assert here.workspace.jobs.wait("job-1").state is JobState.COMPLETED
    assert here.endings("job-1") == ["cancelled", "done"]


def test_whoever_waits_for_a_job_that_is_cancelled_elsewhere_rents_nothing(here: Scene) -> None:
    here.submit("job-endless")
    # Killed between saying so and doing so; a sweep has ended the machine.
    here.workspace.jobs._end("job-endless", JobState.CANCELLED, error="cancelled")
    here.gce.sweep()
    here.gce.start(here.paths("job-endless"))
    with pytest.raises(JobFailedError, match="cancelled"):
        here.workspace.jobs.wait("job-endless")
    assert len(here.double.history) == 1
    assert here.is_clean("job-endless")


def test_what_another_computer_has_brought_home_is_not_trained_again(
    here: Scene, tmp_path: Path
) -> None:
    here.submit("job-1")
    away = JobPaths(tmp_path / "other computer" / "job-1")
    shutil.copytree(here.paths("job-1").root, away.root, symlinks=True)
    elsewhere = here.configured().gce
    wait_until(lambda: here.gce.state(here.paths("job-1")) is RunState.SUCCEEDED)
    # Home, and not told yet: whoever follows elsewhere must not take it for a failure.
    elsewhere.start(away)
    assert elsewhere.state(away) is RunState.RUNNING
    assert not away.failure.exists()
    here.workspace.jobs.wait("job-1")
    elsewhere.start(away)
    assert elsewhere.state(away) is RunState.STOPPED
    assert "misheard versions" in away.failure.read_text(encoding="utf-8")
    assert here.endings("job-1") == ["done"]
    assert here.is_clean("job-1")


def test_a_job_that_is_cancelled_before_it_has_a_machine_leaves_nothing_either(
    here: Scene,
) -> None:
    here.double.quota = "GPUS_ALL_REGIONS"
    with pytest.raises(QuotaError):
        here.submit("job-1")
    assert here.objects("training/jobs/job-1/") != []
    here.workspace.jobs.cancel("job-1")
    assert here.is_clean("job-1")
    assert here.gce.state(here.paths("job-1")) is RunState.STOPPED


def test_where_a_zone_has_none_the_next_one_is_asked(here: Scene) -> None:
    here.double.stock_outs["us-central1-a"] = -1
    here.submit("job-1")
    assert here.workspace.jobs.wait("job-1").state is JobState.COMPLETED
    rows = here.workspace.rentals.of_job("job-1")
    assert [(one.zone, str(one.ending)) for one in rows] == [
        ("us-central1-a", "no machine"),
        ("us-central1-b", "done"),
    ]
    # What was never there has no price.
    assert rows[0].usd() == 0.0 < rows[1].usd()
    assert here.is_clean("job-1")


def test_where_no_zone_has_one_it_is_asked_for_again_later(here: Scene) -> None:
    zones = here.workspace.settings.gce.zones
    here.double.stock_outs |= dict.fromkeys(zones, 1)
    with pytest.raises(NoMachineError, match="tried again by itself"):
        here.submit("job-1")
    assert here.workspace.rentals.still_open() == []
    assert here.workspace.jobs.get("job-1").state is JobState.RUNNING
    here.submit("job-1")
    assert here.workspace.jobs.wait("job-1").state is JobState.COMPLETED
    assert here.endings("job-1") == ["no machine"] * len(zones) + ["done"]
    assert here.is_clean("job-1")


def test_whoever_waits_survives_that_nothing_answers_for_a_while(
    here: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    here.submit("job-1")
    here.double.trouble = [503] * 300  # more than is tried in one look
    assert here.workspace.jobs.wait("job-1").state is JobState.COMPLETED
    assert "It is tried again." in caplog.text
    assert here.endings("job-1") == ["done"]


def test_what_never_answers_is_told_in_the_end(here: Scene) -> None:
    impatient = here.configured(silent_minutes=0.01)
    impatient.submit("job-endless")
    impatient.double.trouble = [503] * 1000
    with pytest.raises(ComputeUnreachableError):
        impatient.workspace.jobs.wait("job-endless")
    impatient.double.trouble = []


def test_that_no_zone_has_another_machine_is_told_to_whoever_waits(here: Scene) -> None:
    """A cycle stands still with it, and is tried again."""
    here.submit("job-endless")
    here.double.stock_outs |= dict.fromkeys(here.workspace.settings.gce.zones, 1)
    here.double.preempt(here.double.names[0])
    with pytest.raises(NoMachineError):
        here.workspace.jobs.wait("job-endless")
    assert here.workspace.jobs.get("job-endless").state is JobState.RUNNING


def test_a_quota_that_is_used_up_says_what_to_ask_for(here: Scene) -> None:
    here.double.quota = "GPUS_ALL_REGIONS"
    with pytest.raises(QuotaError, match="GPUS_ALL_REGIONS"):
        here.submit("job-1")
    assert here.workspace.rentals.still_open() == []
    assert here.endings("job-1") == ["refused"]
    here.double.quota = ""
    here.submit("job-1")
    assert here.workspace.jobs.wait("job-1").state is JobState.COMPLETED


@pytest.mark.parametrize("forbidden", ["/operations/", "/instances/"])
def test_a_machine_that_nobody_may_ask_for_may_be_there_and_keeps_its_row(
    here: Scene, forbidden: str
) -> None:
    here.double.forbidden = forbidden
    with pytest.raises(ComputeUnreachableError, match="may be there"):
        here.submit("job-1")
    assert len(here.double.names) == 1
    assert here.workspace.rentals.spent().reserved_usd > 0
    here.double.forbidden = ""
    assert here.workspace.jobs.wait("job-1").state is JobState.COMPLETED
    assert len(here.double.history) == 1
    assert here.endings("job-1") == ["done"]


def test_what_a_budget_has_no_room_for_is_refused_before_anything_is_sent(here: Scene) -> None:
    poor = here.configured(monthly_budget_usd=5.0)
    with pytest.raises(BudgetError, match="monthly_budget_usd = 5"):
        poor.submit("job-1")
    assert poor.double.asked == []
    assert poor.objects("training/") == []
    assert poor.workspace.rentals.of_job("job-1") == []
    assert poor.configured(max_run_hours=5.0).gce.require_budget(poor.paths("job-1")) is None


def test_what_was_finished_while_nobody_looked_is_taken_home_and_not_rented_for_again(
    here: Scene,
) -> None:
    here.submit("job-1")
    job = RentedJob(here.gce.bucket, "job-1")
    wait_until(lambda: job.bucket.stat(job.manifest) is not None)
    (row,) = here.workspace.rentals.still_open()
    here.gce.machines.delete(row.name, row.zone)
    # Its own row is no reason to refuse it.
    poor = here.configured(monthly_budget_usd=5.0)
    poor.gce.require_budget(poor.paths("job-1"))
    poor.gce.sweep()
    poor.submit("job-1")
    assert poor.gce.state(poor.paths("job-1")) is RunState.SUCCEEDED
    assert len(here.double.history) == 1
    assert here.endings("job-1") == ["swept"]
    assert here.is_clean("job-1")


def test_a_price_that_nobody_knows_is_no_price_of_nothing(here: Scene) -> None:
    strange = here.configured(machine_type="n2-standard-96")
    with pytest.raises(InvalidSettingError, match=r"gce\.usd_per_hour"):
        strange.submit("job-1")
    assert strange.double.asked == []
    told = here.configured(machine_type="n2-standard-96", usd_per_hour=4.5)
    told.submit("job-1")
    told.workspace.jobs.wait("job-1")
    assert told.workspace.rentals.of_job("job-1")[0].usd_per_hour == pytest.approx(4.5, abs=0.1)


def test_a_project_that_is_not_there_is_told_at_once(here: Scene) -> None:
    elsewhere = here.workspace.configured({"gce": {"project_id": "another"}})
    with pytest.raises(ComputeRefusedError, match="another"):
        elsewhere.gce.machines.get("misheard-1", "us-central1-a")
    nobody = here.workspace.configured({"gce": {"project_id": ""}})
    with pytest.raises(InvalidSettingError, match="project_id is empty"):
        nobody.gce.machines.get("misheard-1", "us-central1-a")


def test_two_that_look_after_one_job_make_one_machine(here: Scene) -> None:
    with here.controller("job-1") as one, here.controller("job-1") as two:
        answers = [child.communicate(timeout=300)[0] for child in (one, two)]
        assert [child.returncode for child in (one, two)] == [0, 0], answers
    assert len(here.double.history) == 1
    assert here.is_clean("job-1")
    assert all(answer.endswith("completed\n") for answer in answers)


def test_a_copy_of_a_workspace_leaves_the_machine_of_the_original_alone(here: Scene) -> None:
    here.submit("job-endless")
    copied = here.workspace.root.with_name("copied")
    shutil.copytree(here.workspace.root, copied, symlinks=True)
    copy = Scene(
        with_patience(Workspace.open(copied), here.double), here.double, here.proxy, here.gcs
    )
    with pytest.raises(NotOursError, match="of which this one is a copy"):
        copy.workspace.jobs.wait("job-endless")
    with pytest.raises(NotOursError):
        copy.workspace.jobs.cancel("job-endless")
    assert len(here.double.names) == 1
    assert here.objects("training/jobs/job-endless/inputs/") != []
    assert here.gce.state(here.paths("job-endless")) is RunState.RUNNING


# A machine that nobody needs.


def stray(here: Scene, owner: str, job_id: str = "job-stray", attempt: int = 1) -> str:
    """A machine without a row."""
    name = f"stray-{len(here.double.history)}"
    told = labels(owner=owner, job_id=job_id, attempt=attempt)
    usual, here.double.program = here.double.program, lambda _metadata, _disk: ["sleep", "600"]
    here.gce.machines.create(machine(job_id, name=name, labels=told), attempt=1)
    here.double.program = usual
    return name


def test_a_sweep_deletes_what_is_nobody_s_and_touches_no_other_s(here: Scene) -> None:
    here.double.program = lambda _metadata, _directory: ["sleep", "600"]
    here.submit("job-1")
    (needed,) = here.double.names
    owner = here.workspace.rentals.owner
    forgotten, foreign = stray(here, owner), stray(here, "somebody else")
    told = here.gce.sweep(dry_run=True)
    assert [one.name for one in told] == [forgotten]
    assert sorted(here.double.names) == sorted([needed, forgotten, foreign])
    swept = here.gce.sweep()
    assert [(one.name, one.deleted) for one in swept] == [(forgotten, True)]
    assert sorted(here.double.names) == sorted([needed, foreign])
    assert here.gce.sweep() == []


def test_every_start_sweeps(here: Scene) -> None:
    here.submit("job-1")
    here.workspace.jobs.wait("job-1")
    forgotten = stray(here, here.workspace.rentals.owner)
    here.submit("job-2")
    assert forgotten not in here.double.names
    here.workspace.jobs.wait("job-2")


def test_a_sweep_ends_the_machine_of_a_job_that_was_cancelled_by_one_that_died(
    here: Scene,
) -> None:
    here.submit("job-endless")
    # As if the process had been killed between saying so and doing so.
    here.workspace.jobs._end("job-endless", JobState.CANCELLED, error="cancelled")
    (swept,) = here.gce.sweep()
    assert (swept.job_id, swept.why) == ("job-endless", "its job has ended")
    assert here.is_clean("job-endless")
    assert here.endings("job-endless") == ["swept"]


def test_a_sweep_ends_what_is_there_for_too_long_and_the_job_goes_on(here: Scene) -> None:
    here.submit("job-1")
    (name,) = here.double.names
    long_ago = (now() - timedelta(hours=7.1)).isoformat(timespec="milliseconds")
    made = here.double._find(name)
    assert made is not None
    made.created = long_ago
    (swept,) = here.gce.sweep()
    assert "longer than any training" in swept.why
    assert here.workspace.jobs.wait("job-1").state is JobState.COMPLETED
    assert here.is_clean("job-1")


def test_a_sweep_closes_rows_whose_machine_is_gone(here: Scene) -> None:
    here.submit("job-1")
    (name,) = here.double.names
    here.double.expire(name)
    (swept,) = here.gce.sweep()
    assert (swept.name, swept.deleted) == (name, False)
    assert here.workspace.rentals.still_open() == []
    assert here.workspace.jobs.wait("job-1").state is JobState.COMPLETED


def test_a_sweep_leaves_a_row_alone_whose_machine_is_about_to_be_asked_for(here: Scene) -> None:
    here.submit("job-endless")
    (row,) = here.workspace.rentals.still_open()
    here.gce.machines.delete(row.name, row.zone)
    engine = here.workspace._engine
    with writing(engine) as connection:
        connection.execute(update(table).values(running_at=None))
    assert here.gce.sweep() == []
    with writing(engine) as connection:
        connection.execute(update(table).values(asked_at=now() - timedelta(minutes=20)))
    assert [one.why for one in here.gce.sweep()] == ["its machine is gone"]


def test_a_sweep_goes_by_what_was_rented_and_not_by_other_settings(here: Scene) -> None:
    here.double.program = lambda _metadata, _directory: ["sleep", "600"]
    here.submit("job-1")
    made = here.double._find(here.double.names[0])
    assert made is not None
    made.created = (now() - timedelta(hours=6.5)).isoformat(timespec="milliseconds")
    assert here.configured(max_run_hours=1.0).gce.sweep() == []
    with writing(here.workspace._engine) as connection:
        connection.execute(update(table).values(project_id="another"))
    here.gce.machines.delete(made.resource["name"], made.zone)
    # Whatever is there in another project, it is not seen from here.
    assert here.gce.sweep() == []
    assert len(here.workspace.rentals.still_open()) == 1
    with pytest.raises(InvalidSettingError, match=r"'another': gce\.project_id"):
        here.gce.state(here.paths("job-1"))


def test_a_sweep_deletes_nothing_that_is_rented_while_it_looks(here: Scene) -> None:
    here.double.program = lambda _metadata, _directory: ["sleep", "600"]
    here.submit("job-1")
    looking = here.workspace.configured({}).gce
    # The first asking is cut off, and what is rented before it is repeated is in the answer.
    here.double.hold.wait_for("GET", "/aggregated/instances")
    swept: list[Swept] = []
    thread = threading.Thread(target=lambda: swept.extend(looking.sweep()))
    thread.start()
    assert here.double.hold.reached.wait(120)
    here.submit("job-2")
    here.double.hold.let_go()
    thread.join(60)
    assert swept == []
    assert len(here.double.names) == 2


def test_where_nothing_was_ever_rented_a_sweep_asks_for_nothing(here: Scene) -> None:
    assert here.gce.sweep() == []
    assert here.double.asked == []


def test_events_are_the_machine_s_own_lines(here: Scene) -> None:
    here.submit("job-1")
    here.workspace.jobs.wait("job-1")
    lines = here.paths("job-1").events.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, STEPS + 1))
