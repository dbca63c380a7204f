"""The machine that a training rents, and the instance resource that Compute Engine makes of it.

Pure: nothing here is sent. Fields of the resource:
https://cloud.google.com/compute/docs/reference/rest/v1/instances
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from importlib import resources
from typing import Any

from misheard.errors import InvalidSettingError

IMAGE = (
    "projects/deeplearning-platform-release/global/images/family/"
    "common-cu129-ubuntu-2404-nvidia-580"
)
"""Ubuntu 24.04 with Python 3.12, gcloud and NVIDIA's driver 580; Google patches it until August
2028 (https://cloud.google.com/deep-learning-vm/docs/images, in its state of 2026-04-10). The driver
matters: torch from 2.11 on comes for CUDA 13, which no driver below 580 runs.
"""
SCOPES = (
    "https://www.googleapis.com/auth/devstorage.read_write",
    "https://www.googleapis.com/auth/logging.write",
)
"""What the project's default account may do on a machine: its roles are often wide, so these are
not."""
_ALL_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)

_BUILT_IN = {"g2": "nvidia-l4", "g4": "nvidia-rtx-pro-6000", "a4": "nvidia-b200"} | {
    "a2-highgpu": "nvidia-tesla-a100",
    "a2-megagpu": "nvidia-tesla-a100",
    "a2-ultragpu": "nvidia-a100-80gb",
    "a3-highgpu": "nvidia-h100-80gb",
    "a3-edgegpu": "nvidia-h100-80gb",
    "a3-megagpu": "nvidia-h100-mega-80gb",
    "a3-ultragpu": "nvidia-h200-141gb",
}
"""Kinds of machines whose GPU comes with the machine type, and which."""
_HYPERDISK_ONLY = ("a3-ultragpu", "a4", "c4", "c4a", "c4d", "g4", "h4d", "n4", "n4a", "n4d")
"""Machines that no persistent disk can be attached to."""
_LABEL = re.compile(r"[a-z0-9_-]{0,63}")
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")  # RFC 1035
_LEAST_RUN_S = 30
_NOTICE_S = "120"
"""How long before it is taken away a spot machine is told so: the most that may be asked for."""
_MOST_RUN_S = 120 * 24 * 3600

PURPOSE = "training"
"""Value of the label `misheard` on all machines that this package rents."""


class InstanceState(Enum):
    """What Compute Engine says of an instance.

    PROVISIONING → STAGING → RUNNING → STOPPING → TERMINATED (off; its disk is still paid for).
    """

    PROVISIONING = "PROVISIONING"
    STAGING = "STAGING"
    RUNNING = "RUNNING"
    REPAIRING = "REPAIRING"
    SUSPENDING = "SUSPENDING"
    SUSPENDED = "SUSPENDED"
    PENDING = "PENDING"
    PENDING_STOP = "PENDING_STOP"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"
    DEPROVISIONING = "DEPROVISIONING"
    TERMINATED = "TERMINATED"
    UNKNOWN = "UNKNOWN"
    """A word that this version of misheard does not know."""

    @property
    def is_off(self) -> bool:
        """Nothing runs on it and nothing will by itself."""
        return self in (InstanceState.TERMINATED, InstanceState.STOPPED, InstanceState.SUSPENDED)

    @property
    def is_ending(self) -> bool:
        """It is off, or is being switched off or deleted."""
        return self.is_off or self in (
            InstanceState.STOPPING,
            InstanceState.PENDING_STOP,
            InstanceState.SUSPENDING,
            InstanceState.DEPROVISIONING,
        )

    @classmethod
    def of(cls, word: str) -> InstanceState:
        """The state of a word of the API's."""
        return cls.__members__.get(word, cls.UNKNOWN)


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A machine as Compute Engine knows it."""

    name: str
    zone: str
    state: InstanceState
    labels: dict[str, str]
    metadata: dict[str, str]
    machine_type: str = ""
    is_spot: bool = False
    id: str = ""
    """The API's own number of it: another machine of the same name has another."""
    created_at: datetime | None = None
    started_at: datetime | None = None
    """When it was last switched on."""
    stopped_at: datetime | None = None
    """When it was last switched off."""

    @property
    def off_since(self) -> datetime | None:
        """When it was switched off; None where it is on, or was suspended."""
        is_stopped = self.state in (InstanceState.TERMINATED, InstanceState.STOPPED)
        return self.stopped_at if is_stopped else None

    @property
    def job_id(self) -> str:
        """The job that it was rented for; "" where it does not say."""
        return self.metadata.get("misheard-job", "")

    @property
    def attempt(self) -> int:
        """Which attempt at that job; 0 where it does not say."""
        word = self.labels.get("misheard-attempt", "")
        return int(word) if word.isdecimal() else 0


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine to be rented."""

    name: str
    """See `machine_name`."""
    zone: str
    machine_type: str
    max_run_s: float
    """Compute Engine itself deletes the machine after so many seconds."""
    accelerator: str = ""
    """GPU to attach, such as "nvidia-tesla-t4"; "" is what the machine type comes with."""
    accelerator_count: int = 1
    is_spot: bool = False
    """Cheaper; Compute Engine may take it back at any time, with 30 seconds' notice."""
    image: str = IMAGE
    disk_gb: int = 100
    disk_type: str = ""
    """Such as "pd-ssd"; "" is balanced, of the kind that the machine type takes."""
    service_account: str = ""
    """E-mail of the account that the machine acts as; "" is the project's default account."""
    network: str = "default"
    """Name of a network, or path of a network or subnetwork."""
    external_ip: bool = True
    """Without one, the network needs Cloud NAT, or nothing can be installed."""
    labels: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InvalidSettingError(f"{self.name!r} is no name that a machine can have.")
        for key, value in self.labels.items():
            if not (_LABEL_KEY.fullmatch(key) and _LABEL.fullmatch(value)):
                raise InvalidSettingError(f"{key}={value} is no label that a machine can have.")
        if not _LEAST_RUN_S <= self.max_run_s <= _MOST_RUN_S:
            raise InvalidSettingError(
                f"A machine can be rented for 30 seconds to 120 days, not for {self.max_run_s:g} s."
            )
        if self.accelerator_count < 1:
            raise InvalidSettingError(f"accelerator_count = {self.accelerator_count}: at least 1.")
        own = _own_accelerator(self.machine_type)
        if self.accelerator and own and self.accelerator != own:
            raise InvalidSettingError(
                f"{self.machine_type} comes with {own}: {self.accelerator} cannot be attached."
            )
        if self.accelerator and not own and not self.machine_type.startswith("n1-"):
            raise InvalidSettingError(
                f"{self.accelerator} can be attached to machines of the series n1 alone, "
                f"not to {self.machine_type}."
            )

    @property
    def region(self) -> str:
        """Such as "us-central1"."""
        return self.zone.rpartition("-")[0]

    @property
    def gpu(self) -> str:
        """Its GPU, whether it comes with the machine type or is attached; "" where it has none."""
        return self.accelerator or _own_accelerator(self.machine_type)

    @property
    def attached_accelerator(self) -> str:
        """The GPU that is attached to it, beside what its type comes with; "" for none."""
        return "" if _own_accelerator(self.machine_type) else self.accelerator

    @property
    def boot_disk_type(self) -> str:
        """Such as "pd-balanced"."""
        hyper = any(self.machine_type.startswith(f"{kind}-") for kind in _HYPERDISK_ONLY)
        return self.disk_type or ("hyperdisk-balanced" if hyper else "pd-balanced")

    def resource(self) -> dict[str, Any]:
        """The body of `instances.insert`, with the API's names."""
        made: dict[str, Any] = {
            "name": self.name,
            "description": "Rented by misheard for a training; `misheard gce sweep` ends it.",
            "machineType": f"zones/{self.zone}/machineTypes/{self.machine_type}",
            "labels": self.labels,
            "disks": [self._disk()],
            "networkInterfaces": [self._network()],
            "serviceAccounts": [
                {
                    "email": self.service_account or "default",
                    "scopes": list(_ALL_SCOPES if self.service_account else SCOPES),
                }
            ],
            "scheduling": self._scheduling(),
            "metadata": {
                "items": [{"key": key, "value": value} for key, value in self._metadata().items()]
            },
            "shieldedInstanceConfig": {
                # NVIDIA's modules in Google's images are not signed: with it they are not loaded.
                "enableSecureBoot": False,
                "enableVtpm": True,
                "enableIntegrityMonitoring": True,
            },
        }
        if self.attached_accelerator:
            kind = f"zones/{self.zone}/acceleratorTypes/{self.attached_accelerator}"
            made["guestAccelerators"] = [
                {"acceleratorType": kind, "acceleratorCount": self.accelerator_count}
            ]
        return made

    def _disk(self) -> dict[str, Any]:
        return {
            "boot": True,
            "autoDelete": True,
            "type": "PERSISTENT",
            "initializeParams": {
                "sourceImage": self.image,
                "diskSizeGb": str(self.disk_gb),
                "diskType": f"zones/{self.zone}/diskTypes/{self.boot_disk_type}",
                "labels": self.labels,
            },
        }

    def _network(self) -> dict[str, Any]:
        if "subnetworks/" in self.network:
            made: dict[str, Any] = {"subnetwork": self.network}
        else:
            plain = "/" not in self.network
            made = {"network": f"global/networks/{self.network}" if plain else self.network}
        if self.external_ip:
            made["accessConfigs"] = [{"type": "ONE_TO_ONE_NAT", "name": "External NAT"}]
        return made

    def _scheduling(self) -> dict[str, Any]:
        scheduling: dict[str, Any] = {
            "maxRunDuration": {"seconds": str(round(self.max_run_s))},
            "instanceTerminationAction": "DELETE",
            "provisioningModel": "SPOT" if self.is_spot else "STANDARD",
            "automaticRestart": False,
            # GPUs cannot move to another host; of the rest, some types (e2) must be able to.
            "onHostMaintenance": "TERMINATE" if self.is_spot or self.gpu else "MIGRATE",
        }
        if self.is_spot:
            scheduling["preemptionNoticeDuration"] = {"seconds": _NOTICE_S}
        return scheduling

    def _metadata(self) -> dict[str, str]:
        # Nobody has to log in there; whoever wants to, does it with an account of the project.
        return {"block-project-ssh-keys": "TRUE", "enable-oslogin": "TRUE"} | self.metadata


def machine_name(job_id: str, attempt: int) -> str:
    """The name of the machine of an attempt: the same whoever asks, so that it is made once."""
    return f"misheard-{_hash(job_id)}-{attempt}"


def labels(*, owner: str, job_id: str, attempt: int) -> dict[str, str]:
    """What a machine is found by; `owner` is what tells this workspace from others."""
    return owned(owner) | {"misheard-job": _hash(job_id), "misheard-attempt": str(attempt)}


def owned(owner: str) -> dict[str, str]:
    """The labels of all machines of one workspace."""
    return {"misheard": PURPOSE, "misheard-owner": _hash(owner)}


def startup_metadata(
    *,
    bucket_url: str,
    job_id: str,
    attempt: int,
    wheel_url: str,
    wheel_name: str,
    constraints: str = "",
    extras: str = "gcp,lora",
) -> dict[str, str]:
    """What `startup.sh` looks for, and the script itself.

    `bucket_url` is what the jobs lie below; `wheel_url` is the object with our own wheel, whose
    last part is its SHA-256; `wheel_name` is the file name that pip knows it by; `constraints` is
    what pip's file of constraints holds (see `pins`).
    """
    script = resources.files("misheard.finetune.rented").joinpath("startup.sh")
    return {
        "misheard-bucket": bucket_url,
        "misheard-job": job_id,
        "misheard-attempt": str(attempt),
        "misheard-wheel": wheel_url,
        "misheard-wheel-name": wheel_name,
        "misheard-extras": extras,
        "misheard-constraints": constraints,
        "startup-script": script.read_text(encoding="utf-8"),
    }


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:12]


def _own_accelerator(machine_type: str) -> str:
    """The GPU that a machine type comes with."""
    for kind, gpu in _BUILT_IN.items():
        if machine_type.startswith(f"{kind}-"):
            return gpu
    return ""
