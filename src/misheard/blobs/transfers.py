"""Many blobs at once, in threads."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from misheard.blobs.bucket import Sent, unwatched
from misheard.blobs.store import BlobStore
from misheard.errors import BlobCorruptError

THREADS = 8
_ASKING_EACH = 20
"""Up to so many keys it is cheaper to ask for each than to list a whole store."""
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Copied:
    """What a copy came to."""

    blobs: int
    """How many travelled."""
    size_bytes: int
    there: int
    """How many the target had already."""


def fetch_all(
    store: BlobStore,
    keys: Mapping[Path, str],
    progress: Sent = unwatched,
    *,
    threads: int = THREADS,
) -> None:
    """Fetch the blob of each key as a file at its target; folders are made.

    Targets that are there already stay and are not looked at: each appears whole. So after an
    error, or a kill, the same call goes on. The first error stops the rest and is raised.
    """
    missing = [(target, key) for target, key in keys.items() if not target.exists()]
    for folder in {target.parent for target, _ in missing}:
        folder.mkdir(parents=True, exist_ok=True)

    def fetch(one: tuple[Path, str], sent: Sent) -> None:
        # A thread of an earlier call, which nobody waits for, may have been faster.
        with suppress(FileExistsError):
            store.fetch(one[1], one[0], sent=sent)

    in_threads(missing, fetch, progress, threads)


def put_all(
    store: BlobStore,
    paths: Sequence[Path],
    progress: Sent = unwatched,
    *,
    threads: int = THREADS,
) -> list[str]:
    """Put the files; their keys in the same order. The first error stops the rest and is raised."""
    return in_threads(
        list(paths), lambda path, sent: store.put_file(path, sent=sent), progress, threads
    )


def missing_from(store: BlobStore, keys: Iterable[str]) -> list[str]:
    """Which of the keys the store does not have, in order, each once.

    Asks for each, or lists the store once, whichever is less.
    """
    wanted = list(dict.fromkeys(keys))
    if len(wanted) <= _ASKING_EACH:
        return [key for key in wanted if key not in store]
    there = set(store)
    return [key for key in wanted if key not in there]


def copy_missing(
    source: BlobStore,
    target: BlobStore,
    keys: Iterable[str],
    progress: Sent = unwatched,
    *,
    threads: int = THREADS,
) -> Copied:
    """Copy what `target` lacks; what arrives is verified on its way.

    Interrupted, the next call goes on. `BlobNotFoundError` where `source` lacks one, and
    `BlobCorruptError` where it has another content: nothing is put then. The first error stops
    the rest and is raised.
    """
    wanted = list(dict.fromkeys(keys))
    missing = missing_from(target, wanted)

    # Threads that nobody waits for after an error may still be writing there.
    with TemporaryDirectory(prefix="misheard-copy-", ignore_cleanup_errors=True) as folder:

        def copy(key: str, sent: Sent) -> int:
            path = Path(folder) / key
            try:
                source.fetch(key, path, sent=lambda _: sent(0))
                size_bytes = path.stat().st_size
                if target.put_file(path, sent=sent) != key:
                    raise BlobCorruptError(f"{key} has changed on its way.")
                return size_bytes
            finally:
                path.unlink(missing_ok=True)

        sizes = in_threads(missing, copy, progress, threads)
    return Copied(blobs=len(missing), size_bytes=sum(sizes), there=len(wanted) - len(missing))


class _StoppedError(Exception):
    """Somebody else has failed, or was interrupted."""


def in_threads(
    work: Sequence[T], do: Callable[[T, Sent], R], progress: Sent, threads: int
) -> list[R]:
    """Do it for each, in threads; results in the order of the work.

    Nobody waits for the threads after an error or Ctrl-C: they end at their next bytes.
    """
    waiting = queue.SimpleQueue[tuple[int, T]]()
    for one in enumerate(work):
        waiting.put(one)
    done = queue.SimpleQueue[tuple[int, R | BaseException]]()
    stopped, lock = threading.Event(), threading.Lock()

    def sent(size_bytes: int) -> None:
        if stopped.is_set():
            raise _StoppedError
        with lock:
            progress(size_bytes)

    def run() -> None:
        while not stopped.is_set():
            try:
                number, item = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((number, do(item, sent)))
            except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
                done.put((number, error))
                return

    for _ in range(min(threads, len(work))):
        threading.Thread(target=run, name="transfer", daemon=True).start()
    results: dict[int, R] = {}
    try:
        while len(results) < len(work):
            number, result = done.get()
            if isinstance(result, BaseException):
                raise result
            results[number] = result
    finally:
        stopped.set()
    return [results[number] for number in range(len(work))]
