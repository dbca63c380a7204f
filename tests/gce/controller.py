"""A process that submits a job and waits for it, as a worker does; made to be killed.

    python -m tests.gce.controller WORKSPACE JOB

Says "event" for each event of the training, and how the job has ended.
"""

from __future__ import annotations

import sys
from pathlib import Path

from misheard.errors import MisheardError
from misheard.finetune.recipe import Recipe
from misheard.workspace import Workspace


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(root: Path, job_id: str) -> int:
    workspace = Workspace.open(root)
    dataset = workspace.datasets.latest("prompts")
    assert dataset is not None
    live = workspace.deployments.live().version_id
    try:
        workspace.jobs.submit(job_id, live, dataset, Recipe())
        job = workspace.jobs.wait(job_id, on_event=lambda _: say("event"))
    except MisheardError as error:
        say(f"{type(error).__name__}: {error}")
        return 1
    say(job.state)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
