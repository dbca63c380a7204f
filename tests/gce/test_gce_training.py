"""Trainings that really run on rented machines: taken away, and in a cycle from end to end."""

from __future__ import annotations

from pathlib import Path

import pytest

from misheard.finetune.jobs import JobState
from misheard.finetune.paths import JobPaths
from misheard.finetune.rented.layout import RentedJob
from misheard.finetune.rented.rentals import Rentals
from misheard.finetune.rented.saves import saves
from tests.emulators import GcsEmulator
from tests.finetune.conftest import Workshop
from tests.gce.conftest import SHORT
from tests.gce.holding import HoldingProxy
from tests.gce.scene import place_to_train, wait_until


@pytest.mark.model
def test_taken_away_twice_it_ends_with_the_weights_of_an_undisturbed_one(
    workshop: Workshop,
    undisturbed: JobPaths,
    gcs: GcsEmulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs.url)
    root = workshop.root / "jobs"
    with (
        HoldingProxy(gcs.url) as proxy,
        place_to_train(tmp_path, workshop.engine, root, gcs, through=proxy.url, spot=True) as (
            make,
            double,
        ),
    ):
        # After one save a machine gets no further, so that it has not ended when it is taken; nor
        # has it time for another then.
        double.grace_s = 0.3
        proxy.hold.wait_for("POST", "/saves/", skip=1)
        backend = make()
        jobs = workshop.jobs(backend)
        jobs.submit("job-preempted", workshop.base.id, workshop.dataset, SHORT)
        paths = jobs.paths("job-preempted")
        rented = RentedJob(backend.bucket, "job-preempted")
        reached = 0
        for is_last in (False, True):
            wait_until(
                lambda reached=reached: (
                    max((one.step for one in saves(rented)), default=0) > reached
                ),
                timeout_s=300,
            )
            reached = max(one.step for one in saves(rented))
            (name,) = double.names
            double.preempt(name)
            proxy.hold.let_go()
            if not is_last:
                proxy.hold.wait_for("POST", "/saves/", skip=1)
            wait_until(lambda: backend.state(paths).is_final or double.names)
        # As after a restart: a back end that has not seen the job before.
        assert workshop.jobs(make()).wait("job-preempted").state is JobState.COMPLETED
        assert double.names == []
        assert double.most_running == 1
        bodies = [each.body for each in double.requests("POST", "/instances")]
    assert [one["scheduling"]["provisioningModel"] for one in bodies] == ["SPOT"] * 3
    assert len({one["name"] for one in bodies}) == 3
    rows = Rentals(workshop.engine).of_job("job-preempted")
    assert [str(one.ending) for one in rows] == ["preempted", "preempted", "done"]
    wanted = (undisturbed.model / "model.bin").read_bytes()
    assert (paths.model / "model.bin").read_bytes() == wanted
