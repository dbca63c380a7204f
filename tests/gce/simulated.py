"""A rented machine as a process on this one: its program, its metadata server, and its end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

_MARK = "MISHEARD_SIMULATED_MACHINE"


def training_program(metadata: dict[str, str], directory: Path) -> list[str]:
    """What the start-up script runs once it has installed misheard."""
    return [
        *(sys.executable, "-m", "misheard.finetune.rented.program"),
        *(metadata["misheard-bucket"], metadata["misheard-job"], str(directory)),
        *("--attempt", metadata["misheard-attempt"]),
    ]


def startup_script(metadata: dict[str, str], directory: Path) -> list[str]:
    """The start-up script itself, with misheard as it is here instead of an installed one."""
    script = directory / "startup.sh"
    script.write_text(metadata["startup-script"], encoding="utf-8")
    settings = {
        "MISHEARD_PYTHON": sys.executable,
        "MISHEARD_HOME": str(directory),
        # The machine is off when the script has ended.
        "MISHEARD_POWER_OFF": "true",
    }
    return ["env", *(f"{name}={value}" for name, value in settings.items()), "bash", str(script)]


Program = Callable[[dict[str, str], Path], list[str]]
"""Metadata of a machine, and its empty disk → the command that runs on it."""


@dataclass
class MetadataServer:
    """What a machine can ask about itself, over HTTP as Compute Engine has it."""

    name: str
    zone: str
    attributes: dict[str, str]
    preempted: bool = False
    changed: threading.Event = field(default_factory=threading.Event)
    asked: list[str] = field(default_factory=list)
    """Paths of all requests."""

    def __post_init__(self) -> None:
        state = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                state._answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    def preempt(self) -> None:
        self.preempted = True
        self.changed.set()

    def close(self) -> None:
        self.changed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        self.asked.append(parts.path)
        if handler.headers.get("Metadata-Flavor") != "Google":
            self._write(handler, 403, "Missing Metadata-Flavor:Google header.")
            return
        query = parse_qs(parts.query)
        if query.get("wait_for_change") == ["true"] and not self.preempted:
            self.changed.wait(float(query.get("timeout_sec", ["60"])[0]))
        value = self._value(parts.path.removeprefix("/computeMetadata/v1").rstrip("/"))
        self._write(handler, 404 if value is None else 200, value or "")

    def _value(self, path: str) -> str | None:
        token = {"access_token": "t0ken", "expires_in": 3599, "token_type": "Bearer"}
        known = {
            "": "instance/\nproject/\n",
            "/instance/name": self.name,
            "/instance/zone": f"projects/1234/zones/{self.zone}",
            "/instance/preempted": "TRUE" if self.preempted else "FALSE",
            "/instance/service-accounts/default/token": json.dumps(token),
            "/project/project-id": "my-project",
        }
        found = known.get(path)
        if found is None and path.startswith("/instance/attributes/"):
            return self.attributes.get(path.rpartition("/")[2])
        return found

    def _write(self, handler: BaseHTTPRequestHandler, status: int, text: str) -> None:
        body = text.encode()
        with suppress(OSError):
            handler.send_response(status)
            handler.send_header("Metadata-Flavor", "Google")
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)


class SimulatedMachine:
    """One instance while it exists: a disk of its own, and whatever runs on it."""

    def __init__(
        self,
        *,
        name: str,
        zone: str,
        metadata: dict[str, str],
        disk: Path,
        environment: dict[str, str],
    ) -> None:
        self.metadata = metadata
        self.disk = disk
        self.disk.mkdir(parents=True)
        self.server = MetadataServer(name=name, zone=zone, attributes=metadata)
        self._mark = uuid.uuid4().hex
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def console(self) -> str:
        """All that its program has printed."""
        log = self.disk / "console.log"
        return log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""

    @property
    def exit_status(self) -> int | None:
        """Of its program; None while it runs."""
        return None if self._process is None else self._process.poll()

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def switch_on(self, program: Program) -> None:
        """Run its program; what is on its disk is what was there when it was switched off."""
        directory = self.disk / "work"
        directory.mkdir(exist_ok=True)
        environment = os.environ | self._environment
        with (self.disk / "console.log").open("ab") as log:
            self._process = subprocess.Popen(
                program(self.metadata, directory),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.disk,
                start_new_session=True,
                env=environment | {_MARK: self._mark, "GCE_METADATA_HOST": self.server.host},
            )

    def switch_off(self, *, grace_s: float) -> None:
        """As the power goes: everything on it is told to end, and ended after the grace.

        Whatever its program has started ends too, in sessions of their own or not.
        """
        for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 10.0)):
            deadline = time.monotonic() + wait_s
            self._signal(number)
            while self._processes() and time.monotonic() < deadline:
                time.sleep(0.02)
        if self._process is not None:
            self._process.wait()

    def remove(self) -> None:
        """Its disk goes too."""
        self.switch_off(grace_s=0)
        self.server.close()
        shutil.rmtree(self.disk)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._processes():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _processes(self) -> list[int]:
        """All that runs on it; they are known by what they have in their environment."""
        if self._process is not None:
            self._process.poll()
        mark = f"{_MARK}={self._mark}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with suppress(OSError):
                    if mark in (entry / "environ").read_bytes().split(b"\0"):
                        found.append(int(entry.name))
        return found
