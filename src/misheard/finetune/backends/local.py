"""Training in a process of its own on this machine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from misheard.finetune.backends.backend import RunState
from misheard.finetune.order import Order
from misheard.finetune.paths import JobPaths

_GRACE_S = 10.0
ENVIRONMENT = {
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
    # A thread that waits for another sleeps instead of spinning: where the processor is shared with
    # anything else, spinning made a step three times longer, and an idle one is none the worse.
    "OMP_WAIT_POLICY": "PASSIVE",
    # glibc gives each large tensor back to the kernel and asks for it again, page by page: most of
    # the time of a training step. With these it keeps what it will need at once again. The largest,
    # of whole windows, still go back: kept, they would lie between others and be lost to them.
    "MALLOC_MMAP_THRESHOLD_": str(16 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(512 << 20),
    "MALLOC_TOP_PAD_": str(64 << 20),
    # Otherwise each thread that decodes what was trained has memory of its own, beside what the
    # training has freed.
    "MALLOC_ARENA_MAX": "1",
}
"""What a training finds in its environment, unless it is set there already."""


class LocalBackend:
    """A `TrainingBackend` that starts `python -m misheard.finetune.train`."""

    name = "local"

    def __init__(self) -> None:
        # Our own children must be reaped, or they stay visible as zombies.
        self._children: list[subprocess.Popen[bytes]] = []

    def start(self, paths: JobPaths) -> None:
        """See `TrainingBackend`."""
        if self.state(paths) is not RunState.STOPPED:
            return
        shutil.rmtree(paths.temporary, ignore_errors=True)
        paths.temporary.mkdir()
        with paths.log.open("wb") as log:
            child = subprocess.Popen(
                command(paths),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A session of its own: closing the terminal, or Ctrl-C in it, does not end it.
                start_new_session=True,
                env=ENVIRONMENT | os.environ | {"TMPDIR": str(paths.temporary.resolve())},
            )
        self._children.append(child)
        partial = paths.process.with_suffix(".partial")
        partial.write_text(f"{child.pid} {_started_at(child.pid)}", encoding="utf-8")
        partial.rename(paths.process)

    def state(self, paths: JobPaths) -> RunState:
        """See `TrainingBackend`."""
        if paths.result.exists():
            return RunState.SUCCEEDED
        if self._process(paths) is not None:
            return RunState.RUNNING
        # It may have finished between the two looks.
        return RunState.SUCCEEDED if paths.result.exists() else RunState.STOPPED

    def cancel(self, paths: JobPaths) -> None:
        """See `TrainingBackend`."""
        for number, wait_s in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, _GRACE_S)):
            process = self._process(paths)
            if process is None:
                return
            with suppress(ProcessLookupError):
                os.killpg(process, number)
            deadline = time.monotonic() + wait_s
            while self._process(paths) is not None and time.monotonic() < deadline:
                time.sleep(0.05)

    def _process(self, paths: JobPaths) -> int | None:
        """The id of the job's process while it runs."""
        self._children = [child for child in self._children if child.poll() is None]
        try:
            pid, started_at = paths.process.read_text(encoding="utf-8").split()
        except (FileNotFoundError, ValueError):
            return None
        # Numbers are given out again; the start time tells whether it is still ours.
        return int(pid) if _started_at(int(pid)) == started_at else None


def command(paths: JobPaths) -> list[str]:
    """The training program; through torchrun where several processes train together."""
    program = ["-m", "misheard.finetune.train", str(paths.root.resolve())]
    processes = Order.read(paths.order).recipe.processes
    if processes == 1:
        return [sys.executable, *program]
    # Standalone: it finds a free port on this machine by itself.
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return [sys.executable, *torchrun, *program]


def _started_at(pid: int) -> str:
    """Clock ticks since boot at which a process began; "" when it is gone or a zombie.

    Fields 3 and 22 of /proc/PID/stat; see proc_pid_stat(5).
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
