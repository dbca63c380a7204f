"""Who says yes: a job waits for approval, then its model waits for approval.

    python examples/approval.py [--workspace DIR]

Nothing is trained here. The job is handed a copy of the live version, as if that had been trained
elsewhere, and the gates are opened wide, so that it gets as far as the second question. At the end
the version from before is live again. Half a minute on 2 cores.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

# The guide's import paths start at the root of the checkout.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from misheard.cycle.states import CycleState
from misheard.errors import MisheardError
from misheard.workspace import Workspace
from src.data.finetuning_coordinator import FinetuningCoordinator
from src.data.finetuning_orchestrator import FinetuningConfig
from src.data.model_validator import ValidationConfig
from src.data.regression_tester import RegressionConfig


def run(directory: Path) -> None:
    """From a proposal to a deployment, with two questions on the way."""
    workspace = Workspace.open(directory)
    workspace.held_out()  # says so where there is nothing to test on
    coordinator = FinetuningCoordinator(
        storage_dir=directory,
        use_gcs=False,
        # The first question; False is the default. `deployment.require_approval` in
        # misheard.toml asks the second, and is on by default, too.
        finetuning_config=FinetuningConfig(auto_approve_finetuning=False),
        # A copy of what is live cannot be better than it, so the gates only measure.
        # Keep the defaults in earnest.
        validation_config=ValidationConfig(min_wer_improvement=-1.0, require_significance=False),
        regression_config=RegressionConfig(run_on_deploy=False),
    )
    orchestrator, cycles = coordinator.orchestrator, coordinator.workspace.cycles
    before = coordinator.deployer.get_active_version()
    assert before is not None, "a workspace has a live version"  # noqa: S101 - for the type checker

    # `force` begins a job whatever the trigger says; `manual_approval=False` lets it wait.
    print("1. A job is begun, and waits:")
    orchestrator.trigger_finetuning(force=True, manual_approval=False)  # None: nothing is prepared
    waiting = orchestrator.list_jobs(status="pending", limit=1)[0]
    coordinator.print_status()

    print(f"\n2. Yes to {waiting.job_id} (reject_job would say no):")
    job = orchestrator.approve_job(waiting.job_id)
    print(f"   its status is '{job.status}', its dataset {job.dataset_id}")

    print("\n3. A model for it, and the gates:")
    files = coordinator.workspace.registry.directory(before.version_id)
    orchestrator.complete_training(job.job_id, files, {"note": "a copy of what is live"})
    cycle = cycles.run(job.job_id)  # as does: misheard cycle run JOB
    print(f"   {cycle.version_id} is {cycle.state}: {cycle.detail}")
    if cycle.state is not CycleState.AWAITING_APPROVAL:
        sys.exit("The gates were to let it through; see above why they did not.")
    coordinator.print_status()

    print(f"\n4. Yes to {cycle.version_id}:")
    print(f"   live is {orchestrator.approve_job(job.job_id).version_id}")
    for entry in workspace.audit.entries(subject=job.job_id):
        print(f"   {entry.created_at:%H:%M:%S} {entry.actor}: {entry.action} {entry.subject}")

    coordinator.deployer.rollback()
    print(f"\nRolled back: {before.version_id} is live, as before.")


def main() -> None:
    """Read the command line."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workspace", type=Path, default=Path("data"), metavar="DIR")
    try:
        run(parser.parse_args().workspace)
    except MisheardError as error:
        sys.exit(f"error: {error}\nThis example needs a workspace that was filled: make demo")


if __name__ == "__main__":
    main()
