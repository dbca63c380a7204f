"""Memory: kept, since asking for it anew takes a third of the time, or given back."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

# <malloc.h> of glibc. Only all three together help: memory of more than 64 MiB comes from nowhere
# but the main arena or a mapping of its own, and both are handed back at once by default.
_ONE_ARENA = (-8, 1)
_NO_MAPPINGS = (-4, 0)
_NO_TRIMMING = (-1, 2**31 - 1)


def give_back() -> None:
    """Hand what this process has freed back to the system, before something else needs room."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)


@cache
def keep_memory() -> bool:
    """Let this process keep what it has freed, up to 2 GiB, from now on; whether it does.

    A batch in 30-s windows fills some hundred MB with the encoder's attention, and frees them. By
    default glibc gives them back, and the system then clears each page again for the next batch:
    sixteen prompts of 2 s in 30-s windows, batches of four and one thread, took 5.6 s of the
    program and 2.3 s of the system; with this 5.7 s and none. In right-sized windows the system
    takes a few hundredths anyway. The process stays as large as its largest batch made it.

    Nothing is changed beside another C library, or where `MALLOC_…` or `GLIBC_TUNABLES` are set:
    somebody has decided already.
    """
    decided = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if decided or sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(mallopt(*option) for option in (_ONE_ARENA, _NO_MAPPINGS, _NO_TRIMMING))
