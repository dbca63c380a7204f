"""Why a training has ended: what its log says."""

from __future__ import annotations

import sys
from pathlib import Path

from misheard.finetune.paths import JobPaths

_TORCHRUN = "torch.distributed.elastic.multiprocessing."
KILLED = "the process was killed, perhaps for want of memory."


def error_in(log: Path) -> str:
    """The error of the last traceback of the last run; "" when it wrote none.

    torchrun ends with one of its own, which only says that a process has ended, or it itself.
    """
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    _, *tracebacks = text.split("Traceback (most recent call last):")
    ours = [one for one in tracebacks if _TORCHRUN not in one]
    lines = ours[-1].splitlines() if ours else []
    # Frames are indented; what follows the error is of other processes.
    return next((line for line in lines if line.strip() and not line.startswith(" ")), "")


def progress_of(paths: JobPaths) -> int:
    """How far a job has come, in steps that no restart loses."""
    if paths.trained.exists():
        return sys.maxsize
    return max(paths.checkpoints(), default=0)
