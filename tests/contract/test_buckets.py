"""What every bucket promises (`misheard.blobs.bucket.Bucket`)."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from misheard.blobs.bucket import Bucket
from misheard.blobs.gcs import GcsBucket
from misheard.blobs.memory import MemoryBucket
from misheard.blobs.s3 import S3Bucket
from misheard.errors import (
    BlobCorruptError,
    BlobNotFoundError,
    BucketUnavailableError,
    ObjectChangedError,
    ObjectExistsError,
)
from tests.emulators import GcsEmulator, S3Emulator

LARGE = bytes(range(256)) * 5_000  # 1.28 MB: three pieces
SMALL: dict[str, Any] = {"piece_bytes": 512 << 10, "page_objects": 40}


@pytest.fixture(params=["memory", "gcs", "s3"])
def bucket(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Bucket:
    if request.param == "memory":
        return MemoryBucket()
    if request.param == "gcs":
        server: GcsEmulator = request.getfixturevalue("gcs")
        state = tmp_path_factory.mktemp("uploads")
        return GcsBucket(server.new_bucket(), "a folder", endpoint=server.url, state=state, **SMALL)
    moto: S3Emulator = request.getfixturevalue("s3")
    for variable, value in moto.environment.items():
        monkeypatch.setenv(variable, value)
    return S3Bucket(moto.new_bucket(), "a folder", **SMALL)


@pytest.mark.parametrize("data", [b"", b"x", b"\x00" * 3_000_000, LARGE])
def test_what_is_put_comes_back(bucket: Bucket, data: bytes, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(data)
    for name, content in [("bytes/a b", data), ("file/ä?#%.bin", source)]:
        stored = bucket.put(name, content)
        assert (stored.name, stored.size_bytes) == (name, len(data))
        assert bucket.stat(name) == stored
        assert bucket.get(name) == data
        bucket.download(name, tmp_path / "target")
        assert (tmp_path / "target").read_bytes() == data
        (tmp_path / "target").unlink()
    assert source.read_bytes() == data


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [
        (0, 3, b"012"),
        (3, 4, b"3456"),
        (8, 9, b"89"),
        (9, None, b"9"),
        (10, 5, b""),
        (99, None, b""),
        (4, 0, b""),
    ],
)
def test_ranges(bucket: Bucket, start: int, length: int | None, expected: bytes) -> None:
    bucket.put("digits", b"0123456789")
    bucket.put("empty", b"")
    assert bucket.get("digits", start=start, length=length) == expected
    assert bucket.get("empty", start=start, length=length) == b""


def test_what_is_not_there(bucket: Bucket, tmp_path: Path) -> None:
    assert bucket.stat("absent") is None
    assert not bucket.delete("absent")
    assert not bucket.delete("absent", generation="7")
    for asked in (
        lambda: bucket.get("absent"),
        lambda: bucket.get("absent", start=2, length=1),
        lambda: bucket.get("absent", length=0),
        lambda: bucket.download("absent", tmp_path / "target"),
        lambda: bucket.download("absent", tmp_path / "target", sha256="0" * 64),
    ):
        with pytest.raises(BlobNotFoundError, match="absent"):
            asked()
    assert list(tmp_path.glob("*")) == []


def test_a_name_is_put_anew_unless_only_to_be_created(bucket: Bucket) -> None:
    first = bucket.put("name", b"first", create_only=True)
    second = bucket.put("name", b"second")
    assert first.generation != second.generation
    with pytest.raises(ObjectExistsError, match="name"):
        bucket.put("name", b"third", create_only=True)
    assert bucket.get("name") == b"second"


def test_a_large_object_is_put_anew_unless_only_to_be_created(
    bucket: Bucket, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(LARGE)
    bucket.put("name", tmp_path / "file", create_only=True)
    (tmp_path / "file").write_bytes(LARGE[::-1])
    for content in (tmp_path / "file", LARGE[::-1]):
        with pytest.raises(ObjectExistsError, match="name"):
            bucket.put("name", content, create_only=True)
    assert bucket.get("name") == LARGE
    bucket.put("name", tmp_path / "file")
    assert bucket.get("name") == LARGE[::-1]


def test_of_many_who_create_one_wins(bucket: Bucket) -> None:
    won: list[int] = []

    def create(number: int) -> None:
        try:
            bucket.put("lock", b"%d" % number, create_only=True)
        except ObjectExistsError:
            return
        won.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [b"%d" % number for number in won] == [bucket.get("lock")]


def test_only_the_generation_that_was_looked_at_is_deleted(bucket: Bucket) -> None:
    old, new = bucket.put("name", b"old"), bucket.put("name", b"new")
    with pytest.raises(ObjectChangedError, match="name"):
        bucket.delete("name", generation=old.generation)
    assert bucket.get("name") == b"new"
    assert bucket.delete("name", generation=new.generation)
    assert bucket.stat("name") is None


def test_a_deleted_object_is_gone_and_may_be_created_again(bucket: Bucket) -> None:
    bucket.put("name", b"one", create_only=True)
    assert bucket.delete("name")
    assert not bucket.delete("name")
    bucket.put("name", b"two", create_only=True)
    assert bucket.get("name") == b"two"


def test_all_objects_are_listed_by_name(bucket: Bucket) -> None:
    stored = [bucket.put(name, name.encode()) for name in ("b/2", "a/1", "b/1", "b", "c")]
    assert list(bucket.listed()) == sorted(stored, key=lambda one: one.name)
    assert [one.name for one in bucket.listed("b/")] == ["b/1", "b/2"]
    assert list(bucket.listed("absent/")) == []


def test_a_listing_has_as_many_pages_as_it_takes(bucket: Bucket) -> None:
    names = [f"{number % 3}/{number:04}" for number in range(101)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: bucket.put(name, b""), names))
    assert [one.name for one in bucket.listed()] == sorted(names)
    assert [one.name for one in bucket.listed("1/0")] == [
        one for one in sorted(names) if one.startswith("1/0")
    ]


def test_only_the_content_that_was_meant_is_kept(bucket: Bucket, tmp_path: Path) -> None:
    for data in (b"small", LARGE):
        path, meant = tmp_path / "file", hashlib.sha256(data).hexdigest()
        path.write_bytes(data)
        for content in (data, path):
            with pytest.raises(BlobCorruptError):
                bucket.put("name", content, sha256="0" * 64)
            assert bucket.stat("name") is None
            bucket.put("name", content, sha256=meant)
            bucket.delete("name")


def test_only_the_content_that_was_meant_arrives(bucket: Bucket, tmp_path: Path) -> None:
    for data in (b"small", LARGE):
        bucket.put("name", data)
        with pytest.raises(BlobCorruptError):
            bucket.download("name", tmp_path / "target", sha256="0" * 64)
        assert list(tmp_path.iterdir()) == []
        bucket.download("name", tmp_path / "target", sha256=hashlib.sha256(data).hexdigest())
        (tmp_path / "target").unlink()


def test_a_download_does_not_overwrite(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("name", b"content")
    target = tmp_path / "target"
    target.write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        bucket.download("name", target)
    assert target.read_bytes() == b"mine"


def test_what_has_travelled_is_told_in_bytes(bucket: Bucket, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(LARGE)
    there: list[int] = []
    back: list[int] = []
    bucket.put("name", path, sent=there.append)
    bucket.download("name", tmp_path / "target", sent=back.append)
    assert sum(there) == sum(back) == len(LARGE)


@pytest.mark.parametrize("bucket", ["gcs", "s3"], indirect=True)
def test_a_write_to_a_bucket_that_is_gone_says_so(
    bucket: Bucket, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    bucket.put("a", b"seen")
    bucket.delete("a")
    server = request.getfixturevalue("gcs" if isinstance(bucket, GcsBucket) else "s3")
    server.delete_bucket(bucket.url.split("/")[2])
    large = tmp_path / "large"
    large.write_bytes(LARGE)
    for content in (b"small", large):
        with pytest.raises(BucketUnavailableError, match="There is no"):
            bucket.put("b", content)
