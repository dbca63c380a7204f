"""What a machine has made comes home whole, or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from misheard.blobs.bucket import Bucket
from misheard.blobs.memory import MemoryBucket
from misheard.errors import DiskFullError, HomecomingError
from misheard.finetune.backends.backend import RunState
from misheard.finetune.backends.local import LocalBackend
from misheard.finetune.paths import JobPaths
from misheard.finetune.rented.attempts import begin
from misheard.finetune.rented.homecoming import bring_home, clean, follow
from misheard.finetune.rented.layout import RentedJob
from misheard.finetune.rented.manifest import Made, Manifest, Outcome, read_manifest
from misheard.finetune.rented.sealed import sealed
from tests.emulators import GcsEmulator
from tests.faults import FaultProxy
from tests.finetune.conftest import wait_until
from tests.small_disk import MountsDisk

FILES = {
    "result.json": b'{"training_loss": 1.0}',
    "model/model.bin": b"weights" * 20_000,
    "model/deep/er/tokenizer.json": b"{}",
    "model/empty": b"",
}


class Killed(Exception):
    pass


@pytest.fixture
def home(tmp_path: Path) -> JobPaths:
    paths = JobPaths(tmp_path / "home")
    paths.root.mkdir()
    return paths


def finished(bucket: Bucket, files: dict[str, bytes] | None = None) -> RentedJob:
    """As a machine leaves it."""
    job = RentedJob(bucket, "job-finished")
    files = FILES if files is None else files
    made = {
        name: Made(sha256=job.outputs.put_bytes(data), size_bytes=len(data))
        for name, data in files.items()
    }
    manifest = Manifest(attempt=1, outcome=Outcome.SUCCEEDED, files=made)
    bucket.put(job.manifest, manifest.to_json())
    return job


def files_of(paths: JobPaths) -> dict[str, bytes]:
    return {
        path.relative_to(paths.root).as_posix(): path.read_bytes()
        for path in paths.root.rglob("*")
        if path.is_file()
    }


def nothing_came(paths: JobPaths) -> bool:
    return not (paths.result.exists() or paths.model.exists())


def test_all_files_come_home_and_the_result_says_so(bucket: Bucket, home: JobPaths) -> None:
    job = finished(bucket)
    assert LocalBackend().state(home) is RunState.STOPPED
    came: list[int] = []
    manifest = bring_home(job, home, progress=came.append)
    assert manifest == read_manifest(job)
    assert files_of(home) == FILES
    assert sum(came) == sum(len(data) for data in FILES.values())
    assert LocalBackend().state(home) is RunState.SUCCEEDED
    assert bring_home(job, home, progress=came.append) == manifest
    assert sum(came) == sum(len(data) for data in FILES.values()), "nothing travels twice"
    assert clean(job) == len(FILES) + 1
    assert list(bucket.listed()) == []


def test_what_an_earlier_model_left_behind_is_not_mixed_in(home: JobPaths) -> None:
    (home.model / "deep").mkdir(parents=True)
    (home.model / "deep" / "old").write_bytes(b"old")
    (home.arriving / "model").mkdir(parents=True)
    (home.arriving / "model" / "model.bin").write_bytes(b"half of it")
    (home.arriving / "model" / "old").write_bytes(b"old")
    bring_home(finished(MemoryBucket()), home)
    assert files_of(home) == FILES


def test_interrupted_anywhere_it_is_not_home_and_the_next_call_goes_on(home: JobPaths) -> None:
    job = finished(MemoryBucket())
    for _ in FILES:
        came: list[int] = []

        def count(size: int, came: list[int] = came) -> None:
            came.append(size)
            if len(came) > 1:
                raise Killed

        try:
            bring_home(job, home, progress=count)
        except Killed:
            assert nothing_came(home)
    bring_home(job, home)
    assert files_of(home) == FILES


def test_killed_between_the_model_and_its_result_nothing_travels_twice(home: JobPaths) -> None:
    job = finished(MemoryBucket())
    bring_home(job, home)
    home.result.unlink()
    shutil.rmtree(home.arriving, ignore_errors=True)
    came: list[int] = []
    bring_home(job, home, progress=came.append)
    assert sum(came) == len(FILES["result.json"])
    assert files_of(home) == FILES


def test_a_file_that_is_damaged_is_named_and_nothing_comes(
    bucket: Bucket, home: JobPaths, gcs: GcsEmulator
) -> None:
    job = finished(bucket)
    key = hashlib.sha256(FILES["model/model.bin"]).hexdigest()
    name, _, folder = bucket.url.removeprefix("gs://").partition("/")
    gcs.spoil(name, f"{folder}/{job.folder}/outputs/{key[:2]}/{key}", b"something else")
    with pytest.raises(HomecomingError, match=r"'model/model.bin' of 'job-finished' is damaged"):
        bring_home(job, home)
    assert nothing_came(home)
    assert LocalBackend().state(home) is RunState.STOPPED
    # Put right, it comes after all.
    bucket.delete(f"{job.folder}/outputs/{key[:2]}/{key}")
    job.outputs.put_bytes(FILES["model/model.bin"])
    bring_home(job, home)
    assert files_of(home) == FILES


def test_a_file_that_is_not_there_is_named(home: JobPaths) -> None:
    job = finished(MemoryBucket())
    job.outputs.delete(hashlib.sha256(b"{}").hexdigest())
    with pytest.raises(HomecomingError, match=r"'model/deep/er/tokenizer.json' .* is not there"):
        bring_home(job, home)
    assert nothing_came(home)


def test_a_manifest_with_a_wrong_checksum_is_refused(bucket: Bucket, home: JobPaths) -> None:
    job = finished(bucket)
    values = json.loads(bucket.get(job.manifest))
    values["files"]["model/model.bin"]["sha256"] = "0" * 64
    bucket.put(job.manifest, json.dumps(values).encode())
    with pytest.raises(HomecomingError, match="is not what the SHA-256 in it tells"):
        bring_home(job, home)
    # One that fits itself, but no file.
    values.pop("sha256")
    bucket.put(job.manifest, sealed(values))
    with pytest.raises(HomecomingError, match=r"'model/model.bin' .* is not there"):
        bring_home(job, home)
    values["files"]["model/model.bin"] = {
        "sha256": hashlib.sha256(FILES["model/model.bin"]).hexdigest(),
        "size_bytes": 5,
    }
    bucket.put(job.manifest, sealed(values))
    with pytest.raises(HomecomingError, match=r"'model/model.bin' .* the size"):
        bring_home(job, home)
    assert nothing_came(home)


@pytest.mark.parametrize(
    "name",
    [
        "../result.json",
        "model/../../../etc/passwd",
        "/etc/passwd",
        "model//etc",
        "model/./x",
        "model/",
        "model",
        "model\\..\\x",
        "model/a\nb",
        "order.json",
        "base/model.bin",
        "data/train.jsonl",
        "",
    ],
)
def test_a_manifest_that_leads_out_of_the_model_is_refused(name: str, home: JobPaths) -> None:
    job = finished(MemoryBucket(), FILES | {name: b"evil"})
    with pytest.raises(HomecomingError, match="no file of a model"):
        bring_home(job, home)
    assert files_of(home) == {}
    assert list(home.root.parent.iterdir()) == [home.root]


def made(**values: object) -> dict[str, object]:
    return {"sha256": "a" * 64, "size_bytes": 1} | values


@pytest.mark.parametrize(
    "change",
    [
        {"files": {f"model/{n}": made() for n in range(2_000)} | {"result.json": made()}},
        {"files": {"model/x": made(size_bytes=1 << 50), "result.json": made()}},
        {"files": {"model/x": made(size_bytes=-1), "result.json": made()}},
        {"files": {"model/x": made(size_bytes=True), "result.json": made()}},
        {"files": {"model/x": made(size_bytes="1"), "result.json": made()}},
        {"files": {"model/x": made(sha256="../../x"), "result.json": made()}},
        {"files": {"model/x": made(sha256=None), "result.json": made()}},
        {"files": {"model/x": made(other=1), "result.json": made()}},
        {"files": {"model/x": made()}},
        {"files": {"result.json": made()}},
        {"files": []},
        {"outcome": "perhaps"},
        {"unknown": 1},
    ],
    ids=range(13),
)
def test_a_manifest_that_is_not_sane_is_refused(change: dict[str, object], home: JobPaths) -> None:
    job = finished(MemoryBucket())
    values = json.loads(job.bucket.get(job.manifest))
    values.pop("sha256")
    job.bucket.put(job.manifest, sealed(values | change))
    with pytest.raises(HomecomingError):
        bring_home(job, home)
    assert files_of(home) == {}


def test_no_manifest_is_no_homecoming(home: JobPaths) -> None:
    job = RentedJob(MemoryBucket(), "job-none")
    assert read_manifest(job) is None
    with pytest.raises(HomecomingError, match="is not there"):
        bring_home(job, home)
    job.bucket.put(job.manifest, b"[]")
    with pytest.raises(HomecomingError):
        read_manifest(job)


def test_of_a_failed_job_only_its_log_comes(home: JobPaths) -> None:
    job = RentedJob(MemoryBucket(), "job-failed")
    begin(job.attempt(1), "token")
    job.bucket.put(job.attempt(1).log, b"Traceback\n")
    failed = Manifest(attempt=1, outcome=Outcome.FAILED, reason="no room")
    job.bucket.put(job.manifest, failed.to_json())
    assert bring_home(job, home) == failed
    assert home.log.read_bytes() == b"Traceback\n"
    assert nothing_came(home)


def test_without_room_nothing_is_begun(tmp_path: Path, mount_disk: MountsDisk) -> None:
    mount_disk(tmp_path / "jobs", "900k")
    home = JobPaths(tmp_path / "jobs" / "job-finished")
    home.root.mkdir()
    with pytest.raises(DiskFullError, match="It waits in the bucket"):
        bring_home(finished(MemoryBucket()), home)
    assert nothing_came(home)


def test_events_and_log_come_as_they_grow_one_machine_after_another(
    bucket: Bucket, home: JobPaths
) -> None:
    job = RentedJob(bucket, "job-followed")
    assert not follow(job, home)
    first, second = job.attempt(1), job.attempt(2)
    begin(first, "one")
    assert not follow(job, home)
    bucket.put(first.log, b"a\n")
    bucket.put(first.events, b'{"n": 1}\n')
    assert follow(job, home)
    assert not follow(job, home)
    bucket.put(first.events, b'{"n": 1}\n{"n": 2}\n')
    begin(second, "two")
    bucket.put(second.events, b'{"n": 3}\n')
    assert follow(job, home)
    assert home.events.read_bytes() == b'{"n": 1}\n{"n": 2}\n{"n": 3}\n'
    # Taken for dead, and it told something more: nobody listens.
    bucket.put(first.events, b'{"n": 1}\n{"n": 2}\n{"n": 9}\n')
    bucket.put(second.events, b'{"n": 3}\n{"n": 4}\n')
    assert follow(job, home)
    assert home.events.read_bytes() == b'{"n": 1}\n{"n": 2}\n{"n": 3}\n{"n": 4}\n'
    assert home.log.read_bytes() == b"a\n"


def test_killed_between_the_lines_and_their_note_no_line_comes_twice(home: JobPaths) -> None:
    job = RentedJob(MemoryBucket(), "job-followed")
    begin(job.attempt(1), "one")
    job.bucket.put(job.attempt(1).events, b"1\n")
    follow(job, home)
    noted = home.followed.read_bytes()
    job.bucket.put(job.attempt(1).events, b"1\n2\n")
    follow(job, home)
    home.followed.write_bytes(noted)
    assert follow(job, home)
    assert home.events.read_bytes() == b"1\n2\n"


def test_only_what_is_new_travels(home: JobPaths, behind: tuple[Bucket, FaultProxy]) -> None:
    bucket, proxy = behind
    job = RentedJob(bucket, "job-followed")
    begin(job.attempt(1), "one")
    long = b"x" * 500_000 + b"\n"
    bucket.put(job.attempt(1).log, long)
    follow(job, home)
    # The proxy counts when it has answered.
    wait_until(lambda: proxy.bytes_down("GET") >= len(long), timeout_s=10)
    before = proxy.bytes_down("GET")
    bucket.put(job.attempt(1).log, long + b"more\n")
    follow(job, home)
    assert proxy.bytes_down("GET") - before < 10_000
    assert home.log.read_bytes() == long + b"more\n"
