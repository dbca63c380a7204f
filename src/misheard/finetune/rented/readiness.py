"""Whether a machine could be rented now: credentials, API, bucket and quota; nothing is changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from misheard.blobs.bucket import Bucket
from misheard.errors import MisheardError
from misheard.finetune.rented.compute import Compute
from misheard.finetune.rented.machines import PURPOSE, Machine

_EVERYWHERE = "GPUS_ALL_REGIONS"
_SHORT_S = 7 * 24 * 3600
"""A machine that is deleted so soon may use the quota of spot machines, too. See
https://docs.cloud.google.com/compute/docs/instances/limit-vm-runtime"""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    what: str
    passed: bool
    detail: str


def readiness(
    machine: Machine, open_machines: Callable[[], Compute], open_bucket: Callable[[], Bucket]
) -> list[Check]:
    """Look at all that a training on `machine` needs; each thing that is wrong says what to do."""
    return [
        _check("Compute Engine", lambda: _api(open_machines())),
        _check("bucket", lambda: _bucket(open_bucket())),
        _check(f"quota in {machine.region}", lambda: _quota(machine, open_machines())),
    ]


def quota_metric(gpu: str, *, is_spot: bool) -> str:
    """What Compute Engine calls the number of such GPUs in a region."""
    kind = gpu.removeprefix("nvidia-").removeprefix("tesla-").upper().replace("-", "_")
    return f"{'PREEMPTIBLE_' if is_spot else ''}NVIDIA_{kind}_GPUS"


def _check(what: str, look: Callable[[], tuple[bool, str]]) -> Check:
    try:
        passed, detail = look()
    except MisheardError as error:
        return Check(what=what, passed=False, detail=str(error))
    return Check(what=what, passed=passed, detail=detail)


def _api(machines: Compute) -> tuple[bool, str]:
    found = machines.listed({"misheard": PURPOSE})
    return True, f"answers for {machines.project_id}; {len(found)} machines of misheard are there"


def _bucket(bucket: Bucket) -> tuple[bool, str]:
    next(iter(bucket.listed("training/")), None)
    return True, f"{bucket.url} can be read"


def _quota(machine: Machine, machines: Compute) -> tuple[bool, str]:
    if not machine.gpu:
        return True, f"{machine.machine_type} has no GPU"
    wanted = machine.accelerator_count if machine.accelerator else 1
    told = machines.quotas(machine.region)
    either = [quota_metric(machine.gpu, is_spot=machine.is_spot)]
    if not machine.is_spot and machine.max_run_s <= _SHORT_S:
        either.append(quota_metric(machine.gpu, is_spot=True))
    missing, seen = [], []
    for metrics in (either, [_EVERYWHERE]):
        # What is not told there is not limited there.
        limited = {metric: told[metric] for metric in metrics if metric in told}
        seen += [f"{one}: {used:g} of {limit:g} in use" for one, (limit, used) in limited.items()]
        has_room = any(limit - used >= wanted for limit, used in limited.values())
        if limited and not has_room:
            missing.append(metrics[0])
    detail = "; ".join(seen) or "nothing is limited"
    if missing:
        detail += (
            f". Ask for more of {' and '.join(missing)}: "
            f"https://console.cloud.google.com/iam-admin/quotas?project={machines.project_id}"
        )
    return not missing, detail
