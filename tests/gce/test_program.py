"""The program of a rented machine, as a process, against a bucket that a server keeps."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from misheard.finetune.events import read_events
from misheard.finetune.paths import JobPaths
from misheard.finetune.rented.attempts import Phase, read_heartbeat
from misheard.finetune.rented.homecoming import bring_home, follow
from misheard.finetune.rented.manifest import Outcome, read_manifest
from misheard.finetune.rented.saves import saves
from tests.finetune.conftest import processes_of, wait_until
from tests.gce.conftest import Rented, left

pytestmark = pytest.mark.model
SAME = ("validation_wer", "best_epoch", "share", "sweep", "checked", "training_clips")


def assert_same(home: JobPaths, undisturbed: JobPaths) -> None:
    """As if it had been trained here in one go."""
    model = {path.name: path.read_bytes() for path in home.model.iterdir()}
    assert model == {path.name: path.read_bytes() for path in undisturbed.model.iterdir()}
    result, wanted = (json.loads(one.result.read_text()) for one in (home, undisturbed))
    assert {name: result[name] for name in SAME} == {name: wanted[name] for name in SAME}
    assert result["training_loss"] == pytest.approx(wanted["training_loss"])


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


def test_a_machine_trains_and_the_model_comes_home(
    rent: Callable[..., Rented], undisturbed: JobPaths
) -> None:
    rented = rent("job-rented")
    machine = rented.begin(1)
    seen: list[int] = []
    while machine.poll() is None:
        if follow(rented.job, rented.home):
            seen.append(len(list(read_events(rented.home.events))))
        time.sleep(0.1)
    status, said = left(machine)
    assert status == 0, said
    manifest = bring_home(rented.job, rented.home)
    assert (manifest.outcome, manifest.attempt) == (Outcome.SUCCEEDED, 1)
    assert_same(rented.home, undisturbed)
    assert len(seen) > 1, "events came home while it trained"
    events = list(read_events(rented.home.events))
    assert [e.phase for e in events][-1] == "done"
    assert rented.home.events.read_bytes() == JobPaths(rented.directory(1)).events.read_bytes()
    assert rented.home.log.read_bytes() == JobPaths(rented.directory(1)).log.read_bytes()


def test_taken_away_again_and_again_it_comes_to_the_same_weights(
    rent: Callable[..., Rented], undisturbed: JobPaths, metadata: tuple[str, list[str]]
) -> None:
    """Killed, told by a signal, told by the metadata server: each time another machine goes on."""
    host, said = metadata
    rented = rent("job-taken")
    first = rented.begin(1)
    reached = rented.wait_for_save().step
    first.kill()
    first.wait()
    wait_until(lambda: not processes_of(JobPaths(rented.directory(1))), timeout_s=30)
    second = rented.begin(2)
    reached = rented.wait_for_save(past=reached).step
    second.send_signal(signal.SIGTERM)
    status, told = left(second, timeout_s=30)
    assert status == 3, told
    assert "SIGTERM" in told
    third = rented.begin(3, GCE_METADATA_HOST=host)
    reached = max(reached, rented.wait_for_save(past=reached).step)
    said.append("TRUE")
    assert left(third, timeout_s=30)[0] == 3
    for number in (2, 3):
        beat = read_heartbeat(rented.job.attempt(number))
        assert beat is not None
        assert beat.phase is Phase.PREEMPTED
        assert not processes_of(JobPaths(rented.directory(number)))
    assert read_manifest(rented.job) is None
    assert len(saves(rented.job)) <= 2
    last = rented.furthest()
    assert last is not None
    status, told = left(rented.begin(4))
    assert status == 0, told
    assert f"goes on from step {last.step}" in told
    bring_home(rented.job, rented.home)
    assert_same(rented.home, undisturbed)
    log = rented.home.log.read_text()
    assert "it stops: SIGTERM" in log
    assert "it stops: the machine is taken away" in log
    told_events = list(read_events(rented.home.events))
    assert [event.phase for event in told_events].count("prepare") == 4
    assert told_events[-1].phase == "done"
    # What a machine told came home once, and machines follow each other.
    pieces = [rented.job.bucket.get(rented.job.attempt(n).events) for n in (1, 2, 3, 4)]
    assert rented.home.events.read_bytes() == b"".join(pieces)
