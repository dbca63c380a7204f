"""Many small blobs in one call: at once where each of them is waited for, as in a bucket."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from misheard.blobs.layered import LayeredBlobs
from misheard.blobs.store import BlobStore, is_key

_LISTED_FROM = 1_000
"""So many keys are looked up quicker in a list of all than one by one."""
Item = TypeVar("Item")
Made = TypeVar("Made")


def stores_of(blobs: BlobStore, model_blobs: BlobStore | None) -> tuple[BlobStore, ...]:
    """Each store once: files of models may be in the same one as all else."""
    if model_blobs is None or model_blobs is blobs:
        return (blobs,)
    return (blobs, model_blobs)


class Presence:
    """Tells which keys are there, of any number in portions."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store
        self._listed: set[bytes] | None = None

    def of(self, keys: Collection[str]) -> set[str]:
        """Which of `keys` are there."""
        is_long = self._store.at_once > 1 and len(keys) >= _LISTED_FROM
        if is_long and self._listed is None:
            self._listed = {bytes.fromhex(key) for key in self._store}
        listed = self._listed or set()
        found = {key for key in keys if is_key(key) and bytes.fromhex(key) in listed}
        # What came while all were listed is in no list.
        left = sorted(set(keys) - found)
        return found | {
            key for key, is_there in each(self._store, self._store.__contains__, left) if is_there
        }


def present(store: BlobStore, keys: Collection[str]) -> set[str]:
    """Which of `keys` are there."""
    return Presence(store).of(keys)


def written_to(store: BlobStore) -> BlobStore:
    """The store that has to have what rows name: others do not see a directory of this machine."""
    return store.far if isinstance(store, LayeredBlobs) else store


def absent_from(*stores: BlobStore) -> Callable[[Collection[str]], set[str]]:
    """Tells which keys none of the stores has, though they may be on their way to a bucket.

    None, where all are directories: to those nothing is long on its way.
    """
    if all(store.at_once == 1 for store in stores):
        return lambda _: set()
    return lambda keys: set(keys).difference(*(present(store, keys) for store in stores))


def put_missing(store: BlobStore, read: Mapping[str, Callable[[], bytes]]) -> None:
    """Put what is not there; `read` gives the content of a key, and is called only for those.

    What others are to find has to be where it is written, not only in a directory of this machine.
    """
    written = written_to(store)

    def put(key: str) -> None:
        if key not in written:
            written.put_bytes(read[key]())

    for _ in each(store, put, list(read)):
        pass


def get_all(store: BlobStore, keys: Sequence[str]) -> list[bytes]:
    """The content of each."""
    return [data for _, data in each(store, store.get_bytes, keys)]


def require_reachable(*stores: BlobStore) -> None:
    """Raise as a store that cannot be reached does: before a lock is held for what needs it."""
    for store in stores:
        "0" * 64 in store  # noqa: B015 - what it says does not matter


def delete_all(store: BlobStore, keys: Collection[str]) -> None:
    """Forget blobs."""
    for _ in each(store, store.delete, list(keys)):
        pass


def each(
    store: BlobStore, call: Callable[[Item], Made], items: Sequence[Item]
) -> Iterator[tuple[Item, Made]]:
    """What `call` makes of each, in order; the first error ends it, and nothing more is begun."""
    lanes = min(store.at_once, len(items))
    if lanes <= 1:
        for item in items:
            yield item, call(item)
        return
    with _pool(lanes) as pool:
        yield from zip(items, pool.map(call, items), strict=True)


@contextmanager
def _pool(lanes: int) -> Iterator[Executor]:
    pool = ThreadPoolExecutor(lanes, thread_name_prefix="blobs")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
