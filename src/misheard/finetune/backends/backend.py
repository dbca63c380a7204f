"""The contract of every place where a job can run."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from misheard.finetune.paths import JobPaths


class RunState(StrEnum):
    """What a back end knows of a job."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    STOPPED = "stopped"
    """Not running, and without a result: failed, killed, cancelled or never started."""

    @property
    def is_final(self) -> bool:
        """Whether waiting longer changes nothing."""
        return self is not RunState.RUNNING


class TrainingBackend(Protocol):
    """Runs the training program on the files of a job.

    The job's directory is complete when `start` is called (`JobPaths.order` is there). A job has
    succeeded when `JobPaths.result` is there; nothing else says so. State is read from the
    directory, so that any process may ask, also after a restart.
    """

    @property
    def name(self) -> str:
        """As the settings call it."""
        ...

    def start(self, paths: JobPaths) -> None:
        """Start the job; nothing happens when it is running or done."""
        ...

    def state(self, paths: JobPaths) -> RunState:
        """Where the job stands."""
        ...

    def cancel(self, paths: JobPaths) -> None:
        """Stop the job and wait until it has stopped; nothing happens when it is not running."""
        ...
