"""Many blobs at once."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from misheard.blobs.directory import DirectoryBlobs
from misheard.blobs.gcs import GcsBucket
from misheard.blobs.memory import MemoryBlobs
from misheard.blobs.objects import BucketBlobs
from misheard.blobs.patience import Patience
from misheard.blobs.transfers import copy_missing, fetch_all, missing_from, put_all
from misheard.errors import BlobCorruptError, BlobNotFoundError, BucketUnavailableError
from tests.emulators import GcsEmulator
from tests.faults import Fault, FaultProxy, faults
from tests.loopback import until

CONTENTS = [b"%d " % number * 1000 for number in range(40)]
SIZE = sum(map(len, CONTENTS))
IMPATIENT = Patience(first_s=0.005, most_s=0.02, deadline_s=0.2, answer_s=120)


@pytest.fixture
def proxy(gcs: GcsEmulator) -> Iterator[FaultProxy]:
    with faults(gcs.url) as made:
        yield made


@pytest.fixture
def bucket(gcs: GcsEmulator, proxy: FaultProxy) -> BucketBlobs:
    return BucketBlobs(GcsBucket(gcs.new_bucket(), endpoint=proxy.url, patience=IMPATIENT))


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    made = [tmp_path / f"{number}.wav" for number in range(len(CONTENTS))]
    for path, content in zip(made, CONTENTS, strict=True):
        path.write_bytes(content)
    return made


def key(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_all_are_put_and_fetched_and_each_byte_is_told(
    bucket: BucketBlobs, paths: list[Path], tmp_path: Path
) -> None:
    there: list[int] = []
    back: list[int] = []
    keys = put_all(bucket, paths, there.append)
    assert keys == [key(content) for content in CONTENTS]
    targets = {tmp_path / "back" / f"{n % 3}" / f"{n}.wav": one for n, one in enumerate(keys)}
    fetch_all(bucket, targets, back.append)
    assert [path.read_bytes() for path in targets] == CONTENTS
    assert sum(there) == sum(back) == SIZE


def test_nothing_to_do_is_done_at_once(bucket: BucketBlobs) -> None:
    assert put_all(bucket, []) == []
    fetch_all(bucket, {})
    assert copy_missing(MemoryBlobs(), bucket, []).blobs == 0


def test_several_travel_at_a_time(
    bucket: BucketBlobs, paths: list[Path], proxy: FaultProxy
) -> None:
    together = threading.Barrier(8, timeout=60)
    proxy.add(Fault(method="POST", times=8, call=together.wait))
    put_all(bucket, paths, threads=8)  # with fewer than eight the barrier breaks
    assert not together.broken
    assert set(bucket) == {key(content) for content in CONTENTS}


def test_only_what_is_missing_travels(bucket: BucketBlobs, proxy: FaultProxy) -> None:
    source = MemoryBlobs()
    keys = [source.put_bytes(content) for content in CONTENTS]
    for content in CONTENTS[:30]:
        bucket.put_bytes(content)
    proxy.passed.clear()
    told: list[int] = []
    copied = copy_missing(source, bucket, [*keys, *keys], told.append)
    assert (copied.blobs, copied.there) == (10, 30)
    assert copied.size_bytes == sum(told) == sum(map(len, CONTENTS[30:]))
    assert set(bucket) == set(keys)
    # One request to list what is there, one for each that is not.
    before_that = [one for one in proxy.passed if one.method != "GET" or "/o?" in one.path]
    assert [one.method for one in before_that].count("POST") == 10
    assert copy_missing(source, bucket, keys).blobs == 0


@pytest.mark.parametrize(("asked", "listings", "looks"), [(3, 0, 3), (40, 1, 0)])
def test_few_are_asked_for_and_many_are_listed(
    bucket: BucketBlobs, proxy: FaultProxy, asked: int, listings: int, looks: int
) -> None:
    there = bucket.put_bytes(CONTENTS[0])
    proxy.passed.clear()
    keys = [key(content) for content in CONTENTS[:asked]]
    assert missing_from(bucket, keys) == [one for one in keys if one != there]
    listed = [one for one in proxy.passed if "/o?" in one.path]
    assert (len(listed), len(proxy.passed) - len(listed)) == (listings, looks)


def test_the_first_error_stops_the_rest_and_the_next_call_goes_on(
    bucket: BucketBlobs, proxy: FaultProxy, tmp_path: Path
) -> None:
    source = DirectoryBlobs(tmp_path / "source")
    keys = [source.put_bytes(content) for content in CONTENTS]
    fault = proxy.add(Fault(method="POST", skip=10, times=10_000, status=403, body=b"no"))
    with pytest.raises(BucketUnavailableError, match="add-iam-policy-binding"):
        copy_missing(source, bucket, keys, threads=2)
    # The other thread may be at work still, and nobody else waits for it.
    until(lambda: not [one for one in threading.enumerate() if one.name == "transfer"])
    assert 10_000 - fault.times <= 2
    proxy.faults.clear()
    copied = copy_missing(source, bucket, keys)
    assert copied.there == 10
    assert copied.blobs + copied.there == len(keys)
    assert set(bucket) == set(keys)


def test_what_is_fetched_already_is_not_fetched_again(
    bucket: BucketBlobs, proxy: FaultProxy, tmp_path: Path
) -> None:
    keys = [bucket.put_bytes(content) for content in CONTENTS]
    targets = {tmp_path / f"{number}.wav": one for number, one in enumerate(keys)}
    proxy.add(Fault(method="GET", skip=15, times=10_000, status=403, body=b"no"))
    with pytest.raises(BucketUnavailableError):
        fetch_all(bucket, targets, threads=1)
    done = sum(path.exists() for path in targets)
    assert done == 15
    proxy.faults.clear()
    proxy.passed.clear()
    fetch_all(bucket, targets)
    assert len(proxy.passed) == len(CONTENTS) - done
    assert [path.read_bytes() for path in targets] == CONTENTS


def test_what_the_source_lacks_or_has_wrong_is_an_error(
    bucket: BucketBlobs, tmp_path: Path
) -> None:
    source = DirectoryBlobs(tmp_path / "source")
    with pytest.raises(BlobNotFoundError):
        copy_missing(source, bucket, ["0" * 64])
    wrong = source.put_bytes(b"right")
    [path] = (tmp_path / "source").glob("??/*")
    path.chmod(0o600)
    path.write_bytes(b"wrong")
    with pytest.raises(BlobCorruptError):
        copy_missing(source, bucket, [wrong])
    assert list(bucket) == []


COPYING = """
import signal
import sys
from pathlib import Path
from misheard.blobs.gcs import GcsBucket
from misheard.blobs.objects import BucketBlobs
from misheard.blobs.transfers import put_all

# Whoever runs this in the background has it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
bucket, endpoint, folder = sys.argv[1:]
store = BucketBlobs(GcsBucket(bucket, endpoint=endpoint))
try:
    put_all(store, sorted(Path(folder).glob("*.wav")))
except KeyboardInterrupt:
    sys.exit(7)
"""


def test_ctrl_c_ends_a_transfer_at_once(
    gcs: GcsEmulator, proxy: FaultProxy, paths: list[Path], tmp_path: Path
) -> None:
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        go.wait(600)

    proxy.add(Fault(method="POST", skip=5, times=10_000, call=hold))
    command = [sys.executable, "-c", COPYING, gcs.new_bucket(), proxy.url, str(tmp_path)]
    process = subprocess.Popen(command)
    assert held.wait(300)
    process.send_signal(signal.SIGINT)
    # What is under way would take ten minutes.
    assert process.wait(300) == 7
    go.set()
