"""Run a program that ends when its parent does: `python -m … PARENT_PID PROGRAM ARGUMENT …`.

Were whoever watches a training killed, the training would go on unwatched, and beside the one that
is started next.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_NAME = "misheard.finetune.rented.tied"
_PR_SET_PDEATHSIG = 1


def tied(command: list[str]) -> list[str]:
    """The command that runs `command` tied to the process, and the thread, that starts it."""
    return [sys.executable, "-m", _NAME, str(os.getpid()), *command]


def main(arguments: list[str]) -> None:
    """Become the program; the kernel keeps the wish of PR_SET_PDEATHSIG, see prctl(2)."""
    parent, *command = arguments
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        sys.exit("whoever started this is gone")
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
