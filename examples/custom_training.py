"""Training of your own: a callback is given a job, and hands a model back.

    python examples/custom_training.py [--workspace DIR]

The callback here is a real fine-tune, made small: misheard's training program in a process of its
own, on the first eight clips of the job's dataset, for one epoch. So few clips teach nothing, and
the gate says so: expect a refusal. Under a minute on 2 cores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

# The guide's import paths start at the root of the checkout.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from misheard.errors import MisheardError
from misheard.finetune.order import Order
from misheard.finetune.paths import JobPaths
from misheard.finetune.recipe import Recipe
from misheard.workspace import Workspace
from src.data.finetuning_coordinator import FinetuningCoordinator
from src.data.finetuning_orchestrator import FinetuningJob

CLIPS = 8


def run(directory: Path) -> None:
    """One workflow, trained by the callback."""
    workspace = Workspace.open(directory)
    workspace.held_out()  # says so where there is nothing to test on
    coordinator = FinetuningCoordinator(storage_dir=directory, use_gcs=False)

    def train(job: FinetuningJob, params: dict[str, Any]) -> bool:
        """Start a training; True when it was started.

        Yours may start a run on another machine and return at once: the job then waits until that
        run calls `complete_training`. This one waits for it.
        """
        print(f"{job.job_id}: dataset {job.dataset_id}, parameters {params}")
        with tempfile.TemporaryDirectory(prefix="training-") as folder:
            paths = JobPaths(Path(folder))
            figures = _fine_tune(workspace, job, Recipe(**params), paths)
            # The files are copied in, so the folder may go.
            return coordinator.orchestrator.complete_training(job.job_id, paths.model, figures)

    coordinator.set_training_callback(train)
    workflow = coordinator.run_complete_workflow(
        force_trigger=True,
        training_params={"epochs": 1, "batch_size": 2},
        auto_deploy=False,
    )
    print(f"{workflow['job_id']}: {workflow['status']}: {workflow['message']}")
    if workflow["error"]:
        sys.exit(1)


def _fine_tune(
    workspace: Workspace, job: FinetuningJob, recipe: Recipe, paths: JobPaths
) -> dict[str, Any]:
    """misheard's training program on a few clips; what it reports."""
    dataset = workspace.datasets.get(str(job.dataset_id))
    # A .jsonl a split, and the audio: any training program can read it.
    workspace.datasets.export(dataset, paths.data)
    for split, most in (("train", CLIPS), ("validation", 0)):
        listed = paths.data / f"{split}.jsonl"
        lines = listed.read_text(encoding="utf-8").split("\n")[:most]
        listed.write_text("".join(f"{line}\n" for line in lines if line), encoding="utf-8")
    live = workspace.deployments.live().version_id
    paths.base.symlink_to(workspace.registry.directory(live).resolve())
    order = Order(
        base_name=live,
        dataset_id=dataset.id,
        normalizer=workspace.settings.scoring.normalizer,
        language=workspace.settings.speech.language,
        recipe=recipe,
    )
    order.write(paths.order)
    command = [sys.executable, "-m", "misheard.finetune.train", str(paths.root)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        # Whatever the callback raises becomes the reason why the job failed.
        raise RuntimeError(done.stderr.strip().rpartition("\n")[2])
    figures: dict[str, Any] = json.loads(paths.result.read_text(encoding="utf-8"))
    return figures


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workspace", type=Path, default=Path("data"), metavar="DIR")
    try:
        run(parser.parse_args().workspace)
    except MisheardError as error:
        sys.exit(f"error: {error}\nThis example needs a workspace that was filled: make demo")


if __name__ == "__main__":
    main()
