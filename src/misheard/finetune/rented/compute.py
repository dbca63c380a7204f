"""Machines of Google Compute Engine: made, looked at, and deleted again.

Every request may be sent twice: names are given by whoever asks, and a request has an id that
depends only on what is asked, so that Compute Engine does it once. Operations are waited for by
polling with a client of our own: those that the client library returns ask the API's usual address
whatever endpoint was set.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import urlsplit

from misheard.errors import (
    ComputeError,
    ComputeUnreachableError,
    MachineGoneError,
    NoMachineError,
    NotOursError,
)
from misheard.finetune.rented.machines import Instance, InstanceState, Machine
from misheard.finetune.rented.refusals import (
    Asked,
    Refusal,
    of_answer,
    of_operation,
    translated,
    without_credentials,
)
from misheard.optional import optional

_log = logging.getLogger(__name__)
_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
_NAMES = uuid.UUID("6f1f0c2e-6f0e-5a3b-9a63-4c0d9a1f7b52")
"""What the ids of our requests are derived in; any other value would do as well, but only one."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long is waited for what; all in seconds."""

    first_pause_s: float = 1.0
    """Before something is asked again; each further pause is half as long again."""
    longest_pause_s: float = 15.0
    call_s: float = 30.0
    """For one answer."""
    trouble_s: float = 90.0
    """How long a request is repeated that fails in a way that passes."""
    operation_s: float = 600.0
    """For a machine to be made, stopped or deleted."""


class Compute:
    """The machines of one project.

    Raises errors below `ComputeError`: `NoMachineError` where a zone has none of a kind (ask the
    next one), `QuotaError`, `ComputeRefusedError` for what a person has to put right, with the
    command, and `ComputeUnreachableError` where nothing answered, after it was tried for
    `Patience.trouble_s`. Nothing is sent before the first call. Safe for several threads.
    """

    def __init__(
        self, project_id: str, *, endpoint: str = "", patience: Patience | None = None
    ) -> None:
        """Of a project; `endpoint` is another address of the API, such as that of a test."""
        self.project_id = project_id
        self._endpoint = endpoint
        self._patience = patience or Patience()

    def create(self, machine: Machine, *, attempt: int = 1) -> Instance:
        """Make a machine and wait until it runs; where it was made before, that one.

        The same call again, also from another process, makes no second machine. `attempt` tells a
        later asking from a repeated one: without another number, Compute Engine answers a request
        that it has refused in an operation with that same operation. Raises `NotOursError` where
        the name is taken by a machine of other labels, `MachineGoneError` where it was made and is
        there no longer.
        """
        api = self._api
        request = api.InsertInstanceRequest(
            project=self.project_id,
            zone=machine.zone,
            request_id=insert_id(self.project_id, machine, attempt),
            instance_resource=api.Instance.from_json(json.dumps(machine.resource())),
        )
        about = {"zone": machine.zone, "image": machine.image}
        failed: ComputeError | None = None
        try:
            operation = self._call(self._instances.insert_unary, request, **about)
            with _asked_for(machine):
                operation = self._done(operation, zone=machine.zone)
            self._require_success(operation, **about)
        except _TakenError:
            _log.info("%s in %s was made before.", machine.name, machine.zone)
        except _FailedError as error:
            failed = error
        with _asked_for(machine):
            found = self.get(machine.name, machine.zone)
        if found is None and failed is not None:
            # The same request would be answered by the same operation for ever.
            raise NoMachineError(f"{machine.zone}: {failed.detail}") from failed
        if found is None:
            raise MachineGoneError(f"{machine.name} in {machine.zone}.")
        if not machine.labels.items() <= found.labels.items():
            raise NotOursError(
                f"{machine.name} in {machine.zone} has the labels {found.labels}. Look at it: "
                f"gcloud compute instances describe {machine.name} --zone {machine.zone} "
                f"--project {self.project_id}"
            )
        return found

    def get(self, name: str, zone: str) -> Instance | None:
        """A machine as it is now; None where there is none of this name."""
        request = self._api.GetInstanceRequest(project=self.project_id, zone=zone, instance=name)
        try:
            return _instance(self._call(self._instances.get, request, zone=zone))
        except _MissingError:
            return None

    def listed(self, labels: Mapping[str, str]) -> list[Instance]:
        """All machines that bear these labels, in every zone.

        Zones that cannot be asked now are left out, with a warning in the log.
        """
        request = self._api.AggregatedListInstancesRequest(
            project=self.project_id,
            filter=label_filter(labels),
        )

        def walk(**kwargs: Any) -> list[Instance]:
            found = []
            for scope, zone in self._instances.aggregated_list(request, **kwargs):
                if zone.warning.code == "UNREACHABLE":
                    _log.warning("%s cannot be asked for its machines now.", scope)
                found += [_instance(each) for each in zone.instances]
            return found

        return self._trying(walk)

    def delete(self, name: str, zone: str, *, wait: bool = True) -> bool:
        """Delete a machine with its disk; False where there is none.

        Without `wait` it returns once Compute Engine has taken the request.
        """
        return self._end("delete", name, zone, wait=wait)

    def stop(self, name: str, zone: str, *, wait: bool = True) -> bool:
        """Switch a machine off, which leaves its disk; False where there is none."""
        return self._end("stop", name, zone, wait=wait)

    def was_preempted(self, name: str, zone: str) -> bool:
        """Whether Compute Engine took this machine back; it remembers for two weeks or so."""
        request = self._api.ListZoneOperationsRequest(
            project=self.project_id,
            zone=zone,
            filter='operationType = "compute.instances.preempted"',
        )

        def walk(**kwargs: Any) -> bool:
            listed = self._operations.list(request, **kwargs)
            return any(each.target_link.endswith(f"/instances/{name}") for each in listed)

        return self._trying(walk, zone=zone)

    def quotas(self, region: str) -> dict[str, tuple[float, float]]:
        """Limit and use of each quota, by its name: those of a region, and of the whole project."""
        api = self._api
        regions = api.RegionsClient(**self._connection)
        projects = api.ProjectsClient(**self._connection)
        of_region = api.GetRegionRequest(project=self.project_id, region=region)
        of_project = api.GetProjectRequest(project=self.project_id)
        answers = [
            self._call(regions.get, of_region, zone=region),
            self._call(projects.get, of_project, zone=region),
        ]
        return {one.metric: (one.limit, one.usage) for told in answers for one in told.quotas}

    def _end(self, verb: str, name: str, zone: str, *, wait: bool) -> bool:
        """Delete or stop."""
        found = self.get(name, zone)
        if found is None:
            return False
        kind = (
            self._api.DeleteInstanceRequest if verb == "delete" else self._api.StopInstanceRequest
        )
        call = self._instances.delete_unary if verb == "delete" else self._instances.stop_unary
        # With the machine's own number: a later one of this name is another thing to end, and
        # so is one that was switched on again.
        usual = request_id(self.project_id, verb, zone, name, found.id, str(found.started_at))

        def end(its_id: str) -> None:
            request = kind(project=self.project_id, zone=zone, instance=name, request_id=its_id)
            operation = self._call(call, request, zone=zone)
            if wait:
                self._require_success(self._done(operation, zone=zone), zone=zone)

        try:
            try:
                end(usual)
            except _FailedError:
                # The same request would be answered by the same operation for ever.
                end(str(uuid.uuid4()))
        except _MissingError:
            return False
        return True

    def _done(self, operation: Any, *, zone: str) -> Any:
        """An operation when it is done, whatever it has come to."""
        request = self._api.GetZoneOperationRequest(
            project=self.project_id, zone=zone, operation=operation.name
        )
        pauses = _Pauses(self._patience, self._patience.operation_s)
        done = self._api.Operation.Status.DONE
        while operation.status != done:
            if not pauses.sleep():
                raise ComputeUnreachableError(
                    f"{operation.operation_type} of {operation.target_link.rpartition('/')[2]} in "
                    f"{zone} was not done within {self._patience.operation_s:g} s."
                )
            operation = self._call(self._operations.get, request, zone=zone)
        return operation

    def _require_success(self, operation: Any, *, zone: str, image: str = "") -> None:
        """Raise what an operation that is done has failed with."""
        refusal = of_operation(operation)
        if refusal is None:
            return
        try:
            self._raise(refusal, None, zone=zone, image=image)
        except ComputeError as error:
            if type(error) in (ComputeError, ComputeUnreachableError):
                raise _FailedError(refusal.message) from error
            raise

    def _call(self, call: Callable[..., T], request: Any, *, zone: str, image: str = "") -> T:
        return self._trying(lambda **kwargs: call(request, **kwargs), zone=zone, image=image)

    def _trying(self, call: Callable[..., T], *, zone: str = "", image: str = "") -> T:
        """The answer to a request, which is repeated while what is wrong may pass."""
        google = optional("google.api_core.exceptions", extra="gcp")
        auth = optional("google.auth.exceptions", extra="gcp")
        requests = optional("requests.exceptions", extra="gcp")
        protobuf = optional("google.protobuf.json_format", extra="gcp")
        pauses = _Pauses(self._patience, self._patience.trouble_s)
        while True:
            try:
                return call(retry=None, timeout=self._patience.call_s)
            except google.GoogleAPICallError as error:
                refusal = of_answer(error)
                if refusal.is_passing and pauses.sleep():
                    continue
                self._raise(refusal, error, zone=zone, image=image)
            except (auth.TransportError, requests.RequestException) as error:
                if not pauses.sleep():
                    raise ComputeUnreachableError(_short(error)) from error
            except protobuf.ParseError as error:
                detail = "Something that is not Compute Engine answered in its place."
                raise ComputeUnreachableError(detail) from error
            except auth.GoogleAuthError as error:
                raise without_credentials(_short(error)) from error

    def _raise(self, refusal: Refusal, cause: Exception | None, *, zone: str, image: str) -> None:
        if refusal.is_taken_name:
            raise _TakenError(refusal.message) from cause
        if refusal.is_missing_instance:
            raise _MissingError(refusal.message) from cause
        asked = Asked(project_id=self.project_id, zone=zone, image=image)
        raise translated(refusal, asked) from cause

    @property
    def _api(self) -> Any:
        return optional("google.cloud.compute_v1", extra="gcp")

    @cached_property
    def _instances(self) -> Any:
        return self._api.InstancesClient(**self._connection)

    @cached_property
    def _operations(self) -> Any:
        return self._api.ZoneOperationsClient(**self._connection)

    @cached_property
    def _connection(self) -> dict[str, Any]:
        """Address and credentials of the clients."""
        options = {"api_endpoint": self._endpoint} if self._endpoint else None
        if urlsplit(self._endpoint).hostname in ("127.0.0.1", "::1", "localhost"):
            anonymous = optional("google.auth.credentials", extra="gcp").AnonymousCredentials()
            return {"client_options": options, "credentials": anonymous}
        auth = optional("google.auth", extra="gcp")
        errors = optional("google.auth.exceptions", extra="gcp")
        try:
            credentials, _ = auth.default(scopes=_SCOPES)
        except errors.GoogleAuthError as error:
            raise without_credentials(_short(error)) from error
        return {"client_options": options, "credentials": credentials}


def request_id(*what: str) -> str:
    """The id of a request: the same for the same thing asked, whoever asks."""
    return str(uuid.uuid5(_NAMES, "\n".join(what)))


def insert_id(project_id: str, machine: Machine, attempt: int) -> str:
    """The id of the request for a machine: another workspace that asks for its name has another."""
    tags = [f"{key}={value}" for key, value in sorted(machine.labels.items())]
    return request_id(project_id, "insert", machine.zone, machine.name, str(attempt), *tags)


def label_filter(labels: Mapping[str, str]) -> str:
    """The expression by which the API finds what bears all of these labels."""
    return " AND ".join(f"(labels.{key} = {value})" for key, value in sorted(labels.items()))


class _TakenError(ComputeError):
    """There is a machine of this name already."""


class _FailedError(ComputeUnreachableError):
    """What was asked for was begun, and failed; asked for anew, it may not."""


class _MissingError(ComputeError):
    """There is no machine of this name."""


@contextmanager
def _asked_for(machine: Machine) -> Iterator[None]:
    """Whoever may not ask how a machine is may have made it all the same."""
    try:
        yield
    except ComputeUnreachableError:
        raise
    except ComputeError as error:
        raise ComputeUnreachableError(
            f"{machine.name} in {machine.zone} was asked for, and may be there: {error}"
        ) from error


class _Pauses:
    """Growing pauses between two tries, until it has taken too long."""

    def __init__(self, patience: Patience, limit_s: float) -> None:
        self._next_s = patience.first_pause_s
        self._longest_s = patience.longest_pause_s
        self._deadline = time.monotonic() + limit_s

    def sleep(self) -> bool:
        """Wait for the next try; False, at once, where there is to be none."""
        if time.monotonic() + self._next_s > self._deadline:
            return False
        time.sleep(self._next_s)
        self._next_s = min(self._next_s * 1.5, self._longest_s)
        return True


def _instance(found: Any) -> Instance:
    return Instance(
        name=found.name,
        zone=found.zone.rpartition("/")[2],
        state=InstanceState.of(found.status),
        labels=dict(found.labels),
        metadata={each.key: each.value for each in found.metadata.items},
        machine_type=found.machine_type.rpartition("/")[2],
        is_spot=found.scheduling.provisioning_model == "SPOT",
        id=str(found.id),
        created_at=_time(found.creation_timestamp),
        started_at=_time(found.last_start_timestamp),
        stopped_at=_time(found.last_stop_timestamp),
    )


def _time(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _short(error: Exception) -> str:
    """One line of an error, without the objects that libraries put in theirs."""
    return f"{type(error).__name__}: {str(error).splitlines()[0][:300] if str(error) else ''}"
