"""A cycle whose process is killed in the middle of training is finished by another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from misheard.capture.inferences import Inference
from misheard.cases.records import Correction
from misheard.cycle.states import CycleState
from misheard.database.engine import now, open_engine, writing
from misheard.database.schema import cycles, jobs, validations
from misheard.datasets.samples import Sample
from misheard.errors import LeaseLostError
from misheard.workspace import Workspace

RUN = """
import sys
from misheard.workspace import Workspace
Workspace.open(sys.argv[1]).cycles.run(sys.argv[2])
"""
SETTINGS = {
    "triggers": {"min_error_cases": 1, "min_corrected_cases": 1},
    "datasets": {"train_percent": 100, "validation_percent": 0, "test_percent": 0},
    "recipe": {"epochs": 1},
    # A dozen clips are too few to learn the short window, and the gates would rightly refuse what
    # hallucinates so. Here they let everything pass: what is tested is that the loop goes on.
    "validation": {
        "require_significance": False,
        "min_wer_improvement": -1000.0,
        "min_cer_improvement": -1000.0,
        "max_slowdown": 1000.0,
        "max_real_time_factor": 1000.0,
        "max_wer_degradation_rate": 1.0,
        "require_no_major_degradation": False,
    },
    "regression": {"max_wer_degradation": 1000.0},
    "deployment": {"require_approval": False},
}


def samples(prompts: list) -> list[Sample]:
    return [
        Sample(data=p.data, reference=p.reference, speaker_group=p.group, name=p.id)
        for p in prompts
    ]


def corrected(heard: list[Inference], prompts: list) -> list[Correction]:
    """People confirm or correct; every fourth is taken for wrong, so that there are error cases."""
    return [
        Correction(
            inference_id=one.id,
            reference=p.reference if number % 4 else f"{p.reference} indeed",
            author="ann",
        )
        for number, (one, p) in enumerate(zip(heard, prompts, strict=True))
    ]


@pytest.mark.model
def test_a_cycle_killed_while_training_comes_to_its_end_in_another_process(
    tmp_path: Path, short_prompts: list
) -> None:
    workspace = Workspace.create(tmp_path / "ws", settings=SETTINGS, actor="ann")
    training, test = short_prompts[:12], short_prompts[40:44]
    heard = workspace.transcribe(samples(training))
    workspace.cases.correct(corrected(heard, training))
    held_out = workspace.datasets.add_evaluation("held-out", samples(test))
    begun = workspace.cycles.begin(actor="ann", held_out_id=held_out.id)
    assert begun is not None
    child = subprocess.Popen([sys.executable, "-c", RUN, str(workspace.root), begun.id])
    deadline = time.monotonic() + 600
    while True:
        cycle = workspace.cycles.get(begun.id)
        if cycle.state is CycleState.TRAINING and cycle.job_id is not None:
            paths = workspace.jobs.paths(cycle.job_id)
            if paths.events.exists():
                break
        assert child.poll() is None, "the cycle ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with pytest.raises(LeaseLostError):
        workspace.cycles.advance(begun.id)
    child.send_signal(signal.SIGKILL)
    child.wait()
    # The training goes down with it, as when the power fails.
    os.kill(int(paths.process.read_text(encoding="utf-8").split()[0]), signal.SIGKILL)

    engine = open_engine(f"sqlite:///{workspace.root / 'misheard.db'}")
    with writing(engine) as connection:
        # What two minutes do.
        connection.execute(update(cycles).values(lease_until=now() - timedelta(seconds=1)))
    ended = Workspace.open(workspace.root).cycles.run(begun.id)

    assert ended.state is CycleState.DEPLOYED, ended.detail
    assert [step.to_state for step in workspace.cycles.steps(begun.id)] == [
        "triggered",
        "dataset",
        "training",
        "converted",
        "validated",
        "regression",
        "deployed",
    ]
    assert workspace.deployments.live().version_id == ended.version_id
    assert len(workspace.deployments.history()) == 2
    assert len(workspace.registry.listed()) == 2
    assert len(workspace.datasets.listed()) == 2
    with engine.connect() as connection:
        assert len(connection.execute(select(jobs)).all()) == 1
        assert len(connection.execute(select(validations)).all()) == 1
