"""Buckets behind networks and clouds that fail."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from misheard.blobs.bucket import Bucket
from misheard.blobs.gcs import GcsBucket
from misheard.blobs.objects import BucketBlobs
from misheard.blobs.patience import Patience
from misheard.blobs.s3 import S3Bucket
from misheard.errors import (
    BlobCorruptError,
    BucketUnavailableError,
    BucketUnreachableError,
    ObjectChangedError,
    ObjectExistsError,
)
from tests.emulators import GcsEmulator, S3Emulator
from tests.faults import Fault, FaultProxy, faults

KB = 1 << 10
PIECE = 512 * KB
LARGE = bytes(range(256)) * 5_000  # 1.28 MB: three pieces
PIECES: dict[str, Any] = {"piece_bytes": PIECE}
QUICK = Patience(first_s=0.005, most_s=0.02, deadline_s=60, answer_s=60)
IMPATIENT = Patience(first_s=0.005, most_s=0.02, deadline_s=0.3, answer_s=60)

Opens = Callable[..., Bucket]


@pytest.fixture(params=["gcs", "s3"])
def proxy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    server: GcsEmulator | S3Emulator = request.getfixturevalue(request.param)
    if isinstance(server, S3Emulator):
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
    with faults(server.url) as made:
        yield made


@pytest.fixture
def opens(
    proxy: FaultProxy, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Opens:
    """Opens a bucket behind the proxy; always the same."""
    google = "gcs" in request.node.callspec.params["proxy"]
    name = request.getfixturevalue("gcs" if google else "s3").new_bucket()
    state = tmp_path_factory.mktemp("uploads")

    def make(patience: Patience = QUICK) -> Bucket:
        how: dict[str, Any] = {"endpoint": proxy.url, "patience": patience, **PIECES}
        if google:
            return GcsBucket(name, "folder", state=state, **how)
        return S3Bucket(name, "folder", **how)

    return make


only_google = pytest.mark.parametrize("proxy", ["gcs"], indirect=True)


@pytest.fixture
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "model.bin"
    path.write_bytes(LARGE)
    return path


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_passes_by_itself_is_tried_again(
    opens: Opens, proxy: FaultProxy, large: Path, tmp_path: Path, status: int
) -> None:
    bucket = opens()
    steps: list[Callable[[], object]] = [
        lambda: bucket.put("small", b"small", create_only=True),
        lambda: bucket.put("large", large, create_only=True),
        lambda: bucket.get("small"),
        lambda: bucket.get("small", start=1, length=2),
        lambda: bucket.stat("small"),
        lambda: list(bucket.listed()),
        lambda: bucket.download("large", tmp_path / "target"),
        lambda: bucket.delete("small", generation=bucket.stat("small").generation),  # type: ignore[union-attr]
    ]
    for step in steps:
        fault = proxy.add(Fault(status=status, times=3))
        step()
        assert fault.times == 0
    assert (tmp_path / "target").read_bytes() == LARGE
    assert [one.name for one in bucket.listed()] == ["large"]


@pytest.mark.parametrize(
    ("status", "says"), [(429, "quotas info list|service-quotas"), (503, "503")]
)
def test_what_does_not_pass_is_an_error_after_the_deadline(
    opens: Opens, proxy: FaultProxy, large: Path, status: int, says: str
) -> None:
    bucket = opens(IMPATIENT)
    proxy.add(Fault(status=status, times=10_000))
    for content in (b"small", large):
        began = time.monotonic()
        with pytest.raises(BucketUnreachableError, match=says):
            bucket.put("name", content)
        assert time.monotonic() - began < 30


def test_a_server_that_is_not_there_is_an_error_after_the_deadline(
    opens: Opens, proxy: FaultProxy, large: Path, tmp_path: Path
) -> None:
    bucket = opens(IMPATIENT)
    proxy.stop()
    steps: list[Callable[[], object]] = [
        lambda: bucket.put("name", b"small"),
        lambda: bucket.put("name", large),
        lambda: bucket.get("name"),
        lambda: list(bucket.listed()),
        lambda: bucket.download("name", tmp_path / "target"),
    ]
    for step in steps:
        with pytest.raises(BucketUnreachableError, match="cannot be reached"):
            step()
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_says_nothing_is_asked_again(opens: Opens, proxy: FaultProxy) -> None:
    bucket = opens(Patience(first_s=0.005, most_s=0.02, deadline_s=60, answer_s=1))
    bucket.put("name", b"content")
    silent = threading.Event()
    for method in ("GET", "POST" if isinstance(bucket, GcsBucket) else "PUT"):
        proxy.add(Fault(method=method, call=lambda: silent.wait(120)))
    began = time.monotonic()
    bucket.put("name", b"other")
    assert bucket.get("name") == b"other"
    assert time.monotonic() - began < 60
    assert all(fault.times == 0 for fault in proxy.faults)
    silent.set()


def test_an_upload_that_is_cut_off_goes_on(
    opens: Opens, proxy: FaultProxy, large: Path, tmp_path: Path
) -> None:
    bucket = opens()
    told: list[int] = []
    for cut_at in (0, 300 * KB, 300 * KB + 1000):
        proxy.add(Fault(method="PUT", path="upload_id|partNumber", skip=1, cut_request_at=cut_at))
    stored = bucket.put("large", large, sent=told.append)
    assert sum(told) == stored.size_bytes == len(LARGE)
    assert bucket.get("large") == LARGE
    assert all(fault.times == 0 for fault in proxy.faults)
    if isinstance(bucket, GcsBucket):
        # What was cut off within a piece had arrived up to a multiple of 256 KiB.
        assert proxy.bytes_up() < len(LARGE) + 100 * KB
    else:
        assert proxy.bytes_up() < len(LARGE) + 2 * 301 * KB + PIECE


def test_a_download_that_is_cut_off_goes_on(
    opens: Opens, proxy: FaultProxy, large: Path, tmp_path: Path
) -> None:
    bucket = opens()
    bucket.put("large", large)
    told: list[int] = []
    for cut_at in (0, 300 * KB):
        proxy.add(Fault(method="GET", path="large", skip=2, cut_answer_at=cut_at))
    bucket.download("large", tmp_path / "target", sent=told.append)
    assert (tmp_path / "target").read_bytes() == LARGE
    assert sum(told) == len(LARGE)
    assert all(fault.times == 0 for fault in proxy.faults)
    assert proxy.bytes_down() < len(LARGE) + 310 * KB + 20 * KB


def test_a_download_that_is_given_up_leaves_nothing(
    opens: Opens, proxy: FaultProxy, large: Path, tmp_path: Path
) -> None:
    bucket = opens(IMPATIENT)
    bucket.put("large", large)
    proxy.add(Fault(method="GET", path="large", skip=2, times=10_000, cut_answer_at=0))
    with pytest.raises(BucketUnavailableError, match="cannot be reached"):
        bucket.download("large", tmp_path / "target")
    assert list(tmp_path.iterdir()) == []


def test_what_is_damaged_on_its_way_here_is_fetched_again(
    opens: Opens, proxy: FaultProxy, large: Path, tmp_path: Path
) -> None:
    bucket = opens()
    bucket.put("small", LARGE[: 200 * KB])
    bucket.put("large", large)
    proxy.add(Fault(method="GET", path="small", spoil_answer=True))
    assert bucket.get("small") == LARGE[: 200 * KB]
    for sha256 in (None, hashlib.sha256(LARGE).hexdigest()):
        told: list[int] = []
        fault = Fault(method="GET", path="large", skip=2, spoil_answer=True)
        proxy.add(fault)
        bucket.download("large", tmp_path / "target", sha256=sha256, sent=told.append)
        assert fault.times == 0
        assert sum(told) == len(LARGE)
        assert (tmp_path / "target").read_bytes() == LARGE
        (tmp_path / "target").unlink()


def test_what_arrives_damaged_each_time_is_not_kept(
    opens: Opens, proxy: FaultProxy, large: Path, tmp_path: Path
) -> None:
    bucket = opens()
    store = BucketBlobs(bucket)
    key = store.put_file(large)
    small = store.put_bytes(b"small")
    proxy.add(Fault(method="GET", path=f"{key}.*alt=media|{key}$", times=10_000, spoil_answer=True))
    with pytest.raises(BlobCorruptError):
        store.fetch(key, tmp_path / "target")
    with pytest.raises(BlobCorruptError):
        store.get_bytes(key)
    with pytest.raises(BlobCorruptError):
        store.verify(key)
    store.verify(small)
    assert list(tmp_path.iterdir()) == []


@only_google
def test_what_is_damaged_on_its_way_there_is_sent_again(
    opens: Opens, proxy: FaultProxy, large: Path
) -> None:
    bucket = opens()
    proxy.add(Fault(method="POST", path="uploadType=multipart", spoil_request=True))
    bucket.put("small", LARGE[: 200 * KB], create_only=True)
    proxy.add(Fault(method="PUT", path="upload_id", skip=1, spoil_request=True))
    told: list[int] = []
    bucket.put("large", large, sent=told.append)
    assert bucket.get("small") == LARGE[: 200 * KB]
    assert bucket.get("large") == LARGE
    assert sum(told) == len(LARGE)
    assert all(fault.times == 0 for fault in proxy.faults)


@only_google
def test_what_is_damaged_on_its_way_there_each_time_is_not_kept(
    opens: Opens, proxy: FaultProxy, large: Path
) -> None:
    bucket = opens()
    proxy.add(Fault(path="uploadType=multipart|upload_id", times=10_000, spoil_request=True))
    for content in (LARGE[: 200 * KB], large):
        with pytest.raises(BlobCorruptError, match="does not arrive as it was sent"):
            bucket.put("name", content)
    assert list(bucket.listed()) == []


def test_a_lost_answer_does_not_turn_our_own_object_into_somebody_elses(
    opens: Opens, proxy: FaultProxy, large: Path
) -> None:
    bucket = opens()
    fault = Fault(path="uploadType=multipart|small", lose_answer=True)
    proxy.add(fault)
    stored = bucket.put("small", b"small", create_only=True)
    assert fault.times == 0
    assert bucket.stat("small") == stored
    with pytest.raises(ObjectExistsError):
        bucket.put("small", b"small", create_only=True)


def test_the_last_answer_of_a_large_upload_may_be_lost(
    opens: Opens, proxy: FaultProxy, large: Path
) -> None:
    bucket = opens()
    proxy.add(Fault(method="PUT", path="upload_id|partNumber", skip=2, lose_answer=True))
    stored = bucket.put("large", large)
    assert bucket.stat("large") == stored
    assert bucket.get("large") == LARGE


@only_google
def test_an_upload_that_gets_no_further_is_given_up(
    opens: Opens, proxy: FaultProxy, large: Path
) -> None:
    bucket = opens(IMPATIENT)
    proxy.add(Fault(method="PUT", path="upload_id", skip=1, times=10_000, status=308))
    with pytest.raises(BucketUnavailableError, match="0 bytes have arrived, and no more do"):
        bucket.put("large", large)
    assert len(proxy.passed) < 200


@only_google
@pytest.mark.parametrize("status", [404, 410])
def test_an_upload_that_google_has_dropped_begins_anew(
    opens: Opens, proxy: FaultProxy, large: Path, status: int
) -> None:
    bucket = opens()
    proxy.add(Fault(method="PUT", path="upload_id", skip=1, status=status))
    bucket.put("large", large)
    assert bucket.get("large") == LARGE


PUTTING = """
import sys
from pathlib import Path
from misheard.blobs.gcs import GcsBucket

bucket, endpoint, state, path = sys.argv[1:]
GcsBucket(bucket, "folder", endpoint=endpoint, state=Path(state), piece_bytes=1 << 19).put(
    "large", Path(path)
)
"""


@only_google
def test_the_upload_of_a_process_that_was_killed_goes_on_in_another(
    gcs: GcsEmulator, proxy: FaultProxy, large: Path, tmp_path: Path
) -> None:
    name, held, go = gcs.new_bucket(), threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        go.wait(600)

    # Of what the killed process has sent by then nothing more gets through.
    proxy.add(Fault(method="PUT", path="upload_id", skip=2, call=hold, cut_request_at=0))
    arguments = [name, proxy.url, str(tmp_path / "uploads"), str(large)]
    process = subprocess.Popen([sys.executable, "-c", PUTTING, *arguments])
    assert held.wait(300)
    process.send_signal(signal.SIGKILL)
    process.wait()
    go.set()
    [remembered] = (tmp_path / "uploads").iterdir()
    assert remembered.stat().st_mode & 0o077 == 0  # who has the address may write

    before = proxy.bytes_up("PUT")
    assert before == 2 * PIECE
    uploads = tmp_path / "uploads"
    bucket = GcsBucket(name, "folder", endpoint=proxy.url, state=uploads, patience=QUICK, **PIECES)
    told: list[int] = []
    bucket.put("large", large, sent=told.append)
    assert bucket.get("large") == LARGE
    assert sum(told) == len(LARGE)
    assert proxy.bytes_up("PUT") == len(LARGE)  # each byte once
    assert list((tmp_path / "uploads").iterdir()) == []


@only_google
def test_a_server_that_takes_the_question_for_the_end_makes_no_half_object(
    gcs: GcsEmulator, proxy: FaultProxy, large: Path, tmp_path: Path
) -> None:
    # fake-gcs-server itself: asked how much has arrived it keeps that as the whole object.
    name, uploads = gcs.new_bucket(), tmp_path / "uploads"
    proxy.add(Fault(method="PUT", path="upload_id", skip=2, times=10_000, status=503))
    with pytest.raises(BucketUnavailableError):
        GcsBucket(name, endpoint=proxy.url, state=uploads, patience=IMPATIENT, **PIECES).put(
            "large", large
        )
    [remembered] = uploads.iterdir()
    remembered.write_text(remembered.read_text().replace(proxy.url, gcs.url))
    bucket = GcsBucket(name, endpoint=gcs.url, state=uploads, **PIECES)
    told: list[int] = []
    stored = bucket.put("large", large, sent=told.append)
    assert bucket.get("large") == LARGE
    assert sum(told) == stored.size_bytes == len(LARGE)


@only_google
def test_an_upload_that_was_done_and_whose_object_is_gone_begins_anew(
    opens: Opens, proxy: FaultProxy, large: Path
) -> None:
    proxy.add(Fault(method="PUT", path="upload_id", skip=2, lose_answer=True))
    proxy.add(Fault(method="PUT", path="upload_id", skip=2, times=10_000, status=503))
    with pytest.raises(BucketUnavailableError):
        opens(IMPATIENT).put("large", large)
    proxy.faults.clear()
    bucket = opens()
    assert bucket.delete("large")
    told: list[int] = []
    stored = bucket.put("large", large, sent=told.append)
    assert bucket.stat("large") == stored
    assert sum(told) == len(LARGE)


@only_google
def test_bytes_that_are_large_are_in_no_file_and_their_upload_goes_on_too(
    opens: Opens, proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen: list[Path] = []
    away = {"method": "PUT", "path": "upload_id", "status": 503, "times": 10_000}
    proxy.add(Fault(**away, skip=2, call=lambda: seen.extend(tmp_path.iterdir())))
    with pytest.raises(BucketUnavailableError):
        opens(IMPATIENT).put("large", LARGE)
    proxy.faults.clear()
    before, told = proxy.bytes_up("PUT"), list[int]()
    bucket = opens()
    bucket.put("large", LARGE, sent=told.append)
    assert (bucket.get("large"), sum(told)) == (LARGE, len(LARGE))
    assert proxy.bytes_up("PUT") - before == len(LARGE) - 2 * PIECE
    assert seen == []


@only_google
def test_what_was_remembered_of_another_content_is_not_gone_on_with(
    opens: Opens, proxy: FaultProxy, large: Path
) -> None:
    bucket = opens(IMPATIENT)
    proxy.add(Fault(method="PUT", path="upload_id", skip=1, times=10_000, status=503))
    with pytest.raises(BucketUnavailableError):
        bucket.put("large", large)
    proxy.faults.clear()
    changed = b"other" + LARGE
    large.write_bytes(changed)
    bucket.put("large", large)
    assert bucket.get("large") == changed


@only_google
def test_two_who_send_the_same_at_once_both_do(
    opens: Opens, proxy: FaultProxy, large: Path
) -> None:
    together = threading.Barrier(2, timeout=50)
    proxy.add(Fault(method="PUT", path="upload_id", times=2, call=together.wait))
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda bucket: bucket.put("large", large), [opens(), opens()]))
    assert not together.broken
    assert {one.size_bytes for one in done} == {len(LARGE)}
    assert opens().get("large") == LARGE


@only_google
def test_what_is_remembered_is_forgotten_when_google_has(
    gcs: GcsEmulator, proxy: FaultProxy, large: Path, tmp_path: Path
) -> None:
    old, new = tmp_path / "old.session", tmp_path / "new.session"
    for path, days in [(old, 8), (new, 6)]:
        path.write_text("http://127.0.0.1:1/session")
        os.utime(path, times=(time.time() - days * 24 * 3600,) * 2)
    GcsBucket(gcs.new_bucket(), endpoint=proxy.url, state=tmp_path, **PIECES).put("large", large)
    assert list(tmp_path.iterdir()) == [new]


def test_what_is_written_anew_while_it_is_fetched_arrives_as_one_of_the_two(
    opens: Opens, proxy: FaultProxy, large: Path, tmp_path: Path
) -> None:
    bucket, other = opens(), opens()
    bucket.put("large", large)
    changed = LARGE[::-1]
    (tmp_path / "changed").write_bytes(changed)
    told: list[int] = []

    def write() -> None:
        other.put("large", tmp_path / "changed")

    proxy.add(Fault(method="GET", path="large.*alt=media|large$", skip=2, call=write))
    bucket.download("large", tmp_path / "target", sent=told.append)
    assert (tmp_path / "target").read_bytes() == changed
    assert sum(told) == len(changed)


@pytest.mark.parametrize("size", [3 * PIECE, len(LARGE)])
def test_a_file_that_changes_while_it_is_put_is_not_kept(
    opens: Opens, proxy: FaultProxy, large: Path, size: int, s3: S3Emulator
) -> None:
    bucket = opens()
    large.write_bytes(b"before" * (size // 6))

    def change() -> None:
        with large.open("r+b") as file:
            file.seek(-10, os.SEEK_END)
            file.write(b"after")

    proxy.add(Fault(path=r"upload_id|\?uploads", call=change))
    with pytest.raises(BlobCorruptError, match="changed"):
        bucket.put("large", large)
    assert list(bucket.listed()) == []
    if isinstance(bucket, S3Bucket):
        begun = [one for one in proxy.passed if "?uploads" in one.path]
        assert len(begun) == 1
        assert s3.unfinished(bucket.url.split("/")[2]) == 0  # its parts are not left to be billed


def test_a_file_that_becomes_shorter_while_it_is_put_is_not_kept(
    opens: Opens, proxy: FaultProxy, large: Path
) -> None:
    bucket = opens()
    # Each of them begins so; what it sends then is read piece by piece.
    begin = "uploadType=resumable|uploads"
    proxy.add(Fault(method="POST", path=begin, call=lambda: os.truncate(large, PIECE)))
    with pytest.raises(BlobCorruptError):
        bucket.put("large", large)
    assert list(bucket.listed()) == []


def test_somebody_who_writes_between_the_look_and_the_delete_loses_nothing(
    opens: Opens, proxy: FaultProxy
) -> None:
    bucket, other = opens(), opens()
    old = bucket.put("name", b"old")
    other.put("name", b"new")
    with pytest.raises(ObjectChangedError):
        bucket.delete("name", generation=old.generation)
    if isinstance(bucket, GcsBucket):
        # The request itself says so too; Google then keeps what was written in between.
        new = bucket.stat("name")
        assert new is not None
        bucket.delete("name", generation=new.generation)
        [asked] = [one for one in proxy.passed if one.method == "DELETE"]
        assert f"ifGenerationMatch={new.generation}" in asked.path
