"""The double behaves as Compute Engine does, where what is tested with it depends on that."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from misheard.finetune.rented.compute import Compute
from tests.gce.conftest import QUICK, ZONE, machine, python
from tests.gce.double import ComputeDouble
from tests.loopback import until

STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, lambda *_: print("told", flush=True))
child = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)"]
subprocess.Popen(child, start_new_session=True)
while True:
    time.sleep(0.05)
"""


def call(double: ComputeDouble, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    url = f"{double.url}/compute/v1/projects/my-project{path}"
    request = urllib.request.Request(url, data=data, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (ProcessLookupError, FileNotFoundError):
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


def test_preempting_ends_everything_on_the_machine_and_says_so_first(
    compute: Compute, double: ComputeDouble
) -> None:
    double.program = python(STUBBORN)
    double.grace_s = 0.3
    compute.create(machine(is_spot=True))
    simulated = double.machine(machine().name)
    until(lambda: simulated.console.strip().isdecimal())
    child = int(simulated.console)
    assert is_alive(child)
    host = simulated.server.host
    request = urllib.request.Request(
        f"http://{host}/computeMetadata/v1/instance/preempted",
        headers={"Metadata-Flavor": "Google"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.read() == b"FALSE"
    double.preempt(machine().name)
    assert simulated.exit_status == -signal.SIGKILL, "it did not end by itself"
    assert not is_alive(child), "nor does what it left in a session of its own"
    assert double.names == [], "the machine was to be deleted"


def test_a_machine_that_ends_its_work_is_off_and_still_there(
    compute: Compute, double: ComputeDouble
) -> None:
    double.program = python("print('done')")
    compute.create(machine())
    until(lambda: double.status(machine().name) == "TERMINATED")
    assert "done" in double.machine(machine().name).console


def test_a_machine_does_not_outlive_its_time(compute: Compute, double: ComputeDouble) -> None:
    compute.create(machine(max_run_s=3600))
    simulated = double.machine(machine().name)
    assert simulated.is_running
    # Its hour is over in a third of a second, which nobody has to be in time for.
    double.time_scale = 0.0001
    until(lambda: double.names == [])
    assert not simulated.is_running


def test_a_machine_keeps_its_disk_until_it_is_deleted(
    compute: Compute, double: ComputeDouble
) -> None:
    double.program = lambda _metadata, disk: [
        *(sys.executable, "-c"),
        f"import pathlib; pathlib.Path({str(disk)!r}, 'runs').open('a').write('x')",
    ]
    compute.create(machine())
    disk = double.machine(machine().name).disk
    until(lambda: double.status(machine().name) == "TERMINATED")
    path = f"/zones/{ZONE}/instances/{machine().name}"
    status, _ = call(double, "POST", f"{path}/start")
    assert status == 200
    until(lambda: (disk / "work" / "runs").read_text(encoding="utf-8") == "xx")
    assert compute.delete(machine().name, ZONE)
    assert not disk.exists()
    compute.create(machine(), attempt=2)
    assert double.machine(machine().name).disk != disk


def test_a_program_knows_its_machine(compute: Compute, double: ComputeDouble) -> None:
    double.environment = {"STORAGE_EMULATOR_HOST": "http://127.0.0.1:1"}
    double.program = python(
        "import os, urllib.request as u\n"
        "host = os.environ['GCE_METADATA_HOST']\n"
        "root = f'http://{host}/computeMetadata/v1/instance/'\n"
        "for path in ('name', 'attributes/misheard-job', 'preempted'):\n"
        "    asked = u.Request(root + path, headers={'Metadata-Flavor': 'Google'})\n"
        "    print(u.urlopen(asked).read().decode())\n"
        "print(os.environ['STORAGE_EMULATOR_HOST'], os.getsid(0) == os.getpid())\n"
    )
    compute.create(machine())
    until(lambda: double.status(machine().name) == "TERMINATED")
    assert double.machine(machine().name).console.split() == [
        machine().name,
        "job-1",
        "FALSE",
        "http://127.0.0.1:1",
        "True",
    ]


def test_nothing_is_left_when_the_double_goes(tmp_path: Path) -> None:
    with ComputeDouble(tmp_path / "machines", program=python(STUBBORN)) as double:
        Compute("my-project", endpoint=double.url, patience=QUICK).create(machine())
        simulated = double.machine(machine().name)
        until(lambda: simulated.console.strip().isdecimal())
        child = int(simulated.console)
    assert not is_alive(child)
    assert not simulated.is_running


def test_an_operation_goes_on_when_nobody_asks(double: ComputeDouble) -> None:
    double.polls = 1_000_000
    began = time.monotonic()
    status, operation = call(double, "POST", f"/zones/{ZONE}/instances", machine().resource())
    assert (status, operation["status"]) == (200, "RUNNING")
    until(lambda: double.status(machine().name) == "RUNNING")
    assert time.monotonic() - began > 0.5


@pytest.mark.parametrize(
    ("changed", "where"),
    [
        ({"scheduling": {"onHostMaintenance": "MIGRATE"}}, "scheduling.onHostMaintenance"),
        ({"scheduling": {"automaticRestart": True}}, "scheduling.automaticRestart"),
        (
            {"scheduling": {"instanceTerminationAction": None}},
            "scheduling.instanceTerminationAction",
        ),
        ({"labels": {"Owner": "Ann"}}, "labels"),
        ({"name": "Ann"}, "name"),
        ({"guestAccelerators": [{}]}, "guestAccelerators"),
    ],
)
def test_a_machine_that_compute_engine_would_refuse_is_refused(
    double: ComputeDouble, changed: dict[str, Any], where: str
) -> None:
    body = machine().resource()
    for key, value in changed.items():
        body[key] = body[key] | value if isinstance(value, dict) and key != "labels" else value
    status, answer = call(double, "POST", f"/zones/{ZONE}/instances", body)
    assert status == 400
    assert f"resource.{where}" in answer["error"]["message"]


@pytest.mark.parametrize(
    "path",
    [
        f"/zones/{ZONE}/instances?requestId=not-a-uuid",
        f"/zones/{ZONE}/instances?filter=name+%3A+x",
        "/aggregated/instances?filter=name+%3D+x",
        f"/zones/{ZONE}/operations?filter=labels.x+%3D+y",
    ],
)
def test_a_request_that_is_wrong_is_not_guessed_at(double: ComputeDouble, path: str) -> None:
    method, body = ("POST", machine().resource()) if "requestId" in path else ("GET", None)
    status, answer = call(double, method, path, body)
    assert status == 400
    assert answer["error"]["errors"][0]["reason"] == "invalid"


def test_a_deleted_machine_is_not_brought_back_by_its_request_sent_again(
    double: ComputeDouble,
) -> None:
    wanted = "6f1f0c2e-6f0e-5a3b-9a63-4c0d9a1f7b52"
    path = f"/zones/{ZONE}/instances"
    _, first = call(double, "POST", f"{path}?requestId={wanted}", machine().resource())
    until(lambda: double.status(machine().name) == "RUNNING")
    call(double, "DELETE", f"{path}/{machine().name}")
    until(lambda: double.names == [])
    _, second = call(double, "POST", f"{path}?requestId={wanted}", machine().resource())
    assert second["name"] == first["name"]
    assert double.names == []


def test_an_image_is_looked_up_by_its_family(double: ComputeDouble) -> None:
    family = next(iter(double.image_families))
    status, image = call(double, "GET", f"/global/images/family/{family}")
    assert (status, image["family"]) == (200, family)
    status, _ = call(double, "GET", "/global/images/family/no-such-family")
    assert status == 404
