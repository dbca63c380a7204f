"""One process that decodes the files of strangers, and can do nothing else.

Started by `decoders.py` as `python -m misheard.serving.decoder ORDER`. Files come in on standard
input, samples leave on standard output. Once it is ready the kernel lets it open no file and no
connection any more, write to none, and take no more memory than it may.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import resource
import signal
import struct
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from misheard import audio
from misheard.errors import (
    AudioDamagedError,
    AudioTooLongError,
    AudioTooShortError,
    BadInputError,
    DecodingTimedOutError,
    EmptyAudioError,
    InvalidSamplesError,
    NotAudioError,
    UnsupportedAudioError,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

REQUEST = struct.Struct("<HQ")
"""The lengths of a name and of a file; both follow."""
ANSWER = struct.Struct("<BQ")
"""What it is, and its length; it follows. 0: samples, as 32-bit floats. n: the detail of the n-th
of `REFUSALS`, as UTF-8."""
READY = b"\x00"
REFUSALS: tuple[type[BadInputError], ...] = (
    NotAudioError,
    EmptyAudioError,
    InvalidSamplesError,
    AudioDamagedError,
    AudioTooLongError,
    AudioTooShortError,
    UnsupportedAudioError,
    DecodingTimedOutError,
)
MAX_DETAIL_BYTES = 1_000
_SHORT_S = 0.1
"""What takes longer has taken memory that short clips do not need."""

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a decoder is started with."""

    parent: int
    """The process that it ends with."""
    limits: audio.AudioLimits
    max_decode_s: float
    memory_bytes: int

    def to_json(self) -> str:
        """As an argument of the command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Order:
        """What `to_json` wrote."""
        given = json.loads(text)
        return cls(**given | {"limits": audio.AudioLimits(**given["limits"])})


def main() -> None:
    """Decode one file after the other until standard input ends."""
    order = Order.from_json(sys.argv[1])
    _end_with(order.parent)
    # What a library prints must not get between the samples.
    with os.fdopen(os.dup(1), "wb") as out, os.fdopen(0, "rb", closefd=False) as into:
        os.dup2(2, 1)
        _load_everything(order.limits)
        _shut_in(order.memory_bytes)
        out.write(READY)
        out.flush()
        while head := into.read(REQUEST.size):
            name_bytes, size = REQUEST.unpack(head)
            name = into.read(name_bytes).decode()
            _limit_cpu(order.max_decode_s)
            begun_s = time.process_time()
            _answer(out, into.read(size), name, order.limits)
            if time.process_time() - begun_s > _SHORT_S:
                _return_memory()


def _answer(out: BinaryIO, data: bytes, name: str, limits: audio.AudioLimits) -> None:
    kind, body = 0, b""
    pieces: list[NDArray[np.float32]] = []
    try:
        pieces = audio.pieces_of(data, name=name, limits=limits)
    except MemoryError:
        kind, body = REFUSALS.index(DecodingTimedOutError) + 1, f"'{name}' is too large.".encode()
    except REFUSALS as error:
        kind = REFUSALS.index(type(error)) + 1
        body = error.detail.encode(errors="replace")[:MAX_DETAIL_BYTES]
    out.write(ANSWER.pack(kind, len(body) + sum(piece.nbytes for piece in pieces)))
    out.write(body)
    for piece in pieces:
        out.write(piece.data)
    out.flush()


def _end_with(parent: int) -> None:
    """Have the kernel end this process with the thread that started it; see prctl(2)."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the server is gone")


def _load_everything(limits: audio.AudioLimits) -> None:
    """Go all the ways of decoding once: afterwards nothing can be loaded any more."""
    silence = audio.encode_wav(np.zeros(8_000, np.float32), 8_000)
    frames_of_amr = b"#!AMR\n" + (b"\x04" + bytes(12)) * 25
    for clip in (silence, frames_of_amr):
        with suppress(BadInputError):
            audio.pieces_of(clip, limits=limits)


def _shut_in(memory_bytes: int) -> None:
    """Take away what decoding does not need; see setrlimit(2)."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - no import of pathlib
        taken = int(file.read().split()[0]) * resource.getpagesize()
    for what, most in (
        (resource.RLIMIT_AS, taken + memory_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (least, least))


def _return_memory() -> None:
    """To the kernel, where the C library keeps what a large file needed; see malloc_trim(3)."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def _limit_cpu(seconds: float) -> None:
    """End this process, should its server be too busy to: by the time it has computed so long."""
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    most = math.ceil(time.process_time() + seconds) + 1
    least = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (least, hard))


if __name__ == "__main__":
    main()
