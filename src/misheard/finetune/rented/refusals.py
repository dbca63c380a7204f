"""What Compute Engine's refusals mean, and what to do about each.

The same refusal comes as an HTTP answer or as the error of an operation that was taken and then
failed. Pure. Codes: https://cloud.google.com/compute/docs/troubleshooting/troubleshooting-vm-creation
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from misheard.errors import (
    ComputeError,
    ComputeRefusedError,
    ComputeUnreachableError,
    ImageNotFoundError,
    NoMachineError,
    QuotaError,
)

_STOCK_OUT = {
    "ZONE_RESOURCE_POOL_EXHAUSTED",
    "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS",
    "REGION_RESOURCE_POOL_EXHAUSTED",
    "RESOURCE_POOL_EXHAUSTED",
    "GPU_STOCKOUT",
    "STOCKOUT",
    "insufficientCapacity",
    # A spot machine that was taken back while it was being made.
    "UNSUPPORTED_OPERATION",
}
_STOCK_OUT_WORDS = (
    "does not have enough resources",
    "is currently unavailable in the",
    "RESOURCE_POOL_EXHAUSTED",
)
_QUOTA = {"QUOTA_EXCEEDED", "quotaExceeded", "LIMIT_EXCEEDED"}
_TOO_MANY_CALLS = {"rateLimitExceeded", "userRateLimitExceeded", "RATE_LIMIT_EXCEEDED"}
_BUSY = {"resourceNotReady", "RESOURCE_NOT_READY", "INTERNAL_ERROR"}
_API_OFF = {"accessNotConfigured", "SERVICE_DISABLED", "serviceDisabled"}
_NO_BILLING = {"BILLING_DISABLED", "billingNotEnabled", "UREQ_PROJECT_BILLING_NOT_FOUND"}
_POLICY = re.compile(r"constraints/([\w.]+)")
_POLICIES = {
    "compute.vmExternalIpAccess": "Set gce.external_ip = false, and give the network Cloud NAT.",
    "compute.trustedImageProjects": (
        "Have its project allowed, deeplearning-platform-release by default, or set gce.image."
    ),
    "compute.requireShieldedVm": (
        "NVIDIA's driver of the image does not load with Secure Boot, so whoever administers "
        "policies has to except the project: gcloud resource-manager org-policies disable-enforce "
        "compute.requireShieldedVm --project={project}"
    ),
    "gcp.resourceLocations": "Set gce.zones to some that it allows.",
}
"""What each policy of an organisation leaves to be done."""
_MISSING = ("was not found", "does not exist", "cannot be found", "Unknown zone")
_ZONE = re.compile(r"/zones/[^/']+'|Unknown zone")
_PROJECT = re.compile(r"projects/[^/']+'")
_LOGIN = "gcloud auth application-default login"


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """What Compute Engine said."""

    message: str
    status: int = 0
    """Of HTTP; 0 where it came without one."""
    codes: frozenset[str] = frozenset()
    """Words such as "quotaExceeded" or "ZONE_RESOURCE_POOL_EXHAUSTED"."""

    @property
    def is_stock_out(self) -> bool:
        """The zone has none of these machines now."""
        if self.codes & _QUOTA:
            return False
        return bool(self.codes & _STOCK_OUT) or any(
            words in self.message for words in _STOCK_OUT_WORDS
        )

    @property
    def is_against_policy(self) -> bool:
        """The project's organisation does not allow it."""
        return _POLICY.search(self.message) is not None

    @property
    def is_taken_name(self) -> bool:
        """There is such a machine already."""
        return bool(self.codes & {"alreadyExists", "RESOURCE_ALREADY_EXISTS"})

    @property
    def is_missing_instance(self) -> bool:
        """There is no such machine, as against no such project, zone or anything else."""
        return "/instances/" in self.message and any(words in self.message for words in _MISSING)

    @property
    def is_passing(self) -> bool:
        """It is worth the same request once more, a little later."""
        if self.is_stock_out or self.codes & _QUOTA:
            return False
        return (
            self.status in (408, 429)
            or self.status >= 500
            or bool(self.codes & (_TOO_MANY_CALLS | _BUSY))
        )


def of_answer(error: Any) -> Refusal:
    """What an answer to a request says, from the error that the client library makes of it."""
    codes = {str(each.get("reason", "")) for each in error.errors if isinstance(each, dict)}
    codes.add(str(error.reason or ""))
    return Refusal(
        # "POST https://…: " stands before what the API said.
        message=str(error.message).partition(": ")[2] or str(error.message),
        status=int(error.code or 0),
        codes=frozenset(codes - {""}),
    )


def of_operation(operation: Any) -> Refusal | None:
    """What an operation that is done has failed with; None where it succeeded."""
    errors = list(operation.error.errors)
    status = int(operation.http_error_status_code)
    if not errors and not status:
        return None
    said = " ".join(each.message or each.code for each in errors)
    return Refusal(
        message=said or operation.http_error_message or f"{operation.operation_type} failed.",
        status=status,
        codes=frozenset(each.code for each in errors),
    )


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a refused request was about."""

    project_id: str
    zone: str = ""
    image: str = ""


def translated(refusal: Refusal, asked: Asked) -> ComputeError:
    """The error that a user meets for a refusal."""
    error = _by_code(refusal, asked) or _missing(refusal.message, asked)
    if error is not None:
        return error
    return (ComputeUnreachableError if refusal.is_passing else ComputeError)(refusal.message)


def without_credentials(detail: str) -> ComputeRefusedError:
    """For whoever is not logged in, or no longer."""
    return ComputeRefusedError(f"There are no credentials that it takes ({detail}): {_LOGIN}")


def _by_code(refusal: Refusal, asked: Asked) -> ComputeError | None:
    """By what the API calls it."""
    said, project = refusal.message, asked.project_id
    error: ComputeError | None = None
    if refusal.is_stock_out:
        error = NoMachineError(f"{asked.zone}: {said}")
    elif refusal.codes & _QUOTA:
        error = QuotaError(f"{said} {_more_quota(said, asked)}")
    elif refusal.is_against_policy:
        error = ComputeRefusedError(f"{said} {_policy(said, project)}")
    elif refusal.codes & _API_OFF:
        command = f"gcloud services enable compute.googleapis.com --project {project}"
        error = ComputeRefusedError(f"Its API is off in {project}: {command}")
    elif refusal.codes & _NO_BILLING:
        command = f"gcloud billing projects link {project} --billing-account ACCOUNT"
        error = ComputeRefusedError(f"{project} has no billing account: {command}")
    elif refusal.status == 401:
        error = ComputeRefusedError(f"{said} Log in again: {_LOGIN}")
    elif refusal.status == 403 and not refusal.is_passing:
        error = ComputeRefusedError(f"{said} {_permission(said, project)}")
    return error


def _more_quota(said: str, asked: Asked) -> str:
    """How to ask for more of the quota that an error names."""
    page = f"https://console.cloud.google.com/iam-admin/quotas?project={asked.project_id}"
    named = re.search(r"limit name = ([\w-]+)", said)
    metric = re.search(r"Quota '(\w+)' exceeded", said)
    if named is not None:
        quota = named[1]
    elif metric is not None:
        reach = "project" if metric[1].endswith("ALL_REGIONS") else "project-region"
        quota = f"{metric[1].replace('_', '-')}-per-{reach}"
    else:
        return f"Ask for more: {page}"
    region = asked.zone.rpartition("-")[0]
    where = f" --dimensions=region={region}" if quota.endswith("region") and region else ""
    command = (
        "gcloud quotas preferences create --service=compute.googleapis.com "
        f"--project={asked.project_id} --quota-id={quota} --preferred-value=1{where}"
    )
    return f"Ask for more: {command} (or {page})"


def _policy(said: str, project_id: str) -> str:
    """What a policy of the organisation leaves to be done."""
    named = _POLICY.search(said)
    remedy = _POLICIES.get(named[1] if named else "")
    if remedy is None:
        return "Ask whoever administers your organisation's policies."
    return remedy.format(project=project_id)


def _permission(said: str, project_id: str) -> str:
    """The role that a refusal asks for, and the command that gives it."""
    account = "--member=user:YOU@EXAMPLE.COM"
    if "service account" in said.lower() or "actAs" in said:
        return (
            "Whoever rents a machine must be allowed to let it act as its account: "
            f"gcloud projects add-iam-policy-binding {project_id} {account} "
            "--role=roles/iam.serviceAccountUser"
        )
    return (
        f"Ask for the role: gcloud projects add-iam-policy-binding {project_id} {account} "
        "--role=roles/compute.instanceAdmin.v1, or one with less: docs/GCP_SETUP_GUIDE.md"
    )


def _missing(said: str, asked: Asked) -> ComputeError | None:
    """By what it is that was not found; None where nothing is missing that we know."""
    if not any(words in said for words in _MISSING):
        return None
    project = asked.project_id
    error: ComputeError | None = None
    if any(word in said for word in ("machineType", "Machine type", "acceleratorType")):
        error = NoMachineError(f"{asked.zone}: {said}")
    elif "/images/" in said or "sourceImage" in said:
        owner = asked.image.partition("projects/")[2].partition("/")[0] or project
        error = ImageNotFoundError(
            f"{asked.image or said}: set gce.image to one of "
            f"gcloud compute images list --project {owner} --no-standard-images"
        )
    elif "/networks/" in said or "/subnetworks/" in said:
        error = ComputeRefusedError(
            f"{said} Set gce.network, or make it: "
            f"gcloud compute networks create default --project {project}"
        )
    elif "serviceAccount" in said:
        error = ComputeRefusedError(
            f"{said} Set gce.service_account to one of: "
            f"gcloud iam service-accounts list --project {project}"
        )
    elif _ZONE.search(said):
        error = ComputeRefusedError(f"{said} Set gce.zones to some of: gcloud compute zones list")
    elif _PROJECT.search(said):
        error = ComputeRefusedError(f"{said} Set gce.project_id to one of: gcloud projects list")
    return error
