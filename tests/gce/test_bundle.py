"""What a machine needs travels once, arrives as it was, and goes with its job."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from misheard.blobs.bucket import Bucket
from misheard.blobs.memory import MemoryBucket
from misheard.errors import BlobCorruptError, BlobNotFoundError, BundleError, UnknownIdError
from misheard.finetune.order import Order
from misheard.finetune.paths import JobPaths
from misheard.finetune.rented.bundle import (
    bundle_bytes,
    fetch_bundle,
    is_released,
    read_bundle,
    release,
    send_bundle,
)
from misheard.finetune.rented.homecoming import clean
from misheard.finetune.rented.layout import SHARED, RentedJob
from misheard.finetune.rented.sealed import read_sealed, sealed
from tests.emulators import GcsEmulator
from tests.faults import Fault, FaultProxy
from tests.finetune.conftest import Workshop, quick


def files_of(folder: Path) -> dict[str, bytes]:
    """All files by their path; links are followed."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def inputs_of(paths: JobPaths) -> dict[str, bytes]:
    made = {f"base/{name}": data for name, data in files_of(paths.base).items()}
    made |= {f"data/{name}": data for name, data in files_of(paths.data).items()}
    made |= {f"general/{name}": data for name, data in files_of(paths.general).items()}
    return made | {"order.json": paths.order.read_bytes()}


@pytest.fixture
def home(ordered: Callable[..., JobPaths], workshop: Workshop) -> JobPaths:
    return ordered("job-bundle", general=workshop.general())


def test_the_directory_on_the_machine_has_what_the_one_at_home_has(
    bucket: Bucket, home: JobPaths, wheel: Path, tmp_path: Path
) -> None:
    job = RentedJob(bucket, "job-bundle")
    sent, arrived = [], []
    bundle = send_bundle(home, job, wheel, progress=sent.append)
    assert (
        sum(sent)
        >= bundle_bytes(home) + wheel.stat().st_size
        == (bundle.size_bytes + wheel.stat().st_size)
    )
    assert read_bundle(job) == bundle
    there = JobPaths(tmp_path / "machine")
    assert fetch_bundle(job, there, progress=arrived.append) == bundle
    assert home.base.is_symlink() and not there.base.is_symlink()
    wanted = inputs_of(home)
    assert any(name.startswith("general/audio/") for name in wanted)
    assert files_of(there.root) == wanted
    assert Order.read(there.order) == Order.read(home.order)
    assert bucket.get(job.shared_name(bundle.wheel_sha256)) == wheel.read_bytes()
    assert bundle.wheel_name == wheel.name
    assert sum(arrived) >= bundle.size_bytes - home.order.stat().st_size


def test_only_what_is_missing_travels_and_jobs_share_what_is_nobodys_voice(
    home: JobPaths, wheel: Path, behind: tuple[Bucket, FaultProxy]
) -> None:
    bucket, proxy = behind
    send_bundle(home, RentedJob(bucket, "job-one"), wheel)
    first = proxy.bytes_up("POST")
    assert first > bundle_bytes(home)
    send_bundle(home, RentedJob(bucket, "job-two"), wheel)
    # The other job's own inputs, and small files that cost less than to ask for.
    assert proxy.bytes_up("POST") - first < first - wheel.stat().st_size
    shared = {stored.name for stored in bucket.listed(f"{SHARED}/")}
    assert shared == {RentedJob.shared_name(key) for key in shared_by(bucket, "job-two")}
    voices = {path.name for path in (home.data / "audio").iterdir()}
    for job_id in ("job-one", "job-two"):
        job = RentedJob(bucket, job_id)
        assert voices <= set(job.inputs)
        assert not voices & set(job.shared)
        assert clean(job) > len(voices)
    assert {stored.name for stored in bucket.listed()} == shared


def shared_by(bucket: Bucket, job_id: str) -> list[str]:
    bundle = read_bundle(RentedJob(bucket, job_id))
    assert bundle is not None
    return [*bundle.shared.values(), bundle.wheel_sha256]


def test_cut_off_anywhere_there_is_no_bundle_and_the_next_call_goes_on(
    home: JobPaths, wheel: Path, tmp_path: Path
) -> None:
    class Killed(Exception):
        pass

    bucket = MemoryBucket()
    job = RentedJob(bucket, "job-bundle")
    kills = 0
    while True:
        told: list[int] = []

        def count(size: int, told: list[int] = told, most: int = 2 + 3 * kills) -> None:
            told.append(size)
            if len(told) > most:
                raise Killed

        try:
            send_bundle(home, job, wheel, progress=count)
            break
        except Killed:
            kills += 1
        assert read_bundle(job) is None
        with pytest.raises(BlobNotFoundError):
            fetch_bundle(job, JobPaths(tmp_path / "nothing"))
    assert kills > 3
    fetch_bundle(job, JobPaths(tmp_path / "machine"))
    assert files_of(tmp_path / "machine") == inputs_of(home)


def test_what_a_machine_has_already_stays_and_what_is_damaged_there_comes_again(
    home: JobPaths, wheel: Path, tmp_path: Path
) -> None:
    job = RentedJob(MemoryBucket(), "job-bundle")
    send_bundle(home, job, wheel)
    there = JobPaths(tmp_path / "machine")
    fetch_bundle(job, there)
    whole = there.base / "model.bin"
    before = whole.stat().st_mtime_ns
    damaged = there.data / "train.jsonl"
    damaged.write_bytes(b"half of it")
    there.order.write_bytes(b"")
    (there.data / "validation.jsonl").unlink()
    arrived: list[int] = []
    fetch_bundle(job, there, progress=arrived.append)
    assert files_of(there.root) == inputs_of(home)
    assert whole.stat().st_mtime_ns == before
    assert sum(arrived) < 100_000


def test_a_damaged_file_is_refused_and_the_job_does_not_seem_complete(
    bucket: Bucket, home: JobPaths, wheel: Path, tmp_path: Path, gcs: GcsEmulator
) -> None:
    job = RentedJob(bucket, "job-bundle")
    bundle = send_bundle(home, job, wheel)
    key = bundle.shared["base/model.bin"]
    name, _, folder = bucket.url.removeprefix("gs://").partition("/")
    gcs.spoil(name, f"{folder}/{job.shared_name(key)}", b"something else")
    there = JobPaths(tmp_path / "machine")
    with pytest.raises(BlobCorruptError, match=key):
        fetch_bundle(job, there)
    assert not there.order.exists()
    assert not (there.base / "model.bin").exists()


def test_another_job_of_the_same_id_leaves_nothing_behind(
    home: JobPaths, wheel: Path, tmp_path: Path
) -> None:
    job = RentedJob(MemoryBucket(), "job-bundle")
    send_bundle(home, job, wheel)
    left_behind = (job.attempt(1).save(7), job.manifest, job.go)
    for name in left_behind:
        job.bucket.put(name, b"{}")
    # The same job again, with a newer misheard: that goes on.
    newer = tmp_path / wheel.name
    shutil.copyfile(wheel, newer)
    with newer.open("ab") as file:
        file.write(b"!")
    assert send_bundle(home, job, newer).wheel_sha256 in job.shared
    assert all(job.bucket.stat(name) for name in left_behind)
    other = JobPaths(tmp_path / "other")
    shutil.copytree(home.root, other.root, symlinks=True)
    order = Order.read(home.order)
    Order(**vars(order) | {"recipe": quick(epochs=7)}).write(other.order)
    send_bundle(other, job, wheel)
    assert not any(job.bucket.stat(name) for name in left_behind)
    fetch_bundle(job, JobPaths(tmp_path / "machine"))
    assert files_of(tmp_path / "machine") == inputs_of(other)


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": {"order.json": "a" * 64, "../order.json": "a" * 64}},
        {"inputs": {"order.json": "a" * 64, "data/../../x": "a" * 64}},
        {"inputs": {"order.json": "a" * 64, "/etc/passwd": "a" * 64}},
        {"inputs": {"order.json": "not a hash"}},
        {"inputs": {}},
        {"shared": {"data/train.jsonl": "a" * 64}},
        {"format": 99},
    ],
    ids=str,
)
def test_a_bundle_that_leads_elsewhere_is_refused(
    change: dict[str, object], home: JobPaths, wheel: Path, tmp_path: Path
) -> None:
    job = RentedJob(MemoryBucket(), "job-bundle")
    send_bundle(home, job, wheel)
    values = read_sealed(job.bucket, job.bundle)
    job.bucket.put(job.bundle, sealed(values | change))
    with pytest.raises(BundleError, match=job.bundle):
        fetch_bundle(job, JobPaths(tmp_path / "machine"))
    assert not (tmp_path / "machine").exists()


def test_the_word_to_begin_is_said_once(bucket: Bucket) -> None:
    job = RentedJob(bucket, "job-bundle")
    assert not is_released(job)
    release(job)
    said = bucket.get(job.go)
    release(job)
    assert is_released(job)
    assert bucket.get(job.go) == said


@pytest.mark.parametrize("job_id", ["", "..", "a/b", "../x", "-x", "a b", "x" * 200])
def test_an_id_that_would_lead_out_of_the_job_is_refused(job_id: str) -> None:
    with pytest.raises(UnknownIdError, match="no id of a job"):
        RentedJob(MemoryBucket(), job_id)


def test_what_is_cut_off_or_damaged_on_its_way_comes_again(
    home: JobPaths, wheel: Path, tmp_path: Path, behind: tuple[Bucket, FaultProxy]
) -> None:
    bucket, proxy = behind
    job = RentedJob(bucket, "job-bundle")
    proxy.add(Fault(method="POST", path="upload", cut_request_at=1_000, times=3))
    proxy.add(Fault(method="GET", path="alt=media", cut_answer_at=100, times=3))
    proxy.add(Fault(method="GET", path="alt=media", spoil_answer=True, times=1))
    send_bundle(home, job, wheel)
    fetch_bundle(job, JobPaths(tmp_path / "machine"))
    assert not any(fault.times for fault in proxy.faults)
    assert files_of(tmp_path / "machine") == inputs_of(home)
