"""What every blob store promises (`misheard.blobs.store.BlobStore`)."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from misheard.blobs.directory import DirectoryBlobs
from misheard.blobs.gcs import GcsBucket
from misheard.blobs.memory import MemoryBlobs
from misheard.blobs.objects import BucketBlobs
from misheard.blobs.s3 import S3Bucket
from misheard.blobs.store import BlobStore
from misheard.errors import BlobNotFoundError
from tests.emulators import GcsEmulator, S3Emulator

ABSENT = "0" * 64


@pytest.fixture(params=["directory", "memory", "gcs", "s3"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> BlobStore:
    if request.param == "directory":
        return DirectoryBlobs(tmp_path / "store")
    if request.param == "memory":
        return MemoryBlobs()
    if request.param == "gcs":
        server: GcsEmulator = request.getfixturevalue("gcs")
        return BucketBlobs(GcsBucket(server.new_bucket(), "blobs", endpoint=server.url))
    moto: S3Emulator = request.getfixturevalue("s3")
    for variable, value in moto.environment.items():
        monkeypatch.setenv(variable, value)
    return BucketBlobs(S3Bucket(moto.new_bucket()))


@pytest.mark.parametrize("data", [b"", b"x", b"\x00" * 3_000_000])
def test_what_is_put_comes_back_under_its_sha_256(store: BlobStore, data: bytes) -> None:
    key = store.put_bytes(data)
    assert key == hashlib.sha256(data).hexdigest()
    assert key in store
    assert store.get_bytes(key) == data


def test_a_file_and_its_bytes_have_the_same_key_and_the_file_stays(
    store: BlobStore, tmp_path: Path
) -> None:
    path = tmp_path / "clip.wav"
    path.write_bytes(b"samples" * 300_000)
    assert store.put_file(path) == store.put_bytes(path.read_bytes())
    assert path.read_bytes() == b"samples" * 300_000


def test_a_range_is_what_lies_there_and_less_where_it_ends(store: BlobStore) -> None:
    key = store.put_bytes(b"0123456789")
    assert store.size_bytes(key) == 10
    assert store.get_range(key, 0, 3) == b"012"
    assert store.get_range(key, 3, 4) == b"3456"
    assert store.get_range(key, 8, 9) == b"89"
    assert store.get_range(key, 10, 1) == b""
    assert store.get_range(key, 4, 0) == b""
    assert store.get_range(store.put_bytes(b""), 0, 5) == b""
    for absent in (ABSENT, "../../etc/passwd"):
        with pytest.raises(BlobNotFoundError):
            store.get_range(absent, 0, 1)
        with pytest.raises(BlobNotFoundError):
            store.size_bytes(absent)


def test_what_has_travelled_is_told_in_bytes(store: BlobStore, tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    path.write_bytes(b"samples" * 1_500_000)  # over the 8 MiB that travel at once
    for _ in range(2):  # what is there already counts as well
        told: list[int] = []
        key = store.put_file(path, sent=told.append)
        assert sum(told) == path.stat().st_size
    told = []
    store.fetch(key, tmp_path / "target", sent=told.append)
    assert sum(told) == path.stat().st_size
    assert store.get_bytes(key) == path.read_bytes()
    store.verify(key)


def test_there_is_nothing_to_sweep(store: BlobStore) -> None:
    key = store.put_bytes(b"content")
    assert store.sweep() == 0
    assert key in store


def test_putting_twice_changes_nothing(store: BlobStore) -> None:
    assert store.put_bytes(b"twice") == store.put_bytes(b"twice")
    assert list(store) == [hashlib.sha256(b"twice").hexdigest()]


def test_the_callers_buffer_may_change_afterwards(store: BlobStore) -> None:
    buffer = bytearray(b"before")
    key = store.put_bytes(buffer)  # type: ignore[arg-type]
    buffer[:] = b"after!"
    assert store.get_bytes(key) == b"before"


def test_all_keys_are_listed(store: BlobStore) -> None:
    keys = {store.put_bytes(bytes([number])) for number in range(50)}
    assert set(store) == keys
    assert len(list(store)) == 50


def test_a_key_that_is_not_there_is_an_error(store: BlobStore, tmp_path: Path) -> None:
    assert ABSENT not in store
    with pytest.raises(BlobNotFoundError):
        store.get_bytes(ABSENT)
    with pytest.raises(BlobNotFoundError):
        store.fetch(ABSENT, tmp_path / "target")


def test_a_fetch_that_fails_leaves_no_file(store: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(BlobNotFoundError):
        store.fetch(ABSENT, tmp_path / "target")
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("key", ["", "x", "../../etc/passwd", "G" * 64, "A" * 64])
def test_what_is_no_key_is_not_there(store: BlobStore, key: str, tmp_path: Path) -> None:
    assert key not in store
    store.delete(key)
    with pytest.raises(BlobNotFoundError):
        store.get_bytes(key)
    with pytest.raises(BlobNotFoundError):
        store.fetch(key, tmp_path / "target")


def test_verify_says_nothing_of_what_is_whole(store: BlobStore) -> None:
    store.verify(store.put_bytes(b"x" * 3_000_000))
    with pytest.raises(BlobNotFoundError):
        store.verify(ABSENT)
    with pytest.raises(BlobNotFoundError):
        store.verify("../../etc/passwd")


def test_fetch_makes_a_file(store: BlobStore, tmp_path: Path) -> None:
    key = store.put_bytes(b"content")
    store.fetch(key, tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"content"


def test_fetch_does_not_overwrite(store: BlobStore, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        store.fetch(store.put_bytes(b"content"), target)
    assert target.read_bytes() == b"mine"


def test_a_deleted_blob_is_gone_and_deleting_again_is_no_error(
    store: BlobStore, tmp_path: Path
) -> None:
    key, other = store.put_bytes(b"content"), store.put_bytes(b"other")
    store.fetch(key, tmp_path / "target")
    store.delete(key)
    store.delete(key)
    assert key not in store
    assert list(store) == [other]
    # What was fetched before stays: a model that is being served is not pulled away.
    assert (tmp_path / "target").read_bytes() == b"content"


def test_many_threads_may_put_the_same_and_different_blobs(store: BlobStore) -> None:
    def put(thread: int) -> None:
        for number in range(30):
            store.put_bytes(b"shared %d" % number)
            store.put_bytes(b"own %d %d" % (thread, number))

    threads = [threading.Thread(target=put, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    keys = list(store)
    assert len(keys) == len(set(keys)) == 30 + 4 * 30
    assert all(hashlib.sha256(store.get_bytes(key)).hexdigest() == key for key in keys)
