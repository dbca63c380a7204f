"""`misheard serve` as people run it: processes that are started, told to stop, and killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import psutil
import pytest

from misheard.server.running import _with_its_share
from misheard.workspace import Workspace
from tests.conftest import make_wav
from tests.loopback import until
from tests.server.site import TRANSCRIPTIONS
from tests.serving.letters import PATIENCE_S, make

MISHEARD = [sys.executable, "-c", "from misheard.cli import main; main()"]
CLIENTS = 4
KILLED_AFTER = 30
"""Acknowledged pieces of feedback."""


@pytest.fixture
def workspace(letters: dict[str, Path], tmp_path: Path) -> Workspace:
    return make(tmp_path / "ws", letters)


def command(workspace: Workspace, *arguments: str) -> list[str]:
    return [*MISHEARD, "-w", str(workspace.root), "serve", *arguments]


def test_each_of_several_processes_takes_its_share_of_the_cores(workspace: Workspace) -> None:
    def threads(processes: int, **speech: object) -> int:
        asked = workspace.configured({"speech": speech})
        return _with_its_share(asked, processes).settings.speech.threads

    assert threads(1) == 0
    assert threads(2) == max(1, len(os.sched_getaffinity(0)) // 2)
    assert threads(2, threads=3) == 3
    # On a GPU threads are batches at once, whatever the cores.
    assert threads(2, device="cuda") == 0


class Server:
    """A running `misheard serve`, and where it says that it answers."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.told: list[str] = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()
        until(lambda: self._address() or process.poll() is not None, seconds=2 * PATIENCE_S)
        address = self._address()
        assert address is not None, self.told
        self.url = address[0]

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.told.append(line)

    def _address(self) -> re.Match[str] | None:
        return re.search(r"http://127\.0\.0\.1:\d+(?=.* until stopped)", "".join(self.told))

    def http(self) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, timeout=PATIENCE_S)


@contextmanager
def running(workspace: Workspace, *arguments: str) -> Iterator[Server]:
    process = subprocess.Popen(
        command(workspace, "--port", "0", *arguments),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    family: list[psutil.Process] = []
    try:
        server = Server(process)
        family = psutil.Process(process.pid).children(recursive=True)
        yield server
    finally:
        process.kill()
        process.wait()
    # Whatever it started has gone with it, however it ended.
    _, left = psutil.wait_procs(family, timeout=PATIENCE_S)
    assert left == []


def hear(http: httpx2.Client, seconds: float = 0.3) -> httpx2.Response:
    return http.post(TRANSCRIPTIONS, files={"file": ("a.wav", make_wav(seconds=seconds))})


@pytest.mark.parametrize("one", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_ends_what_is_under_way(workspace: Workspace, one: signal.Signals) -> None:
    settings = workspace.root / "misheard.toml"
    slow = "[serving]\nmax_wait_ms = 10000.0"
    settings.write_text(settings.read_text().replace("[serving]", slow))
    with running(workspace) as server, server.http() as http, ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(hear, http) for _ in range(3)]
        assert "A answers at" in "".join(server.told)
        told = f"curl -F file=@call.wav {server.url}{TRANSCRIPTIONS}"
        until(lambda: told in "".join(server.told), seconds=PATIENCE_S)
        until(lambda: _in_flight(http) == 3, seconds=PATIENCE_S)
        server.process.send_signal(one)
        assert [answer.result().status_code for answer in asked] == [200] * 3
        assert server.process.wait(PATIENCE_S) == 0
    assert workspace.inferences.count() == 3
    assert workspace.fleet.known() == []


def _in_flight(http: httpx2.Client) -> int:
    found = re.search(r"misheard_server_in_flight{.*} (\d+)", http.get("/metrics").text)
    return int(found[1]) if found else 0


def test_machines_are_told_where_it_answers(workspace: Workspace) -> None:
    with subprocess.Popen(
        command(workspace, "--port", "0", "--json"), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        answer = httpx2.get(f"{told['url']}/readyz", timeout=PATIENCE_S)
        assert answer.json()["version"] == told["version_id"] == "A"
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


def alive(workspace: Workspace) -> set[str]:
    return {one.id for one in workspace.fleet.alive("production") if one.version_id}


def workers(server: Server) -> list[psutil.Process]:
    return [
        one
        for one in psutil.Process(server.process.pid).children()
        if "spawn_main" in " ".join(one.cmdline())
    ]


def test_several_processes_answer_and_one_that_dies_is_replaced(workspace: Workspace) -> None:
    with running(workspace, "--processes", "2") as server:
        until(lambda: len(alive(workspace)) == 2, seconds=PATIENCE_S)
        before = alive(workspace)
        first, _ = workers(server)
        first.kill()
        # A connection that was in its hands is lost; new ones are not.
        with server.http() as http:
            assert hear(http).status_code == 200
        until(lambda: len(alive(workspace) - before) == 1, seconds=PATIENCE_S)
        server.process.terminate()
        assert server.process.wait(PATIENCE_S) == 0


def test_why_one_cannot_start_is_told_and_others_are_tried_ever_more_slowly(
    workspace: Workspace,
) -> None:
    with running(workspace, "--processes", "2") as server:

        def told() -> str:
            return "".join(server.told)

        until(lambda: len(alive(workspace)) == 2, seconds=PATIENCE_S)
        known = alive(workspace)
        settings = workspace.root / "misheard.toml"
        before = settings.read_text()
        settings.write_text(before + "\n[nonsense]\n")
        first, second = workers(server)
        first.kill()
        until(lambda: "takes its place in 2 s" in told(), seconds=PATIENCE_S)
        ended = [line for line in server.told if "A server process has ended" in line]
        # One more may have ended since.
        assert [re.sub(r".*in (\d+) s\.\n", r"\1", line) for line in ended[:2]] == ["1", "2"]
        assert "has ended (-9). Another" in ended[0]
        assert "has ended (2). A setting is unknown" in ended[1] and "nonsense" in ended[1]
        settings.write_text(before)
        until(lambda: len(alive(workspace) - known) == 1, seconds=PATIENCE_S)
        (third,) = set(workers(server)) - {second}
        # It has said that it is ready once it answers, and now nobody else can.
        second.suspend()
        assert httpx2.get(f"{server.url}/healthz", timeout=PATIENCE_S).status_code == 200
        second.resume()
        third.kill()
        again = "(-9). Another takes its place in 1 s."
        until(lambda: told().count(again) == 2, seconds=PATIENCE_S)


def refused(*arguments: str, workspace: Workspace) -> str:
    done = subprocess.run(
        command(workspace, *arguments), capture_output=True, text=True, check=False,
        timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    return done.stderr


def test_what_keeps_it_from_starting_is_said_plainly(workspace: Workspace) -> None:
    with running(workspace) as server:
        port = server.url.rpartition(":")[2]
        taken = refused("--port", port, workspace=workspace)
        assert "Another program listens" in taken and f"--port {int(port) + 1}" in taken
    assert "it has no token" in refused("--host", "0.0.0.0", workspace=workspace)
    nothing = ("--port", "0", "--slot", "spare", "--processes", "2")
    assert "No model version is live" in refused(*nothing, workspace=workspace)


def test_killed_under_load_it_has_all_feedback_that_it_acknowledged(workspace: Workspace) -> None:
    acknowledged: dict[str, str] = {}

    def ask(number: int) -> None:
        with server.http() as http:
            for turn in range(100):
                try:
                    heard = hear(http, 0.2).json().get("id")
                    if heard is None:
                        continue  # captured late, where a disk is slow
                    said = {"id": heard, "text": f"number {number} {turn}"}
                    if http.post("/v1/feedback", json=said).status_code == 200:
                        acknowledged[heard] = said["text"]
                except httpx2.HTTPError:
                    return  # it is gone

    with running(workspace) as server:
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        until(lambda: len(acknowledged) >= KILLED_AFTER, seconds=PATIENCE_S)
        server.process.kill()
        for thread in threads:
            thread.join(PATIENCE_S)
    again = Workspace.open(workspace.root)
    kept = {one.inference_id: one.reference for one in again.cases.corrections(limit=None)}
    assert len(acknowledged) >= KILLED_AFTER
    assert acknowledged.items() <= kept.items()
    for inference_id in acknowledged:
        assert again.recording(again.inferences.get(inference_id).audio_sha256)
