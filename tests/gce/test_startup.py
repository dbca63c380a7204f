"""The start-up script really runs: against a metadata server, and a bucket, of the tests' own."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest

import misheard.finetune.rented
from misheard.blobs.gcs import GcsBucket
from misheard.finetune.rented.attempts import Phase, read_heartbeat
from misheard.finetune.rented.layout import RentedJob
from misheard.finetune.rented.machines import startup_metadata
from tests.emulators import GcsEmulator, call
from tests.gce.simulated import MetadataServer
from tests.loopback import until

SCRIPT = Path(misheard.finetune.rented.__file__).with_name("startup.sh")
WHEEL = "misheard-0.0.1-py3-none-any.whl"
JOB = "training/jobs/job-1"
LOG = f"{JOB}/attempts/2/install.log"
MANIFEST = f"{JOB}/manifest.json"


@dataclass
class Machine:
    """A machine that is about to start."""

    home: Path
    gcs: GcsEmulator
    bucket: str
    metadata: MetadataServer
    environment: dict[str, str] = field(default_factory=dict)
    program: str = "exit 0"
    """What stands in Python's place, where nothing is installed; some Bash."""

    def start(self) -> subprocess.Popen[str]:
        python = self.home.parent / "python"
        python.write_text(f"#!/bin/bash\n{self.program}\n", encoding="utf-8")
        python.chmod(0o755)
        given = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home.parent),
            "GCE_METADATA_HOST": self.metadata.host,
            "STORAGE_EMULATOR_HOST": self.gcs.url,
            "MISHEARD_HOME": str(self.home),
            "MISHEARD_PYTHON": str(python),
            "MISHEARD_POWER_OFF": f"echo off >>{self.home.parent}/power",
        }
        return subprocess.Popen(
            ["bash", str(SCRIPT)],
            env=given | self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    @contextmanager
    def started(self) -> Iterator[subprocess.Popen[str]]:
        """Nothing of it is left afterwards, whatever happens."""
        process = self.start()
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    def run(self) -> tuple[int, str]:
        """Start it; what it ends with, and all it says on its console."""
        with self.started() as process:
            console, _ = process.communicate(timeout=600)
            return process.returncode, console

    @property
    def times_off(self) -> int:
        power = self.home.parent / "power"
        return power.read_text(encoding="utf-8").count("off") if power.exists() else 0

    def put(self, name: str, content: bytes) -> None:
        self.gcs.spoil(self.bucket, name, content)

    def get(self, name: str) -> bytes | None:
        path = f"{self.gcs.url}/storage/v1/b/{self.bucket}/o/{quote(name, '')}?alt=media"
        status, content = call("GET", path)
        return content if status == 200 else None

    def failure(self) -> str:
        """The reason in the manifest of a failed job; "" where there is no manifest."""
        content = self.get(MANIFEST)
        if content is None:
            return ""
        values = json.loads(content)
        told = values.pop("sha256")
        assert told == hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
        assert values | {"reason": ""} == {
            "attempt": 2,
            "files": {},
            "outcome": "failed",
            "reason": "",
        }
        return str(values["reason"])


@pytest.fixture
def rented(tmp_path: Path, gcs: GcsEmulator) -> Iterator[Machine]:
    bucket = gcs.new_bucket()
    attributes = startup_metadata(
        bucket_url=f"gs://{bucket}",
        job_id="job-1",
        attempt=2,
        wheel_url=f"gs://{bucket}/training/shared/00/{'0' * 64}",
        wheel_name=WHEEL,
        extras="gcp",
    )
    server = MetadataServer(name="misheard-x-2", zone="us-central1-a", attributes=attributes)
    yield Machine(home=tmp_path / "home", gcs=gcs, bucket=bucket, metadata=server)
    server.close()


def test_it_trains_sends_its_log_and_powers_the_machine_off(rented: Machine) -> None:
    rented.program = 'echo "It runs: $*"'
    status, console = rented.run()
    assert status == 0, console
    told = f"-m misheard.finetune.rented.program gs://{rented.bucket} job-1 {rented.home}/job"
    log = (rented.get(LOG) or b"").decode()
    assert f"It runs: {told} --attempt 2" in log
    assert "It runs" in console
    assert rented.times_off == 1
    assert rented.failure() == ""


def test_names_in_the_bucket_begin_with_what_its_address_ends_with(rented: Machine) -> None:
    rented.metadata.attributes["misheard-bucket"] = f"gs://{rented.bucket}/a team/x/"
    assert rented.run()[0] == 0
    assert rented.get(f"a team/x/{LOG}") is not None


@pytest.mark.parametrize("status", [1, 2, 137])
def test_a_program_that_fails_without_a_word_gets_a_manifest(rented: Machine, status: int) -> None:
    rented.program = f"echo 'A \"cause\" \\ with ünïcode'; exit {status}"
    assert rented.run()[0] == status
    reason = rented.failure()
    assert f"failed at: train (status {status})" in reason
    assert "cause" in reason
    assert rented.times_off == 1


@pytest.mark.parametrize("status", [0, 3, 4, 5])
def test_a_job_that_goes_on_elsewhere_or_is_done_gets_none(rented: Machine, status: int) -> None:
    rented.program = f"exit {status}"
    assert rented.run()[0] == status
    assert rented.get(MANIFEST) is None
    assert rented.get(LOG) is not None
    assert rented.times_off == 1


def test_what_the_program_has_said_stands(rented: Machine) -> None:
    rented.put(MANIFEST, b"the program's own")
    rented.program = "exit 1"
    assert rented.run()[0] == 1
    assert rented.get(MANIFEST) == b"the program's own"
    assert rented.times_off == 1


def test_a_machine_that_is_taken_away_has_not_failed(rented: Machine) -> None:
    rented.metadata.preempt()
    rented.program = "exit 1"
    assert rented.run()[0] == 1
    assert rented.get(MANIFEST) is None
    assert rented.times_off == 1


def test_a_machine_that_is_switched_off_tells_its_program_and_waits_for_it(
    rented: Machine,
) -> None:
    rented.program = (
        "trap 'sleep 0.3; echo saved; exit 3' TERM; echo waiting; while :; do sleep 0.05; done"
    )
    with rented.started() as process:
        log = rented.home / "install.log"
        until(lambda: log.exists() and "waiting" in log.read_text("utf-8"))
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=300)
    assert process.returncode == 3
    assert b"saved" in (rented.get(LOG) or b"")
    assert rented.get(MANIFEST) is None
    assert rented.times_off == 1


def test_what_is_left_running_does_not_keep_the_machine_on(rented: Machine) -> None:
    rented.program = "sleep 1000 & echo $! >left; exit 1"
    with rented.started() as process:
        process.wait(timeout=300)
        os.kill(int((rented.home / "left").read_text("utf-8")), signal.SIGKILL)
    assert rented.times_off == 1


def test_a_machine_that_nobody_told_anything_is_off_again(rented: Machine) -> None:
    rented.metadata.attributes.clear()
    status, console = rented.run()
    assert status != 0
    assert "read the metadata" in console
    assert rented.times_off == 1


def test_misheard_that_is_not_what_was_sent_is_not_installed(rented: Machine) -> None:
    rented.environment = {"MISHEARD_PYTHON": ""}
    rented.put(f"training/shared/00/{'0' * 64}", b"something else")
    assert rented.run()[0] != 0
    assert "failed at: fetch misheard" in rented.failure()
    assert f"{WHEEL}: FAILED".encode() in (rented.get(LOG) or b"")
    assert not (rented.home / "venv").exists()
    assert rented.times_off == 1


def test_it_installs_once_and_a_machine_that_is_switched_on_again_goes_on(
    rented: Machine, tmp_path: Path
) -> None:
    wheel = _wheel(tmp_path / WHEEL)
    key = hashlib.sha256(wheel).hexdigest()
    rented.put(f"training/shared/{key[:2]}/{key}", wheel)
    address = f"gs://{rented.bucket}/training/shared/{key[:2]}/{key}"
    rented.metadata.attributes |= {"misheard-wheel": address, "misheard-constraints": "torch==2\n"}
    beside = Path(sys.executable).resolve().parent
    rented.environment = {
        "MISHEARD_PYTHON": "",
        "PATH": f"{beside}:{os.environ['PATH']}",
        # What it needs is not to be had here.
        "PIP_NO_DEPS": "1",
        "PIP_NO_INDEX": "1",
    }
    status, console = rented.run()
    assert status == 0, console
    assert "Successfully installed misheard-0.0.1" in console
    assert f"installed with job-1 {rented.home}/job --attempt 2" in console
    assert (rented.home / "constraints.txt").read_text("utf-8") == "torch==2\n"
    status, console = rented.run()
    assert status == 0, console
    assert "Successfully installed" not in console
    assert "installed with job-1" in console
    assert rented.times_off == 2


def test_while_it_installs_it_tells_that_it_lives_and_how_far_it_is(
    rented: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment takes for ever to be made."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", rented.gcs.url)
    wheel = _wheel(tmp_path / WHEEL)
    key = hashlib.sha256(wheel).hexdigest()
    rented.put(f"training/shared/{key[:2]}/{key}", wheel)
    address = f"gs://{rented.bucket}/training/shared/{key[:2]}/{key}"
    rented.metadata.attributes["misheard-wheel"] = address
    slow = tmp_path / "slow"
    slow.mkdir()
    python = slow / "python3.13"
    python.write_text(
        '#!/bin/bash\n[ "$1" != -c ] || exit 0\necho "It is slow."; exec sleep 1000\n', "utf-8"
    )
    python.chmod(0o755)
    rented.environment = {
        "MISHEARD_PYTHON": "",
        "MISHEARD_BEAT_S": "0.5",
        "PATH": f"{slow}:{os.environ['PATH']}",
    }
    attempt = RentedJob(GcsBucket(rented.bucket), "job-1").attempt(2)
    with rented.started() as process:
        until(lambda: b"It is slow." in (rented.get(LOG) or b""))
        first = read_heartbeat(attempt)
        assert first is not None
        assert (first.attempt, first.phase) == (2, Phase.INSTALLING)
        assert abs(datetime.now(UTC) - first.at) < timedelta(minutes=5)
        until(lambda: read_heartbeat(attempt) != first)
        assert attempt.job.attempts() == []
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=300)
    assert b"It ends at: make an environment" in (rented.get(LOG) or b"")
    last = read_heartbeat(attempt)
    time.sleep(2.5)
    assert read_heartbeat(attempt) == last
    assert rented.times_off == 1


def test_the_script_has_no_slips(tmp_path: Path) -> None:
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True, timeout=30)
    linter = shutil.which("shellcheck")
    if linter is None:
        pytest.skip("shellcheck is not installed")
    subprocess.run([linter, str(SCRIPT)], check=True, timeout=60)


def _wheel(path: Path) -> bytes:
    """One that has nothing but a program that says how it was called."""
    files: dict[str, str] = {
        "misheard/__init__.py": "",
        "misheard/finetune/__init__.py": "",
        "misheard/finetune/rented/__init__.py": "",
        "misheard/finetune/rented/program.py": (
            "import sys\nprint('installed with', *sys.argv[2:])\n"
        ),
        "misheard-0.0.1.dist-info/METADATA": (
            "Metadata-Version: 2.1\nName: misheard\nVersion: 0.0.1\nProvides-Extra: gcp\n"
        ),
        "misheard-0.0.1.dist-info/WHEEL": (
            "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        ),
    }
    hashed: Callable[[str], str] = lambda text: (  # noqa: E731
        base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
    )
    record = "".join(
        f"{name},sha256={hashed(text)},{len(text.encode())}\n" for name, text in files.items()
    )
    files["misheard-0.0.1.dist-info/RECORD"] = record + "misheard-0.0.1.dist-info/RECORD,,\n"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path.read_bytes()
