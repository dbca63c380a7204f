"""What is asked of Compute Engine for a machine."""

from __future__ import annotations

import re
from typing import Any

import pytest

from misheard.errors import InvalidSettingError
from misheard.finetune.rented.machines import (
    IMAGE,
    InstanceState,
    labels,
    machine_name,
    owned,
    startup_metadata,
)
from misheard.finetune.rented.pins import pins
from tests.gce.conftest import ZONE, machine


def test_the_whole_of_a_machine_as_the_api_wants_it() -> None:
    asked = machine(is_spot=True, disk_gb=150, max_run_s=5400.4).resource()
    tags = labels(owner="me", job_id="job-1", attempt=1)
    assert asked == {
        "name": machine_name("job-1", 1),
        "description": "Rented by misheard for a training; `misheard gce sweep` ends it.",
        "machineType": f"zones/{ZONE}/machineTypes/g2-standard-8",
        "labels": tags,
        "disks": [
            {
                "boot": True,
                "autoDelete": True,
                "type": "PERSISTENT",
                "initializeParams": {
                    "sourceImage": IMAGE,
                    "diskSizeGb": "150",
                    "diskType": f"zones/{ZONE}/diskTypes/pd-balanced",
                    "labels": tags,
                },
            }
        ],
        "networkInterfaces": [
            {
                "network": "global/networks/default",
                "accessConfigs": [{"type": "ONE_TO_ONE_NAT", "name": "External NAT"}],
            }
        ],
        "serviceAccounts": [
            {
                "email": "default",
                "scopes": [
                    "https://www.googleapis.com/auth/devstorage.read_write",
                    "https://www.googleapis.com/auth/logging.write",
                ],
            }
        ],
        "scheduling": {
            "maxRunDuration": {"seconds": "5400"},
            "instanceTerminationAction": "DELETE",
            "provisioningModel": "SPOT",
            "preemptionNoticeDuration": {"seconds": "120"},
            "automaticRestart": False,
            "onHostMaintenance": "TERMINATE",
        },
        "metadata": {
            "items": [
                {"key": "block-project-ssh-keys", "value": "TRUE"},
                {"key": "enable-oslogin", "value": "TRUE"},
                {"key": "misheard-job", "value": "job-1"},
                {"key": "misheard-attempt", "value": "1"},
            ]
        },
        "shieldedInstanceConfig": {
            "enableSecureBoot": False,
            "enableVtpm": True,
            "enableIntegrityMonitoring": True,
        },
    }


def test_names_and_labels_can_be_those_of_a_machine_whatever_the_job_is_called() -> None:
    for job_id in ("j", "Ünï-code/..", "A" * 500, ""):
        for attempt in (1, 99_999):
            name = machine_name(job_id, attempt)
            assert re.fullmatch(r"[a-z][a-z0-9-]{0,61}[a-z0-9]", name)
            assert name == machine_name(job_id, attempt)
            for key, value in labels(owner="/home/Ann B", job_id=job_id, attempt=attempt).items():
                assert re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key)
                assert re.fullmatch(r"[a-z0-9_-]{1,63}", value)
    assert machine_name("job-1", 1) != machine_name("job-1", 2) != machine_name("job-2", 2)


def test_a_sweep_finds_a_machine_by_the_labels_of_its_workspace() -> None:
    assert owned("me").items() <= labels(owner="me", job_id="job-1", attempt=1).items()
    assert owned("me") != owned("you")


def test_google_ends_every_machine_and_its_disk_by_itself() -> None:
    for kind in ("g2-standard-4", "e2-standard-4", "n1-standard-8"):
        for is_spot in (False, True):
            asked = machine(machine_type=kind, is_spot=is_spot, max_run_s=3600).resource()
            assert asked["scheduling"]["maxRunDuration"] == {"seconds": "3600"}
            assert asked["scheduling"]["instanceTerminationAction"] == "DELETE"
            assert asked["scheduling"]["automaticRestart"] is False
            assert asked["disks"][0]["autoDelete"] is True


@pytest.mark.parametrize(
    ("machine_type", "is_spot", "wanted"),
    [
        ("g2-standard-8", False, "TERMINATE"),
        ("n1-standard-8", True, "TERMINATE"),
        # Compute Engine refuses TERMINATE for e2 on demand.
        ("e2-standard-4", False, "MIGRATE"),
        ("e2-standard-4", True, "TERMINATE"),
    ],
)
def test_only_what_cannot_move_is_ended_for_maintenance(
    machine_type: str, is_spot: bool, wanted: str
) -> None:
    asked = machine(machine_type=machine_type, is_spot=is_spot).resource()
    assert asked["scheduling"]["onHostMaintenance"] == wanted


def test_a_gpu_is_attached_to_what_comes_without_one() -> None:
    rented = machine(machine_type="n1-standard-4", accelerator="nvidia-tesla-t4")
    assert rented.resource()["guestAccelerators"] == [
        {
            "acceleratorType": f"zones/{ZONE}/acceleratorTypes/nvidia-tesla-t4",
            "acceleratorCount": 1,
        }
    ]
    assert rented.resource()["scheduling"]["onHostMaintenance"] == "TERMINATE"
    assert rented.gpu == "nvidia-tesla-t4"


@pytest.mark.parametrize(
    ("machine_type", "gpu"),
    [
        ("g2-standard-8", "nvidia-l4"),
        ("a2-highgpu-1g", "nvidia-tesla-a100"),
        ("a2-ultragpu-1g", "nvidia-a100-80gb"),
        ("a3-highgpu-1g", "nvidia-h100-80gb"),
    ],
)
def test_nothing_is_attached_to_what_has_its_own_gpu(machine_type: str, gpu: str) -> None:
    for named in ("", gpu):
        rented = machine(machine_type=machine_type, accelerator=named)
        assert rented.gpu == gpu
        assert "guestAccelerators" not in rented.resource()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"accelerator": "nvidia-tesla-t4"}, "g2-standard-8 comes with nvidia-l4"),
        ({"machine_type": "c3-standard-8", "accelerator": "nvidia-tesla-t4"}, "series n1 alone"),
        ({"accelerator_count": 0}, "at least 1"),
        ({"name": "Misheard_1"}, "no name that a machine can have"),
        ({"name": "m" * 64}, "no name that a machine can have"),
        ({"labels": {"Owner": "x"}}, "no label"),
        ({"labels": {"owner": "ann@example.com"}}, "no label"),
        ({"max_run_s": 10}, "30 seconds to 120 days"),
        ({"max_run_s": 121 * 86400}, "30 seconds to 120 days"),
    ],
)
def test_what_compute_engine_would_refuse_is_refused_here(
    changed: dict[str, Any], told: str
) -> None:
    with pytest.raises(InvalidSettingError, match=told):
        machine(**changed)


def test_an_account_of_its_own_is_held_by_its_roles_alone() -> None:
    [account] = machine(service_account="t@p.iam.gserviceaccount.com").resource()["serviceAccounts"]
    assert account == {
        "email": "t@p.iam.gserviceaccount.com",
        "scopes": ["https://www.googleapis.com/auth/cloud-platform"],
    }


@pytest.mark.parametrize(
    ("network", "wanted"),
    [
        ("training", {"network": "global/networks/training"}),
        ("projects/p/global/networks/n", {"network": "projects/p/global/networks/n"}),
        ("regions/r/subnetworks/s", {"subnetwork": "regions/r/subnetworks/s"}),
    ],
)
def test_a_machine_without_an_address_of_its_own_is_in_the_network_that_is_named(
    network: str, wanted: dict[str, str]
) -> None:
    asked = machine(network=network, external_ip=False).resource()
    assert asked["networkInterfaces"] == [wanted]


def test_a_machine_gets_a_disk_that_can_be_attached_to_it() -> None:
    kinds = {
        kind: machine(machine_type=kind).boot_disk_type
        for kind in ("g2-standard-4", "a3-highgpu-1g", "c3-standard-4", "c4-standard-4", "n4-x")
    }
    assert kinds == {
        "g2-standard-4": "pd-balanced",
        "a3-highgpu-1g": "pd-balanced",
        "c3-standard-4": "pd-balanced",
        "c4-standard-4": "hyperdisk-balanced",
        "n4-x": "hyperdisk-balanced",
    }
    asked = machine(disk_type="pd-ssd").resource()
    assert asked["disks"][0]["initializeParams"]["diskType"].endswith("/pd-ssd")


def test_a_machine_is_told_what_to_run() -> None:
    told = startup_metadata(
        bucket_url="gs://models/team",
        job_id="job-1",
        attempt=2,
        wheel_url="gs://models/team/training/shared/ab/abcd",
        wheel_name="misheard-0.1.0-py3-none-any.whl",
        constraints="torch==2.13.0\n",
    )
    script = told.pop("startup-script")
    assert script.startswith("#!/bin/bash\n")
    assert told == {
        "misheard-bucket": "gs://models/team",
        "misheard-job": "job-1",
        "misheard-attempt": "2",
        "misheard-wheel": "gs://models/team/training/shared/ab/abcd",
        "misheard-wheel-name": "misheard-0.1.0-py3-none-any.whl",
        "misheard-extras": "gcp,lora",
        "misheard-constraints": "torch==2.13.0\n",
    }
    # The most that Compute Engine takes as one value.
    assert len(script.encode()) < 256 * 1024


def test_a_machine_installs_the_versions_of_here_built_for_itself() -> None:
    lines = dict(line.split("==") for line in pins().splitlines())
    assert {"torch", "transformers", "ctranslate2", "numpy"} <= lines.keys()
    assert not any("+" in version for version in lines.values())


def test_a_state_says_whether_anything_runs() -> None:
    assert InstanceState.of("TERMINATED").is_off
    assert not InstanceState.of("STOPPING").is_off
    assert InstanceState.of("STOPPING").is_ending
    assert not InstanceState.of("RUNNING").is_ending
    assert InstanceState.of("SOMETHING_NEW") is InstanceState.UNKNOWN
