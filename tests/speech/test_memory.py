from __future__ import annotations

import platform
import subprocess
import sys

import pytest

ASK = "from misheard.speech.memory import keep_memory; print(keep_memory())"
LIBC = """
import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
"""
FAULTS = (
    LIBC
    + """
import resource, sys
if sys.argv[1] == "keep":
    from misheard.speech.memory import keep_memory
    assert keep_memory()
def fill():
    block = libc.malloc(100 << 20)
    libc.memset(block, 1, 100 << 20)
    libc.free(block)
fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
)

HELD = (
    LIBC
    + """
from misheard.speech.memory import give_back, keep_memory
assert keep_memory()
def held_mb():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4 // 1024
block = libc.malloc(200 << 20)
libc.memset(block, 1, 200 << 20)
after = libc.malloc(1 << 20)  # so that what is freed does not lie at the end
libc.free(block)
before = held_mb()
give_back()
print(before - held_mb())
"""
)

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc")


def run(code: str, *arguments: str, **environment: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={"PATH": "", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return ended.stdout.strip()


@glibc
def test_freed_memory_is_there_for_the_next_batch() -> None:
    """100 MB are 25,600 pages: asked for anew, or still there."""
    assert int(run(FAULTS, "leave")) > 20_000
    assert int(run(FAULTS, "keep")) < 1_000


@glibc
@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_what_somebody_has_set_stays(name: str) -> None:
    assert run(ASK) == "True"
    assert run(ASK, **{name: "4" if name != "GLIBC_TUNABLES" else ""}) == "False"


@glibc
def test_what_was_freed_goes_back_when_somebody_else_needs_room() -> None:
    assert int(run(HELD)) >= 190
