"""The program of a rented machine, as a process, against a bucket that a server keeps."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from misheard.blobs.memory import MemoryBucket
from misheard.finetune.events import course, read_events
from misheard.finetune.paths import JobPaths
from misheard.finetune.rented.attempts import Phase, read_heartbeat
from misheard.finetune.rented.bundle import read_bundle
from misheard.finetune.rented.homecoming import bring_home, clean, follow
from misheard.finetune.rented.layout import RentedJob
from misheard.finetune.rented.manifest import Outcome, read_manifest
from misheard.finetune.rented.saves import restore, saves
from tests.emulators import GcsEmulator
from tests.faults import Fault, faults
from tests.finetune.conftest import processes_of, quick, wait_until
from tests.gce.conftest import Rented, left
from tests.gce.holding import HoldingProxy

pytestmark = pytest.mark.model
SAME = ("validation_wer", "best_epoch", "share", "checked", "training_clips")


def assert_same(home: JobPaths, undisturbed: JobPaths) -> None:
    """As if it had been trained here in one go."""
    model = {path.name: path.read_bytes() for path in home.model.iterdir()}
    assert model == {path.name: path.read_bytes() for path in undisturbed.model.iterdir()}
    result, wanted = (json.loads(one.result.read_text()) for one in (home, undisturbed))
    assert {name: result[name] for name in SAME} == {name: wanted[name] for name in SAME}
    rates, steps = [], []
    for paths in (home, undisturbed):
        told = course(read_events(paths.events))
        rates.append([(e.step, e.validation_wer) for e in told if e.validation_wer is not None])
        steps.append({event.step for event in told})
    assert rates[0] == rates[1]
    assert steps[0] == steps[1]


@pytest.fixture
def metadata() -> Iterator[tuple[str, list[str]]]:
    """A metadata server: its address, and what it says of the machine; empty: not preempted."""
    said: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            right = self.path == "/computeMetadata/v1/instance/preempted"
            flavoured = self.headers["Metadata-Flavor"] == "Google"
            self.send_response(200 if right and flavoured else 403)
            self.end_headers()
            self.wfile.write((said[-1] if said else "FALSE").encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"127.0.0.1:{server.server_port}", said
    server.shutdown()
    server.server_close()
    thread.join()


def test_killed_it_is_gone_on_with_elsewhere_whatever_the_network_does(
    rent: Callable[..., Rented], undisturbed: JobPaths, gcs: GcsEmulator
) -> None:
    """Uploads break off, and for some seconds Google refuses everything; the model is the same."""
    rented = rent("job-rented")
    with HoldingProxy(gcs.url) as proxy:
        # After one save it gets no further, so that it has not ended when it is killed.
        proxy.hold.wait_for("POST", "/saves/", skip=1)
        killed = rented.begin(1, STORAGE_EMULATOR_HOST=proxy.url)
        rented.wait_for_save()
        killed.kill()
        killed.wait()
    wait_until(lambda: not processes_of(JobPaths(rented.directory(1))), timeout_s=30)
    follow(rented.job, rented.home)
    with faults(gcs.url) as faulty:
        for path in ("uploadType", "saves", "outputs", "manifest"):
            faulty.add(Fault(method="POST", path=path, cut_request_at=100, times=2))
        faulty.add(Fault(path="heartbeat", skip=5, status=503, times=2))
        refused = faulty.add(Fault(method="POST", skip=20, status=403, times=6))
        machine = rented.begin(2, STORAGE_EMULATOR_HOST=faulty.url)
        came = 0
        while machine.poll() is None:
            came += follow(rented.job, rented.home)
            time.sleep(0.1)
        status, said = left(machine)
    assert status == 0, said
    assert "goes on from step" in said
    assert refused.times == 0
    assert "nothing can be" in said
    manifest = bring_home(rented.job, rented.home)
    assert (manifest.outcome, manifest.attempt) == (Outcome.SUCCEEDED, 2)
    assert_same(rented.home, undisturbed)
    assert came > 1, "events came home while it trained"
    events = list(read_events(rented.home.events))
    assert [event.phase for event in events].count("prepare") == 2
    assert events[-1].phase == "done"
    # What a machine told came home once, and machines follow each other.
    bucket = rented.job.bucket
    for name, home in (("events", rented.home.events), ("log", rented.home.log)):
        objects = [getattr(rented.job.attempt(number), name) for number in (1, 2)]
        # Who was killed may have had nothing to say.
        told = [bucket.get(one) for one in objects if bucket.stat(one) is not None]
        assert home.read_bytes() == b"".join(told)
    assert len(saves(rented.job)) <= 2
    assert clean(rented.job) > 0
    assert list(rented.job.bucket.listed(f"{rented.job.folder}/")) == []
    assert set(rented.job.shared), "what other jobs need stays"


def test_of_two_at_once_the_newer_goes_on_and_saves_all_when_it_is_told_to_end(
    rent: Callable[..., Rented], tmp_path: Path
) -> None:
    rented = rent("job-two", quick(epochs=500, checkpoint_every_s=0.0))
    taken_for_dead = rented.begin(1)
    reached = rented.wait_for_save().step
    newest = rented.begin(2)
    status, told = left(taken_for_dead)
    assert status == 4, told
    assert "attempt 2 has begun" in told
    assert not processes_of(JobPaths(rented.directory(1)))
    assert phase(rented, 1) is Phase.OVER
    reached = rented.wait_for_save(past=max(reached, rented.wait_for_save().step)).step
    newest.send_signal(signal.SIGTERM)
    asked_s = time.monotonic()
    status, told = left(newest)
    assert status == 3, told
    assert time.monotonic() - asked_s < 30
    there = JobPaths(rented.directory(2))
    assert not processes_of(there)
    beat = read_heartbeat(rented.job.attempt(2))
    assert beat is not None
    assert (beat.phase, beat.reason) == (Phase.PREEMPTED, "SIGTERM")
    assert "it stops: SIGTERM" in rented.job.bucket.get(rented.job.attempt(2).log).decode()
    assert read_manifest(rented.job) is None
    # What was whole by then is in the bucket, and fits together.
    kept = saves(rented.job)
    assert len(kept) <= 2
    assert kept[-1].attempt == 2
    assert kept[-1].step == beat.saved_step >= reached
    whole = JobPaths(tmp_path / "elsewhere")
    assert restore(rented.job, whole) == kept[-1].step
    assert whole.checkpoints() == [kept[-1].step]
    assert whole.curve.exists() == whole.best.exists()


def test_a_program_that_is_killed_leaves_no_process_behind(rent: Callable[..., Rented]) -> None:
    """Not even torchrun's, each of which has a session of its own."""
    rented = rent("job-together", quick(epochs=500, processes=2, batch_size=2, precision="float32"))
    machine = rented.begin(1)
    paths = JobPaths(rented.directory(1))
    wait_until(paths.events.exists, timeout_s=300)
    # The program, torchrun and two that train.
    wait_until(lambda: len(processes_of(paths)) >= 4, timeout_s=300)
    machine.kill()
    wait_until(lambda: not processes_of(paths), timeout_s=30)


def test_a_training_that_fails_says_why(rent: Callable[..., Rented]) -> None:
    rented = rent("job-failing", prepare=lambda home: (home.data / "train.jsonl").write_text(""))
    status, said = left(rented.begin(1))
    assert status == 1, said
    manifest = bring_home(rented.job, rented.home)
    assert manifest.outcome is Outcome.FAILED
    assert manifest.reason.startswith("misheard.errors.EmptyDatasetError: ")
    assert manifest.files == {}
    log = rented.home.log.read_text()
    assert "Traceback (most recent call last)" in log
    assert f"it has failed: {manifest.reason}" in log
    assert not rented.home.result.exists()
    assert not rented.home.model.exists()
    # Nothing is done twice: whoever comes later finds the end.
    assert left(rented.begin(2))[0] == 1
    assert read_manifest(rented.job) == manifest


def test_inputs_that_are_damaged_in_the_bucket_are_a_failure_with_a_reason(
    rent: Callable[..., Rented], gcs: GcsEmulator
) -> None:
    rented = rent("job-damaged")
    bundle = read_bundle(rented.job)
    assert bundle is not None
    key = bundle.inputs["data/train.jsonl"]
    bucket, _, folder = rented.job.bucket.url.removeprefix("gs://").partition("/")
    gcs.spoil(bucket, f"{folder}/{rented.job.folder}/inputs/{key[:2]}/{key}", b"something else")
    status, said = left(rented.begin(1))
    assert status == 1, said
    manifest = read_manifest(rented.job)
    assert manifest is not None
    assert manifest.outcome is Outcome.FAILED
    assert key in manifest.reason
    assert not JobPaths(rented.directory(1)).order.exists()


def test_a_machine_waits_for_the_word_to_begin_but_not_for_ever(
    rent: Callable[..., Rented], metadata: tuple[str, list[str]]
) -> None:
    host, said = metadata
    rented = rent("job-waiting", released=False)
    taken = rented.begin(1, GCE_METADATA_HOST=host)
    wait_until(lambda: phase(rented, 1) is Phase.WAITING, timeout_s=300)
    said.append("TRUE")
    status, told = left(taken)
    assert status == 3, told
    assert phase(rented, 1) is Phase.PREEMPTED
    # Started anew, the same machine goes on with its attempt.
    status, told = left(rented.begin(1, wait_s=0.5))
    assert status == 5, told
    assert "nobody said within" in told
    assert phase(rented, 1) is Phase.IN_VAIN
    assert JobPaths(rented.directory(1)).order.exists(), "all was there"
    log = rented.job.bucket.get(rented.job.attempt(1).log).decode()
    assert log.count("it stops: ") == 2
    assert read_manifest(rented.job) is None


def phase(rented: Rented, attempt: int) -> Phase | None:
    beat = read_heartbeat(rented.job.attempt(attempt))
    return beat and beat.phase


def test_of_two_machines_with_one_number_the_first_has_it(rent: Callable[..., Rented]) -> None:
    rented = rent("job-twice", released=False)
    first = rented.begin(1)
    wait_until(lambda: phase(rented, 1) is not None, timeout_s=300)
    other = replace(rented, folder=rented.folder / "elsewhere")
    status, told = left(other.begin(1))
    assert status == 4, told
    assert "is that of" in told
    status, told = left(rented.begin(1))
    assert status == 4, told
    assert "another process" in told
    assert first.poll() is None


def test_wrong_arguments_are_said_to_be_wrong(rent: Callable[..., Rented]) -> None:
    rented = rent("job-misused", released=False)
    misused = replace(rented, job=RentedJob(MemoryBucket(), "job-misused"))
    status, told = left(misused.begin(1))
    assert status == 2
    assert "memory://bucket" in told
