"""Decodes the files of strangers in processes that may be killed.

A decoder written in C may be led astray by a file that was made for it: to compute for ever, to
take all memory, to crash, or to do what the file says. Here that meets a process that holds
nothing but the file, can open nothing, and is replaced. What it sends back is never more than
numbers and a line of text; see `decoder.py` for the protocol.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import select
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, cast

import numpy as np

from misheard.audio import SAMPLE_RATE_HZ, Audio, AudioLimits, sha256_of
from misheard.errors import DecoderUnavailableError, DecodingTimedOutError
from misheard.serving import decoder

_log = logging.getLogger("misheard.serving")

_START_S = 60.0
"""Within which a decoder must be ready, also on a machine that is busy."""
_FILES_PER_PROCESS = 1_000
"""Then it is replaced: what files may have left behind goes with it."""
_PIPE_BYTES = 1 << 18
_MAX_NAME_CHARACTERS = 200
_STOPPING = "The server is stopping."
_HANDED_ON = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL")
"""Of the server's environment: no password that it knows."""
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # Memory of a clip's size is kept for the next clip: to take it from the kernel anew doubles
    # the time of a short one.
    "MALLOC_MMAP_THRESHOLD_": "8388608",
    "MALLOC_TRIM_THRESHOLD_": "8388608",
}


@dataclass(frozen=True, kw_only=True)
class DecoderRules:
    """How files of strangers are decoded."""

    processes: int
    """So many files at a time; others wait."""
    limits: AudioLimits
    max_decode_s: float
    """For one file, by the clock; then its process is killed."""
    memory_mb: int = 512
    """For one file, beside the samples of the longest recording that is taken."""

    @property
    def most_bytes(self) -> int:
        """Of the samples of a recording; resampling rounds up."""
        return 4 * (math.ceil(self.limits.max_duration_s * SAMPLE_RATE_HZ) + SAMPLE_RATE_HZ)


class Decoders:
    """A pool of decoder processes; to be used from any event loop or thread."""

    def __init__(self, *, rules: DecoderRules) -> None:
        self._rules = rules
        self._closed = False
        self._own = threading.local()
        self._running: set[_Process] = set()
        # The kernel ends a decoder with the thread that started it, so each thread has its own.
        self._threads = ThreadPoolExecutor(rules.processes, thread_name_prefix="decoder")
        for _ in range(rules.processes):
            self._threads.submit(self._process)

    async def decode(self, data: bytes, *, name: str = "audio") -> Audio:
        """Decode a file's bytes; waits while all processes are busy.

        Raises what `audio.decode` raises with limits, `DecodingTimedOutError` when it takes too
        long, too much memory or the life of the process, and `DecoderUnavailableError`.
        """
        if self._closed:
            raise DecoderUnavailableError(_STOPPING)
        return await asyncio.wrap_future(self._threads.submit(self._decode, data, name))

    @property
    def pids(self) -> set[int]:
        """The processes that run now."""
        return {process.pid for process in list(self._running)}

    def close(self) -> None:
        """End the processes; what waits or is being decoded is given up."""
        self._closed = True
        for process in list(self._running):
            process.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in list(self._running):
            process.close()

    def _decode(self, data: bytes, name: str) -> Audio:
        rules = self._rules
        process = self._process()
        deadline = time.monotonic() + rules.max_decode_s
        try:
            process.send(data, name[:_MAX_NAME_CHARACTERS], deadline)
            sha256 = sha256_of(data)
            kind, body = process.answer(rules.most_bytes, deadline)
        except TimeoutError as error:
            self._lose(process)
            raise DecodingTimedOutError(
                f"'{name}' was not decoded within {rules.max_decode_s:g} s. Convert it to WAV or "
                "FLAC, or send it in pieces."
            ) from error
        except _LostError as error:
            self._lose(process)
            if self._closed:
                raise DecoderUnavailableError(_STOPPING) from error
            _log.warning("A decoder %s on a file of %d bytes.", error, len(data))
            raise DecodingTimedOutError(
                f"Its decoder ended on '{name}'. Convert it to WAV or FLAC first."
            ) from error
        if process.files >= _FILES_PER_PROCESS:
            self._lose(process)
        if kind:
            raise decoder.REFUSALS[kind - 1](body.decode(errors="replace"))
        samples = np.frombuffer(body, np.float32)
        samples.flags.writeable = False
        return Audio(samples=samples, sha256=sha256)

    def _process(self) -> _Process:
        """The decoder of this thread, a new one when it has none or when that has ended."""
        process: _Process | None = getattr(self._own, "process", None)
        if process is not None and process.has_ended():
            self._lose(process)
            process = None
        if process is None:
            if self._closed:
                raise DecoderUnavailableError(_STOPPING)
            process = self._own.process = _Process(self._rules)
            self._running.add(process)
            if self._closed:
                process.kill()
        return process

    def _lose(self, process: _Process) -> None:
        process.close()
        self._running.discard(process)
        self._own.process = None


class _LostError(Exception):
    """A decoder has ended, or sends what no decoder sends."""


class _Process:
    """One decoder process, of the thread that made it."""

    def __init__(self, rules: DecoderRules) -> None:
        self.files = 0
        order = decoder.Order(
            parent=os.getpid(),
            limits=rules.limits,
            max_decode_s=rules.max_decode_s,
            memory_bytes=rules.memory_mb * 1_000_000 + rules.most_bytes,
        )
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", "misheard.serving.decoder", order.to_json()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                pipesize=_PIPE_BYTES,
                # Ctrl-C is the server's to deal with: it lets requests in flight finish.
                start_new_session=True,
                env={name: os.environ[name] for name in _HANDED_ON if name in os.environ}
                | _ENVIRONMENT,
            )
        except OSError as error:
            raise DecoderUnavailableError(f"{error.strerror}.") from error
        self._pipes = [cast("IO[bytes]", self._child.stdin), cast("IO[bytes]", self._child.stdout)]
        self._into, self._out = (pipe.fileno() for pipe in self._pipes)
        os.set_blocking(self._into, False)
        os.set_blocking(self._out, False)
        try:
            ready = self._read(len(decoder.READY), time.monotonic() + _START_S)
        except (TimeoutError, _LostError) as error:
            self.close()
            raise DecoderUnavailableError(f"A new one {error}.") from error
        if ready != decoder.READY:
            self.close()
            raise DecoderUnavailableError("A new one did not report for work.")

    @property
    def pid(self) -> int:
        """As the kernel knows it."""
        return self._child.pid

    def has_ended(self) -> bool:
        """Whether it was killed, say by the kernel when memory ran out."""
        return self._child.poll() is not None

    def kill(self) -> None:
        """End it, whatever it is doing."""
        self._child.kill()
        self._child.wait()

    def close(self) -> None:
        """End it and let go of its pipes; by the thread that uses them, or after that has ended."""
        self.kill()
        for pipe in self._pipes:
            pipe.close()

    def send(self, data: bytes, name: str, deadline: float) -> None:
        """Give it a file to decode.

        Raises `TimeoutError` at `deadline` (of `time.monotonic`), or `_LostError`.
        """
        self.files += 1
        called = name.encode(errors="replace")
        self._write(decoder.REQUEST.pack(len(called), len(data)) + called, deadline)
        self._write(data, deadline)

    def answer(self, most_bytes: int, deadline: float) -> tuple[int, bytearray]:
        """Which kind of answer it gives, and its body. Raises as `send` does."""
        kind, size = decoder.ANSWER.unpack(self._read(decoder.ANSWER.size, deadline))
        if kind > len(decoder.REFUSALS) or size > (
            decoder.MAX_DETAIL_BYTES if kind else most_bytes
        ):
            raise _LostError(f"sent an answer of kind {kind} and {size} bytes")
        body = self._read(size, deadline)
        if kind == 0 and (size % 4 or not np.isfinite(np.frombuffer(body, np.float32)).all()):
            raise _LostError("sent samples that are no numbers")
        return kind, body

    def _write(self, data: bytes, deadline: float) -> None:
        rest = memoryview(data)
        while rest:
            self._wait(self._into, select.POLLOUT, deadline)
            try:
                rest = rest[os.write(self._into, rest) :]
            except BrokenPipeError as error:
                raise _LostError(self._end()) from error

    def _read(self, size: int, deadline: float) -> bytearray:
        body = bytearray(size)
        rest = memoryview(body)
        while rest:
            self._wait(self._out, select.POLLIN, deadline)
            count = os.readv(self._out, [rest])
            if count == 0:
                raise _LostError(self._end())
            rest = rest[count:]
        return body

    def _wait(self, file: int, event: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(file, event)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1_000):
            raise TimeoutError("is not ready in time")

    def _end(self) -> str:
        """How it ended. One that only shut its pipes would be waited for in vain."""
        try:
            return f"ended with exit status {self._child.wait(timeout=1.0)}"
        except subprocess.TimeoutExpired:
            return "shut its pipes"
