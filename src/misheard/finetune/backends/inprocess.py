"""Training in this very process: for tests and notebooks."""

from __future__ import annotations

import traceback

from misheard.finetune.backends.backend import RunState
from misheard.finetune.paths import JobPaths


class InProcessBackend:
    """A `TrainingBackend` whose `start` returns when training has ended."""

    name = "inprocess"

    def start(self, paths: JobPaths) -> None:
        """See `TrainingBackend`."""
        if self.state(paths) is RunState.SUCCEEDED:
            return
        from misheard.finetune.train import TrainingRun  # noqa: PLC0415 - torch

        try:
            TrainingRun(paths).run()
        except Exception:  # noqa: BLE001 - as in a process of its own, the log says why it stopped
            paths.log.write_text(traceback.format_exc(), encoding="utf-8")

    def state(self, paths: JobPaths) -> RunState:
        """See `TrainingBackend`."""
        return RunState.SUCCEEDED if paths.result.exists() else RunState.STOPPED

    def cancel(self, paths: JobPaths) -> None:
        """See `TrainingBackend`; nothing runs between two calls."""
