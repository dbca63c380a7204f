"""A bucket in front of the directory that a workspace had before."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from misheard.blobs.deferred import DeferredBlobs
from misheard.blobs.directory import DirectoryBlobs
from misheard.blobs.layered import LayeredBlobs
from misheard.blobs.memory import MemoryBlobs, MemoryBucket
from misheard.blobs.objects import BucketBlobs
from misheard.blobs.store import BlobStore
from misheard.blobs.together import Presence, delete_all, get_all, put_missing
from misheard.errors import BlobCorruptError, BlobNotFoundError, BucketUnavailableError

ABSENT = "0" * 64


@pytest.fixture
def near(tmp_path: Path) -> DirectoryBlobs:
    return DirectoryBlobs(tmp_path / "near")


@pytest.fixture
def far() -> BucketBlobs:
    return BucketBlobs(MemoryBucket())


@pytest.fixture
def both(far: BucketBlobs, near: DirectoryBlobs) -> LayeredBlobs:
    return LayeredBlobs(far, near)


def unreachable() -> BlobStore:
    raise BucketUnavailableError("It is away.")


def damage(near: DirectoryBlobs, key: str) -> None:
    path = near.path(key)
    path.chmod(0o644)
    path.write_bytes(b"something else")


def test_what_is_new_is_in_the_bucket_alone(
    both: LayeredBlobs, far: BucketBlobs, near: DirectoryBlobs, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"of a file")
    keys = {both.put_bytes(b"bytes"), both.put_file(tmp_path / "file")}
    assert set(far) == keys
    assert list(near) == []


def test_what_was_here_before_is_read_without_the_bucket(
    near: DirectoryBlobs, tmp_path: Path
) -> None:
    both = LayeredBlobs(DeferredBlobs(unreachable), near)
    key = near.put_bytes(b"old")
    assert key in both
    assert (both.get_bytes(key), both.get_range(key, 1, 1)) == (b"old", b"l")
    assert both.size_bytes(key) == 3
    both.fetch(key, tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"old"


def test_what_is_not_here_asks_for_the_bucket_and_says_why_that_cannot_be(
    near: DirectoryBlobs,
) -> None:
    both = LayeredBlobs(DeferredBlobs(unreachable), near)
    for call in (both.get_bytes, both.delete, both.verify, both.size_bytes):
        with pytest.raises(BucketUnavailableError, match="It is away"):
            call(ABSENT)


def test_a_store_is_opened_once_and_only_when_it_is_needed() -> None:
    opened: list[BlobStore] = []

    def opening() -> BlobStore:
        opened.append(MemoryBlobs())
        return opened[-1]

    store = DeferredBlobs(opening)
    assert opened == []
    assert store.get_bytes(store.put_bytes(b"x")) == b"x"
    assert len(opened) == 1


def test_a_store_that_could_not_be_opened_is_tried_again() -> None:
    tried: list[int] = []

    def opening() -> BlobStore:
        tried.append(1)
        return unreachable() if len(tried) == 1 else MemoryBlobs()

    store = DeferredBlobs(opening, again_s=0)
    with pytest.raises(BucketUnavailableError):
        list(store)
    assert list(store) == []


def test_many_who_want_a_store_that_cannot_be_opened_wait_for_one_attempt() -> None:
    tried: list[int] = []

    def opening() -> BlobStore:
        tried.append(1)
        time.sleep(0.2)
        return unreachable()

    with pytest.raises(BucketUnavailableError, match="It is away"):
        # It has not become time for another attempt, however late the last of them comes.
        delete_all(DeferredBlobs(opening, again_s=600), [f"{n:064x}" for n in range(100)])
    assert len(tried) == 1


def test_a_copy_here_that_is_damaged_is_read_from_the_bucket(
    both: LayeredBlobs, far: BucketBlobs, near: DirectoryBlobs, tmp_path: Path
) -> None:
    key = near.put_bytes(b"content")
    far.put_bytes(b"content")
    damage(near, key)
    assert both.get_bytes(key) == b"content"
    both.fetch(key, tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"content"
    with pytest.raises(BlobCorruptError):
        both.verify(key)


def test_a_damaged_copy_that_is_the_only_one_is_an_error(
    both: LayeredBlobs, near: DirectoryBlobs, tmp_path: Path
) -> None:
    key = near.put_bytes(b"content")
    damage(near, key)
    with pytest.raises((BlobCorruptError, BlobNotFoundError)):
        both.get_bytes(key)
    with pytest.raises((BlobCorruptError, BlobNotFoundError)):
        both.fetch(key, tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_verifying_looks_at_the_copy_in_the_bucket_too(near: DirectoryBlobs) -> None:
    bucket = MemoryBucket()
    both = LayeredBlobs(BucketBlobs(bucket), near)
    key = near.put_bytes(b"content")
    both.verify(key)
    bucket.put(f"{key[:2]}/{key}", b"something else")
    with pytest.raises(BlobCorruptError):
        both.verify(key)


def test_each_key_is_told_once_and_deleted_in_both(
    both: LayeredBlobs, far: BucketBlobs, near: DirectoryBlobs
) -> None:
    key, here, there = near.put_bytes(b"both"), near.put_bytes(b"here"), far.put_bytes(b"there")
    far.put_bytes(b"both")
    assert sorted(both) == sorted([key, here, there])
    for one in (key, here, there):
        both.delete(one)
    assert (list(near), list(far)) == ([], [])


def test_what_is_only_here_is_put_in_the_bucket_where_others_find_it(
    both: LayeredBlobs, far: BucketBlobs, near: DirectoryBlobs
) -> None:
    key = near.put_bytes(b"recording")
    put_missing(both, {key: lambda: b"recording"})
    assert list(far) == [key]


@pytest.mark.parametrize("count", [3, 1_200])
def test_many_are_put_read_looked_up_and_deleted_together(count: int) -> None:
    store = BucketBlobs(MemoryBucket())
    data = {store.put_bytes(b"%d" % n): b"%d" % n for n in range(0, count, 2)}
    read: list[str] = []
    texts = [b"%d" % n for n in range(count)]
    by_key = {MemoryBlobs().put_bytes(one): one for one in texts}

    def reading(key: str) -> bytes:
        read.append(key)
        return by_key[key]

    put_missing(store, {key: lambda key=key: reading(key) for key in by_key})  # type: ignore[misc]
    # What was there already was not read.
    assert set(read) == by_key.keys() - data.keys()
    assert get_all(store, list(by_key)) == texts
    looked = Presence(store)
    assert looked.of([*by_key, ABSENT, "no key"]) == by_key.keys()
    # What came since all were listed is found as well.
    later = store.put_bytes(b"later")
    assert looked.of([later]) == {later}
    delete_all(store, by_key)
    assert list(store) == [later]
