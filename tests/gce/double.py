"""A real HTTP server that does what the Compute Engine API does, with machines that are processes.

It answers the paths that `google-cloud-compute` asks for, with the same words in its answers, and
keeps every request. When a machine runs, its program really runs, on this machine, with a disk and
a metadata server of its own; deleting, stopping, preempting or outliving `maxRunDuration` ends it.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.gce.simulated import Program, SimulatedMachine, training_program

IMAGE_FAMILIES = ("common-cu129-ubuntu-2404-nvidia-580", "debian-12")
_TICK_S = 0.02
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL = re.compile(r"[a-z0-9_-]{0,63}")
_CLAUSE = re.compile(r'\(?\s*([\w.-]+)\s*(?:=|eq)\s*"?([\w.-]*)"?\s*\)?')
_ROOT = "https://www.googleapis.com/compute/v1"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked."""

    method: str
    path: str
    query: dict[str, str]
    body: Any


class Refused(Exception):
    """An answer that is an error, in the API's words."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message


@dataclass(kw_only=True)
class Operation:
    """Something that takes a while."""

    name: str
    kind: str
    zone: str
    target: str
    target_id: str
    finish: Callable[[], None]
    error: tuple[str, str] | None = None
    polls: int = 0
    began: float = field(default_factory=time.monotonic)
    done: bool = False


@dataclass(kw_only=True)
class Made:
    """An instance."""

    id: str
    zone: str
    resource: dict[str, Any]
    machine: SimulatedMachine
    status: str = "PROVISIONING"
    created: str = field(default_factory=lambda: _now())  # noqa: PLW0108
    started: str = ""
    stopped: str = ""
    on_since: float | None = None


class ComputeDouble:
    """The API of one project; a context manager that leaves no process behind.

    What is set on it changes what it does from then on:
    """

    def __init__(
        self,
        work: Path,
        *,
        project_id: str = "my-project",
        program: Program = training_program,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.project_id = project_id
        self.program = program
        self.environment = environment or {}
        """What a machine's program finds beside the environment of the tests."""
        self.asked: list[Request] = []
        self.stock_outs: dict[str, int] = {}
        """How often a zone has no machine; -1 for ever."""
        self.stock_out_at_once = False
        """It is told with HTTP 503, instead of in the operation."""
        self.quota = ""
        """A metric such as "GPUS_ALL_REGIONS" that is used up."""
        self.quota_at_once = True
        """It is told with HTTP 403, instead of in the operation."""
        self.region_quotas = {
            "NVIDIA_L4_GPUS": (1.0, 0.0),
            "PREEMPTIBLE_NVIDIA_L4_GPUS": (1.0, 0.0),
        }
        self.project_quotas = {"GPUS_ALL_REGIONS": (1.0, 0.0)}
        """Limit and use, as they are told; what is refused is `quota`."""
        self.missing_types: set[tuple[str, str]] = set()
        """(zone, machine type) that do not exist."""
        self.image_families = set(IMAGE_FAMILIES)
        self.polls = 0
        """How often an operation is asked for before it is done; see also `unattended_s`."""
        self.unattended_s = 1.0
        """After so long an operation is done, however often it was asked for."""
        self.failures: list[tuple[str, str, str]] = []
        """(kind of operation, code, message): each once."""
        self.trouble: list[int] = []
        """Statuses of the next answers, whatever is asked; 0 cuts the connection."""
        self.lost_answers = 0
        """So many of the next changes are made, and the connection is cut before the answer."""
        self.refusals: list[Refused] = []
        """Errors that answer the next requests."""
        self.forbidden = ""
        """What is only looked at is refused where its path has this word."""
        self.grace_s = 5.0
        """Between SIGTERM and SIGKILL, for a machine that is taken away."""
        self.time_scale = 1.0
        """Seconds here for one second of `maxRunDuration`."""
        self.unreachable_zones: set[str] = set()
        self.most_running = 0
        """So many machines were on at the same time."""
        self.history: list[SimulatedMachine] = []
        """All that were ever made, with what they printed where their disk is kept."""
        self._work = work
        self._made: dict[tuple[str, str], Made] = {}
        self._operations: dict[str, Operation] = {}
        self._by_request: dict[str, Operation] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._threads = [
            threading.Thread(
                target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
            ),
            threading.Thread(target=self._tick, daemon=True),
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        for thread in self._threads:
            thread.join()
        for made in list(self._made.values()):
            made.machine.remove()

    # What tests look at and do.

    @property
    def names(self) -> list[str]:
        """Of all machines that exist, on or off."""
        with self._lock:
            return sorted(name for _, name in self._made)

    def status(self, name: str) -> str:
        """Of a machine; "" where there is none."""
        found = self._find(name)
        return "" if found is None else found.status

    def machine(self, name: str) -> SimulatedMachine:
        """The machine of a name, while there is one."""
        found = self._find(name)
        assert found is not None, f"{name} is not there, but {self.names}"
        return found.machine

    def requests(self, method: str, end: str) -> list[Request]:
        """Those whose path ends so."""
        return [each for each in self.asked if each.method == method and each.path.endswith(end)]

    def preempt(self, name: str) -> None:
        """Take a machine away, as Compute Engine does with spot machines; waits until it is."""
        self._take_away(name, "compute.instances.preempted")

    def expire(self, name: str) -> None:
        """What happens at the end of `maxRunDuration`."""
        self._take_away(name, "compute.instances.terminate")

    def label(self, name: str, key: str, value: str) -> None:
        """Give a machine one label more."""
        made = self._find(name)
        assert made is not None, f"{name} is not there"
        made.resource["labels"][key] = value

    def power_off(self, name: str) -> None:
        """As by `shutdown` on the machine itself."""
        self.machine(name).switch_off(grace_s=self.grace_s)

    # Time passes.

    def _tick(self) -> None:
        while not self._stopping.wait(_TICK_S):
            with self._lock:
                for operation in list(self._operations.values()):
                    old = time.monotonic() - operation.began > self.unattended_s
                    if not operation.done and (operation.polls >= self.polls or old):
                        self._finish(operation)
                made = list(self._made.items())
            for (_, name), each in made:
                self._look(name, each)

    def _look(self, name: str, made: Made) -> None:
        if made.status != "RUNNING":
            return
        if not made.machine.is_running:
            with self._lock:
                made.status, made.stopped, made.on_since = "TERMINATED", _now(), None
            return
        limit = made.resource["scheduling"].get("maxRunDuration", {}).get("seconds")
        if limit is None or made.on_since is None:
            return
        if time.monotonic() - made.on_since > float(limit) * self.time_scale:
            self.expire(name)

    def _take_away(self, name: str, kind: str) -> None:
        with self._lock:
            made = self._find(name)
            assert made is not None, f"{name} is not there"
            made.status = "STOPPING"
            self._record(kind, made.zone, name, made.id, lambda: None).done = True
            if kind.endswith("preempted"):
                made.machine.server.preempt()
        made.machine.switch_off(grace_s=self.grace_s)
        with self._lock:
            if made.resource["scheduling"].get("instanceTerminationAction") == "DELETE":
                self._remove(made.zone, name)
            else:
                made.status, made.stopped = "TERMINATED", _now()

    def _find(self, name: str) -> Made | None:
        with self._lock:
            return next((made for (_, each), made in self._made.items() if each == name), None)

    # The API.

    def _answer(self, request: Request) -> dict[str, Any]:  # noqa: PLR0911, PLR0912
        if self.refusals:
            raise self.refusals.pop(0)
        if self.forbidden and request.method == "GET" and self.forbidden in request.path:
            raise Refused(403, "forbidden", f"Required permission for {self.forbidden}")
        path = request.path.removeprefix("/compute/v1/projects/").split("/")
        if path[0] != self.project_id:
            message = f"The resource 'projects/{path[0]}' was not found"
            raise Refused(404, "notFound", message)
        match (request.method, *path[1:]):
            case ("GET", "aggregated", "instances"):
                return self._aggregated(request.query)
            case ("GET",):
                return {"name": self.project_id, "quotas": _quotas(self.project_quotas)}
            case ("GET", "regions", region):
                return {"name": region, "quotas": _quotas(self.region_quotas)}
            case ("GET", "global", "images", "family", family):
                return self._image(family)
            case ("POST", "zones", zone, "instances"):
                return self._insert(zone, request)
            case ("GET", "zones", zone, "instances"):
                return {"items": self._matching(request.query, zone)}
            case ("GET", "zones", zone, "instances", name):
                return self._shown(self._require(zone, name))
            case ("DELETE", "zones", zone, "instances", name):
                return self._change("delete", zone, name, request)
            case ("POST", "zones", zone, "instances", name, "start" | "stop" as verb):
                return self._change(verb, zone, name, request)
            case ("GET", "zones", zone, "operations"):
                return self._listed_operations(zone, request.query)
            case ("GET", "zones", _, "operations", name):
                return self._operation(name)
            case ("POST", "zones", _, "operations", name, "wait"):
                return self._operation(name, attend=True)
        raise Refused(404, "notFound", f"{request.method} {request.path}: no such method")

    def _insert(self, zone: str, request: Request) -> dict[str, Any]:
        known = self._repeated(request)
        if known is not None:
            return self._told(known)
        resource = request.body
        self._check(zone, resource)
        name = resource["name"]
        if (zone, name) in self._made:
            target = f"projects/{self.project_id}/zones/{zone}/instances/{name}"
            raise Refused(409, "alreadyExists", f"The resource '{target}' already exists")
        error = self._why_not(zone, resource)
        number = str(10**18 + next(self._numbers))
        if error is None:
            metadata = {each["key"]: each["value"] for each in resource["metadata"]["items"]}
            machine = SimulatedMachine(
                name=name,
                zone=zone,
                metadata=metadata,
                disk=self._work / f"{name}-{number}",
                environment=self.environment,
            )
            self.history.append(machine)
            self._made[zone, name] = Made(id=number, zone=zone, resource=resource, machine=machine)
        operation = self._record(
            "insert", zone, name, number, lambda: self._switch_on(zone, name), request
        )
        operation.error = operation.error or error
        return self._told(operation)

    def _why_not(self, zone: str, resource: dict[str, Any]) -> tuple[str, str] | None:
        """What the operation fails with; raises what the request is refused with."""
        kind = resource["machineType"].rpartition("/")[2]
        if self.quota:
            limit = f"{self.quota.replace('_', '-')}-per-project"
            message = (
                f"Quota '{self.quota}' exceeded.  Limit: 0.0 globally. "
                f"metric name = compute.googleapis.com/{self.quota.lower()} limit name = {limit}"
            )
            if self.quota_at_once:
                raise Refused(403, "quotaExceeded", message)
            return "QUOTA_EXCEEDED", message
        left = self.stock_outs.get(zone, 0)
        if left:
            self.stock_outs[zone] = left - 1 if left > 0 else left
            message = (
                f"The zone 'projects/{self.project_id}/zones/{zone}' does not have enough "
                f"resources available to fulfill the request. '(resource type:compute)'. ({kind})"
            )
            if self.stock_out_at_once:
                raise Refused(503, "ZONE_RESOURCE_POOL_EXHAUSTED", message)
            return "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", message
        return None

    def _check(self, zone: str, resource: dict[str, Any]) -> None:
        """What the API refuses at once."""
        kind = resource["machineType"].rpartition("/")[2]
        scheduling = resource["scheduling"]
        disk = resource["disks"][0]
        source = disk["initializeParams"]["sourceImage"]
        has_gpu = kind.startswith(("g2-", "a2-", "a3-")) or "guestAccelerators" in resource
        labels = resource.get("labels", {})
        problems = {
            "name": not _NAME.fullmatch(resource["name"]),
            "labels": not all(_LABEL.fullmatch(part) for pair in labels.items() for part in pair),
            "disks[0].boot": not disk["boot"],
            "networkInterfaces": not resource["networkInterfaces"],
            "scheduling.onHostMaintenance": scheduling["onHostMaintenance"] != "TERMINATE"
            and (has_gpu or scheduling["provisioningModel"] == "SPOT"),
            "scheduling.automaticRestart": scheduling["automaticRestart"],
            "scheduling.instanceTerminationAction": "maxRunDuration" in scheduling
            and scheduling.get("instanceTerminationAction") not in ("DELETE", "STOP"),
            "guestAccelerators": "guestAccelerators" in resource and not kind.startswith("n1-"),
        }
        for where, is_wrong in problems.items():
            if is_wrong:
                message = f"Invalid value for field 'resource.{where}': it cannot be used."
                raise Refused(400, "invalid", message)
        if (zone, kind) in self.missing_types:
            message = (
                f"Invalid value for field 'resource.machineType': '{resource['machineType']}'. "
                f"Machine type with name '{kind}' does not exist in zone '{zone}'."
            )
            raise Refused(400, "invalid", message)
        if "/family/" in source and source.rpartition("/")[2] not in self.image_families:
            raise Refused(404, "notFound", f"The resource '{source}' was not found")

    def _change(self, verb: str, zone: str, name: str, request: Request) -> dict[str, Any]:
        """Delete, stop or start."""
        known = self._repeated(request)
        if known is not None:
            return self._told(known)
        made = self._require(zone, name)
        if verb == "delete":
            made.status = "STOPPING"
            finish = lambda: self._remove(zone, name)  # noqa: E731
        elif verb == "stop":
            made.status = "STOPPING"
            finish = lambda: self._switch_off(zone, name)  # noqa: E731
        else:
            finish = lambda: self._switch_on(zone, name)  # noqa: E731
        return self._told(self._record(verb, zone, name, made.id, finish, request))

    def _aggregated(self, query: dict[str, str]) -> dict[str, Any]:
        zones = sorted({zone for zone, _ in self._made} | {"us-central1-a"})
        items: dict[str, Any] = {}
        for zone in zones:
            found = self._matching(query, zone)
            items[f"zones/{zone}"] = (
                {"instances": found}
                if found
                else {"warning": {"code": "NO_RESULTS_ON_PAGE", "message": "There are none here."}}
            )
        for zone in self.unreachable_zones:
            items[f"zones/{zone}"] = {"warning": {"code": "UNREACHABLE", "message": zone}}
        return {"kind": "compute#instanceAggregatedList", "items": items}

    def _matching(self, query: dict[str, str], zone: str) -> list[dict[str, Any]]:
        wanted = _clauses(query.get("filter", ""))
        if any(not field.startswith("labels.") for field in wanted):
            raise Refused(400, "invalid", "Invalid value for field 'filter'.")
        return [
            self._shown(made)
            for (where, _), made in sorted(self._made.items())
            if where == zone
            and all(
                made.resource.get("labels", {}).get(key.removeprefix("labels.")) == value
                for key, value in wanted.items()
            )
        ]

    def _image(self, family: str) -> dict[str, Any]:
        if family not in self.image_families:
            target = f"projects/{self.project_id}/global/images/family/{family}"
            raise Refused(404, "notFound", f"The resource '{target}' was not found")
        return {"name": f"{family}-v20260901", "family": family, "status": "READY"}

    def _require(self, zone: str, name: str) -> Made:
        made = self._made.get((zone, name))
        if made is None:
            target = f"projects/{self.project_id}/zones/{zone}/instances/{name}"
            raise Refused(404, "notFound", f"The resource '{target}' was not found")
        return made

    def _shown(self, made: Made) -> dict[str, Any]:
        root = f"{_ROOT}/projects/{self.project_id}/zones/{made.zone}"
        shown = made.resource | {
            "kind": "compute#instance",
            "id": made.id,
            "status": made.status,
            "zone": root,
            "machineType": f"{_ROOT}/projects/{self.project_id}/{made.resource['machineType']}",
            "selfLink": f"{root}/instances/{made.resource['name']}",
            "creationTimestamp": made.created,
        }
        if made.started:
            shown["lastStartTimestamp"] = made.started
        if made.stopped:
            shown["lastStopTimestamp"] = made.stopped
        return shown

    # Machines.

    def _switch_on(self, zone: str, name: str) -> None:
        made = self._made.get((zone, name))
        if made is None:
            return
        made.machine.switch_on(self.program)
        made.status, made.started, made.on_since = "RUNNING", _now(), time.monotonic()
        on = sum(each.status == "RUNNING" for each in self._made.values())
        self.most_running = max(self.most_running, on)

    def _switch_off(self, zone: str, name: str) -> None:
        made = self._made[zone, name]
        made.machine.switch_off(grace_s=self.grace_s)
        made.status, made.stopped, made.on_since = "TERMINATED", _now(), None

    def _remove(self, zone: str, name: str) -> None:
        made = self._made.pop((zone, name), None)
        if made is not None:
            made.machine.remove()

    # Operations.

    def _repeated(self, request: Request) -> Operation | None:
        """The operation of a request that was sent before."""
        wanted = request.query.get("requestId", "")
        if not wanted:
            return None
        try:
            uuid.UUID(wanted)
        except ValueError as error:
            raise Refused(400, "invalid", "Invalid value for field 'requestId'.") from error
        return self._by_request.get(wanted)

    def _record(
        self,
        kind: str,
        zone: str,
        name: str,
        number: str,
        finish: Callable[[], None],
        request: Request | None = None,
    ) -> Operation:
        target = f"{_ROOT}/projects/{self.project_id}/zones/{zone}/instances/{name}"
        made = Operation(
            name=f"operation-{next(self._numbers)}",
            kind=kind,
            zone=zone,
            target=target,
            target_id=number,
            finish=finish,
        )
        for failure in self.failures:
            if failure[0] == kind:
                self.failures.remove(failure)
                made.error = failure[1:]
                break
        self._operations[made.name] = made
        if request is not None and (wanted := request.query.get("requestId")):
            self._by_request[wanted] = made
        return made

    def _finish(self, operation: Operation) -> None:
        operation.done = True
        zone, name = operation.zone, operation.target.rpartition("/")[2]
        if operation.error is None:
            operation.finish()
        elif operation.kind == "insert":
            self._remove(zone, name)

    def _operation(self, name: str, *, attend: bool = False) -> dict[str, Any]:
        operation = self._operations.get(name)
        if operation is None:
            target = f"projects/{self.project_id}/zones/z/operations/{name}"
            raise Refused(404, "notFound", f"The resource '{target}' was not found")
        operation.polls += 1
        if not operation.done and (attend or operation.polls > self.polls):
            self._finish(operation)
        return self._told(operation)

    def _listed_operations(self, zone: str, query: dict[str, str]) -> dict[str, Any]:
        wanted = _clauses(query.get("filter", ""))
        if set(wanted) - {"operationType"}:
            raise Refused(400, "invalid", "Invalid value for field 'filter'.")
        found = [
            self._told(each)
            for each in self._operations.values()
            if each.zone == zone and each.kind == wanted.get("operationType", each.kind)
        ]
        return {"items": found}

    def _told(self, operation: Operation) -> dict[str, Any]:
        root = f"{_ROOT}/projects/{self.project_id}/zones/{operation.zone}"
        told: dict[str, Any] = {
            "kind": "compute#operation",
            "name": operation.name,
            "operationType": operation.kind,
            "status": "DONE" if operation.done else "RUNNING",
            "progress": 100 if operation.done else 0,
            "zone": root,
            "targetLink": operation.target,
            "targetId": operation.target_id,
            "selfLink": f"{root}/operations/{operation.name}",
        }
        if operation.done and operation.error is not None:
            code, message = operation.error
            told["error"] = {"errors": [{"code": code, "message": message}]}
            told["httpErrorStatusCode"] = 403 if code == "QUOTA_EXCEEDED" else 503
            told["httpErrorMessage"] = "SERVICE UNAVAILABLE"
        return told

    # HTTP.

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        double = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                double._handle(self)

            do_GET = do_POST = do_DELETE = handle_any

            def log_message(self, *_: Any) -> None:
                pass

        return Handler

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("Content-Length") or 0)
        data = handler.rfile.read(length)
        parts = urlsplit(handler.path)
        request = Request(
            method=handler.command,
            path=unquote(parts.path),
            query=dict(parse_qsl(parts.query)),
            body=json.loads(data) if data else None,
        )
        with self._lock:
            self.asked.append(request)
            if self.trouble:
                status = self.trouble.pop(0)
                answer = _problem(status, "backendError", "Something went wrong; try again.")
            else:
                try:
                    status, answer = 200, self._answer(request)
                except Refused as refused:
                    status = refused.status
                    answer = _problem(status, refused.reason, refused.message)
                if request.method != "GET" and self.lost_answers:
                    self.lost_answers -= 1
                    status = 0
        if status == 0:
            handler.close_connection = True
            return
        body = json.dumps(answer).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json; charset=UTF-8")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)


def _problem(status: int, reason: str, message: str) -> dict[str, Any]:
    one = {"message": message, "domain": "global", "reason": reason}
    return {"error": {"code": status, "message": message, "errors": [one]}}


def _quotas(quotas: dict[str, tuple[float, float]]) -> list[dict[str, Any]]:
    return [
        {"metric": metric, "limit": limit, "usage": used}
        for metric, (limit, used) in quotas.items()
    ]


def _clauses(expression: str) -> dict[str, str]:
    """Of a filter that is a conjunction of equations; anything else is refused."""
    found: dict[str, str] = {}
    for clause in filter(None, expression.split(" AND ")):
        matched = _CLAUSE.fullmatch(clause.strip())
        if matched is None:
            raise Refused(400, "invalid", f"Invalid value for field 'filter': '{expression}'.")
        found[matched[1]] = matched[2]
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
