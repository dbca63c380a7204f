"""What would be asked of Compute Engine, shown and not sent: `--dry-run`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from misheard.finetune.rented.compute import Compute, insert_id, label_filter, request_id
from misheard.finetune.rented.machines import Instance, InstanceState, Machine

ADDRESS = "https://compute.googleapis.com"


@dataclass(frozen=True, kw_only=True)
class DryRequest:
    """One request, as the API would get it."""

    method: str
    url: str
    request_id: str | None
    body: dict[str, Any] | None

    def to_json(self) -> str:
        """As JSON, for people and programs."""
        return json.dumps(
            {
                "method": self.method,
                "url": self.url,
                "request_id": self.request_id,
                "body": self.body,
            },
            indent=2,
        )


class DryCompute(Compute):
    """A `Compute` that hands each request to `show` and answers as if all had been done.

    It needs neither credentials nor a network, nor the client library.
    """

    def __init__(self, project_id: str, *, show: Callable[[str], None], endpoint: str = "") -> None:
        """`show` gets each request as JSON."""
        super().__init__(project_id, endpoint=endpoint)
        self._show = show
        self._address = endpoint.rstrip("/") or ADDRESS
        self._made: dict[tuple[str, str], Instance] = {}

    def create(self, machine: Machine, *, attempt: int = 1) -> Instance:
        """See `Compute`."""
        wanted = insert_id(self.project_id, machine, attempt)
        self._send("POST", self._path(machine.zone), wanted, machine.resource())
        made = Instance(
            name=machine.name,
            zone=machine.zone,
            state=InstanceState.RUNNING,
            labels=dict(machine.labels),
            metadata=dict(machine.metadata),
            machine_type=machine.machine_type,
            is_spot=machine.is_spot,
        )
        self._made[machine.name, machine.zone] = made
        return made

    def get(self, name: str, zone: str) -> Instance | None:
        """See `Compute`."""
        self._send("GET", self._path(zone, name))
        return self._made.get((name, zone))

    def listed(self, labels: Mapping[str, str]) -> list[Instance]:
        """See `Compute`."""
        query = urlencode({"filter": label_filter(labels)})
        self._send("GET", f"/aggregated/instances?{query}")
        return [each for each in self._made.values() if labels.items() <= each.labels.items()]

    def was_preempted(self, name: str, zone: str) -> bool:  # noqa: ARG002
        """See `Compute`."""
        query = urlencode({"filter": 'operationType = "compute.instances.preempted"'})
        self._send("GET", f"/zones/{zone}/operations?{query}")
        return False

    def quotas(self, region: str) -> dict[str, tuple[float, float]]:
        """See `Compute`; nothing is known of them."""
        self._send("GET", f"/regions/{region}")
        self._send("GET", "")
        return {}

    def _end(self, verb: str, name: str, zone: str, *, wait: bool) -> bool:  # noqa: ARG002
        """Delete or stop; whether there is such a machine is not known, so both are shown."""
        found = self._made.pop((name, zone), None)
        wanted = request_id(self.project_id, verb, zone, name, found.id if found else "")
        path = self._path(zone, name)
        if verb == "delete":
            self._send("DELETE", path, wanted)
        else:
            self._send("POST", f"{path}/stop", wanted)
        return found is not None

    def _path(self, zone: str, name: str = "") -> str:
        return f"/zones/{zone}/instances" + (f"/{name}" if name else "")

    def _send(
        self,
        method: str,
        path: str,
        wanted: str | None = None,
        body: dict[str, Any] | None = None,
    ) -> None:
        url = f"{self._address}/compute/v1/projects/{self.project_id}{path}"
        if wanted is not None:
            url += f"?requestId={wanted}"
        request = DryRequest(method=method, url=url, request_id=wanted, body=body)
        self._show(request.to_json())
