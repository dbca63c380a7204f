"""The real client of Compute Engine against the double of its API."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from misheard.errors import (
    ComputeError,
    ComputeRefusedError,
    ComputeUnreachableError,
    ImageNotFoundError,
    MachineGoneError,
    NoMachineError,
    NotOursError,
    QuotaError,
)
from misheard.finetune.rented.compute import Compute, Patience
from misheard.finetune.rented.dry import DryCompute
from misheard.finetune.rented.machines import InstanceState, labels, owned
from tests.gce.conftest import QUICK, ZONE, machine
from tests.gce.double import ComputeDouble, Refused
from tests.loopback import free_port, until

FORBIDDEN = (403, "forbidden")


def test_a_machine_is_made_and_its_program_runs(compute: Compute, double: ComputeDouble) -> None:
    double.polls = 3
    made = compute.create(machine(is_spot=True))
    assert (made.name, made.zone, made.state) == (machine().name, ZONE, InstanceState.RUNNING)
    assert made.job_id == "job-1"
    assert made.attempt == 1
    assert made.is_spot
    assert made.machine_type == "g2-standard-8"
    assert made.started_at is not None and made.created_at is not None
    until(lambda: "on" in double.machine(made.name).console)


def test_the_same_request_again_makes_no_second_machine(
    compute: Compute, double: ComputeDouble
) -> None:
    first = compute.create(machine())
    elsewhere = Compute("my-project", endpoint=double.url, patience=QUICK)
    assert elsewhere.create(machine()) == first
    sent = double.requests("POST", "/instances")
    assert len({each.query["requestId"] for each in sent}) == 1
    assert uuid.UUID(sent[0].query["requestId"]).version == 5
    assert len(double.history) == 1


def test_many_who_ask_at_once_get_one_machine(compute: Compute, double: ComputeDouble) -> None:
    double.polls = 2
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: compute.create(machine()), range(4)))
    assert {each.id for each in made} == {made[0].id}
    assert len(double.history) == 1


@pytest.mark.parametrize("verb", ["create", "delete", "stop"])
def test_an_answer_that_is_lost_is_asked_for_again(
    compute: Compute, double: ComputeDouble, verb: str
) -> None:
    name = machine().name
    if verb != "create":
        compute.create(machine())
    double.lost_answers = 1
    if verb == "create":
        assert compute.create(machine()).state is InstanceState.RUNNING
    else:
        assert getattr(compute, verb)(name, ZONE)
    assert double.status(name) == {"create": "RUNNING", "delete": "", "stop": "TERMINATED"}[verb]
    assert len(double.history) == 1


def test_a_machine_of_the_name_is_ours_if_its_labels_are(
    compute: Compute, double: ComputeDouble
) -> None:
    first = compute.create(machine())
    assert compute.create(machine(), attempt=2).id == first.id
    with pytest.raises(NotOursError, match=f"gcloud compute instances describe {first.name}"):
        compute.create(machine(labels={"misheard": "something-else"}), attempt=3)
    assert double.names == [first.name]


def test_a_machine_that_another_workspace_has_by_the_same_name_is_not_taken_for_ours(
    compute: Compute, double: ComputeDouble
) -> None:
    first = compute.create(machine())
    with pytest.raises(NotOursError):
        compute.create(machine(labels=labels(owner="you", job_id="job-1", attempt=1)))
    assert double.names == [first.name]
    # Google's own labels are beside ours.
    double.label(first.name, "goog-ops-agent", "on")
    assert compute.create(machine()).id == first.id


@pytest.mark.parametrize("at_once", [True, False])
def test_a_zone_without_machines_says_so_and_the_next_one_has_one(
    compute: Compute, double: ComputeDouble, at_once: bool
) -> None:
    double.stock_outs = {ZONE: -1}
    double.stock_out_at_once = at_once
    with pytest.raises(NoMachineError, match=f"{ZONE}.*does not have enough resources"):
        compute.create(machine())
    assert len(double.requests("POST", "/instances")) == 1, "it is not asked for again"
    assert double.names == []
    assert compute.create(machine(zone="us-central1-b")).state is InstanceState.RUNNING


def test_a_refusal_is_asked_about_anew_only_under_another_number(
    compute: Compute, double: ComputeDouble
) -> None:
    double.stock_outs = {ZONE: 1}
    for _ in range(2):
        with pytest.raises(NoMachineError):
            compute.create(machine(), attempt=1)
    assert compute.create(machine(), attempt=2).state is InstanceState.RUNNING


def test_a_machine_type_that_a_zone_does_not_have_is_looked_for_in_the_next(
    compute: Compute, double: ComputeDouble
) -> None:
    double.missing_types = {(ZONE, "g2-standard-8")}
    with pytest.raises(NoMachineError, match="does not exist in zone"):
        compute.create(machine())


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("metric", ["GPUS_ALL_REGIONS", "PREEMPTIBLE_NVIDIA_L4_GPUS"])
def test_a_quota_says_how_to_ask_for_more(
    compute: Compute, double: ComputeDouble, metric: str, at_once: bool
) -> None:
    double.quota, double.quota_at_once = metric, at_once
    with pytest.raises(QuotaError, match=f"Quota '{metric}' exceeded") as caught:
        compute.create(machine())
    wanted = metric.replace("_", "-")
    assert "gcloud quotas preferences create" in str(caught.value)
    assert f"--quota-id={wanted}-per-project" in str(caught.value)
    assert "console.cloud.google.com/iam-admin/quotas?project=my-project" in str(caught.value)
    assert double.names == []


@pytest.mark.parametrize(
    ("refused", "error", "told"),
    [
        (
            Refused(403, "accessNotConfigured", "Compute Engine API has not been used in project"),
            ComputeRefusedError,
            "gcloud services enable compute.googleapis.com --project my-project",
        ),
        (
            Refused(403, "SERVICE_DISABLED", "It is disabled."),
            ComputeRefusedError,
            "gcloud services enable compute.googleapis.com --project my-project",
        ),
        (
            Refused(403, "BILLING_DISABLED", "This API method requires billing to be enabled."),
            ComputeRefusedError,
            "gcloud billing projects link my-project",
        ),
        (
            Refused(
                412,
                "conditionNotMet",
                "Constraint constraints/compute.vmExternalIpAccess violated for project 4711.",
            ),
            ComputeRefusedError,
            "Set gce.external_ip = false",
        ),
        (
            Refused(
                412,
                "conditionNotMet",
                "Constraint constraints/compute.requireShieldedVm violated for project "
                "projects/my-project. Secure Boot is not enabled.",
            ),
            ComputeRefusedError,
            "compute.requireShieldedVm --project=my-project",
        ),
        (
            Refused(412, "conditionNotMet", "'us' violates constraint 'constraints/gcp.other'"),
            ComputeRefusedError,
            "Ask whoever administers your organisation's policies.",
        ),
        (
            Refused(*FORBIDDEN, "Required 'compute.instances.create' permission"),
            ComputeRefusedError,
            "--role=roles/compute.instanceAdmin.v1",
        ),
        (
            Refused(*FORBIDDEN, "The user does not have access to service account 'x@y'."),
            ComputeRefusedError,
            "--role=roles/iam.serviceAccountUser",
        ),
        (
            Refused(401, "authError", "Request had invalid authentication credentials."),
            ComputeRefusedError,
            "gcloud auth application-default login",
        ),
        (
            Refused(
                400,
                "invalid",
                "Invalid value for field 'resource.disks[0].initializeParams.sourceImage': 'x'. "
                "The referenced image resource cannot be found.",
            ),
            ImageNotFoundError,
            "gcloud compute images list --project deeplearning-platform-release",
        ),
        (
            Refused(
                404,
                "notFound",
                "The resource 'projects/my-project/zones/us-central1-a/acceleratorTypes/x' "
                "was not found",
            ),
            NoMachineError,
            "us-central1-a",
        ),
        (
            Refused(
                404,
                "notFound",
                "The resource 'projects/my-project/global/networks/default' was not found",
            ),
            ComputeRefusedError,
            "gcloud compute networks create default --project my-project",
        ),
        (
            Refused(400, "invalid", "The resource 'x@y' of type 'serviceAccount' was not found."),
            ComputeRefusedError,
            "gcloud iam service-accounts list --project my-project",
        ),
        (
            Refused(404, "notFound", "The resource 'projects/my-project/zones/z' was not found"),
            ComputeRefusedError,
            "gcloud compute zones list",
        ),
        (
            Refused(400, "invalid", "Invalid value for field 'zone': 'z'. Unknown zone."),
            ComputeRefusedError,
            "gcloud compute zones list",
        ),
        (
            Refused(
                404,
                "notFound",
                "The resource 'projects/my-project/zones/z/operations/o' was not found",
            ),
            ComputeError,
            "operations/o",
        ),
        (
            Refused(
                503,
                "backendError",
                "A g2-standard-8 VM instance with 1 nvidia-l4 accelerator(s) is currently "
                "unavailable in the us-central1-a zone.",
            ),
            NoMachineError,
            "us-central1-a",
        ),
        (
            Refused(404, "notFound", "The resource 'projects/my-project' was not found"),
            ComputeRefusedError,
            "gcloud projects list",
        ),
        (Refused(400, "invalid", "Something else is wrong."), ComputeError, "Something else"),
    ],
)
def test_a_refusal_says_what_to_do(
    compute: Compute,
    double: ComputeDouble,
    refused: Refused,
    error: type[ComputeError],
    told: str,
) -> None:
    double.refusals = [refused]
    with pytest.raises(ComputeError) as caught:
        compute.create(machine())
    assert type(caught.value) is error
    assert told in str(caught.value)
    assert "http://" not in str(caught.value), "the address of the request is no news"


def test_an_image_that_is_not_there_is_told_by_its_name(
    compute: Compute, double: ComputeDouble
) -> None:
    double.image_families.clear()
    with pytest.raises(ImageNotFoundError, match="common-cu129-ubuntu-2404-nvidia-580: set"):
        compute.create(machine())


@pytest.mark.parametrize("status", [0, 429, 500, 502, 503])
def test_trouble_that_passes_is_waited_out(
    compute: Compute, double: ComputeDouble, status: int
) -> None:
    double.trouble = [status, status]
    assert compute.create(machine()).state is InstanceState.RUNNING
    double.trouble = [status, status]
    assert len(compute.listed(owned("me"))) == 1
    double.trouble = [status]
    assert compute.delete(machine().name, ZONE)
    assert len(double.history) == 1


@pytest.mark.parametrize(
    "refused",
    [
        Refused(403, "rateLimitExceeded", "Rate Limit Exceeded"),
        # It is still being made, say.
        Refused(400, "resourceNotReady", "The resource is not ready"),
    ],
)
def test_a_refusal_of_the_moment_is_waited_out(
    compute: Compute, double: ComputeDouble, refused: Refused
) -> None:
    compute.create(machine())
    double.refusals = [refused, refused]
    assert compute.delete(machine().name, ZONE)
    assert double.names == []


def test_trouble_that_does_not_pass_ends_in_an_error(double: ComputeDouble) -> None:
    patience = Patience(first_pause_s=0.01, longest_pause_s=0.05, trouble_s=5.0)
    compute = Compute("my-project", endpoint=double.url, patience=patience)
    # What loads the client's modules would take a good part of the patience.
    assert list(compute.listed(owned("me"))) == []
    double.asked.clear()
    double.trouble = [503] * 1000
    began = time.monotonic()
    with pytest.raises(ComputeUnreachableError, match="Something went wrong"):
        compute.listed(owned("me"))
    assert time.monotonic() - began < 60
    assert len(double.asked) > 3


def test_a_machine_that_takes_too_long_is_found_by_the_next_call(double: ComputeDouble) -> None:
    double.polls, double.unattended_s = 1_000_000, 600.0
    hasty = Patience(first_pause_s=0.01, longest_pause_s=0.02, operation_s=0.2)
    compute = Compute("my-project", endpoint=double.url, patience=hasty)
    with pytest.raises(ComputeUnreachableError, match=r"insert of misheard-.* was not done within"):
        compute.create(machine())
    double.unattended_s = 0.0
    until(lambda: double.status(machine().name) == "RUNNING")
    assert compute.create(machine()).state is InstanceState.RUNNING
    assert len(double.history) == 1


def test_an_operation_that_fails_leaves_nothing(compute: Compute, double: ComputeDouble) -> None:
    double.failures = [("insert", "SOMETHING_NEW", "It did not work.")]
    for _ in range(2):
        with pytest.raises(NoMachineError, match=r"It did not work\."):
            compute.create(machine(), attempt=1)
    assert double.names == []
    assert compute.create(machine(), attempt=2).state is InstanceState.RUNNING


@pytest.mark.parametrize("verb", ["delete", "stop"])
def test_an_end_that_has_failed_is_asked_for_anew(
    compute: Compute, double: ComputeDouble, verb: str
) -> None:
    compute.create(machine())
    double.failures = [(verb, "INTERNAL_ERROR", "Try again.")] * 2
    with pytest.raises(ComputeUnreachableError, match=r"Try again\."):
        getattr(compute, verb)(machine().name, ZONE)
    assert getattr(compute, verb)(machine().name, ZONE)
    assert double.status(machine().name) in ("", "TERMINATED")


def test_a_spot_machine_that_is_taken_while_it_is_made_is_no_machine(
    compute: Compute, double: ComputeDouble
) -> None:
    double.failures = [("insert", "UNSUPPORTED_OPERATION", "Instance has been preempted.")]
    with pytest.raises(NoMachineError):
        compute.create(machine(is_spot=True))


def test_a_machine_that_was_made_and_is_gone_is_not_made_again(
    compute: Compute, double: ComputeDouble
) -> None:
    compute.create(machine(is_spot=True))
    double.preempt(machine().name)
    with pytest.raises(MachineGoneError, match=machine().name):
        compute.create(machine(is_spot=True))
    assert double.names == []
    assert compute.was_preempted(machine().name, ZONE)


def test_what_was_not_taken_away_is_not_said_to_be(compute: Compute, double: ComputeDouble) -> None:
    compute.create(machine("job-1"))
    compute.create(machine("job-2"))
    double.preempt(machine("job-1").name)
    assert compute.was_preempted(machine("job-1").name, ZONE)
    assert not compute.was_preempted(machine("job-2").name, ZONE)
    assert not compute.was_preempted(machine("job-1").name, "us-central1-b")


def test_a_machine_is_deleted_once_and_what_is_gone_is_no_error(
    compute: Compute, double: ComputeDouble
) -> None:
    compute.create(machine())
    process = double.machine(machine().name)
    assert compute.delete(machine().name, ZONE)
    assert double.names == []
    assert not process.is_running
    assert not compute.delete(machine().name, ZONE)
    assert compute.get(machine().name, ZONE) is None


def test_another_machine_of_the_same_name_is_deleted_too(
    compute: Compute, double: ComputeDouble
) -> None:
    for number in (1, 2):
        compute.create(machine(), attempt=number)
        assert compute.delete(machine().name, ZONE)
        assert double.names == []


def test_a_machine_that_vanishes_while_it_is_deleted_is_no_error(
    compute: Compute, double: ComputeDouble
) -> None:
    compute.create(machine())
    gone = f"The resource 'projects/p/zones/{ZONE}/instances/{machine().name}' was not found"
    double.failures = [("delete", "RESOURCE_NOT_FOUND", gone)]
    assert not compute.delete(machine().name, ZONE)


def test_deleting_need_not_be_waited_for(compute: Compute, double: ComputeDouble) -> None:
    compute.create(machine())
    double.polls = 1_000_000
    assert compute.delete(machine().name, ZONE, wait=False)
    assert double.asked[-1].method == "DELETE", "the operation is not asked for"
    until(lambda: double.names == [])


def test_a_machine_that_was_stopped_is_off(compute: Compute, double: ComputeDouble) -> None:
    compute.create(machine())
    assert compute.stop(machine().name, ZONE)
    found = compute.get(machine().name, ZONE)
    assert found is not None
    assert found.state.is_off
    assert found.stopped_at is not None
    assert not compute.stop("misheard-not-there", ZONE)


def test_machines_are_found_by_their_labels_in_every_zone(
    compute: Compute, double: ComputeDouble
) -> None:
    for number, zone in enumerate(("us-central1-a", "us-central1-b", "europe-west4-a")):
        compute.create(machine(f"job-{number}", zone=zone))
    other = machine("job-9", labels=owned("somebody else"))
    compute.create(other)
    found = compute.listed(owned("me"))
    assert sorted(each.zone for each in found) == [
        "europe-west4-a",
        "us-central1-a",
        "us-central1-b",
    ]
    assert {each.job_id for each in found} == {"job-0", "job-1", "job-2"}
    assert [each.name for each in compute.listed(owned("somebody else"))] == [other.name]
    assert compute.listed(owned("nobody")) == []


def test_a_zone_that_cannot_be_asked_hides_no_other(
    compute: Compute, double: ComputeDouble, caplog: pytest.LogCaptureFixture
) -> None:
    compute.create(machine())
    double.unreachable_zones = {"us-east1-b"}
    with caplog.at_level(logging.WARNING):
        assert len(compute.listed(owned("me"))) == 1
    assert "zones/us-east1-b cannot be asked" in caplog.text


def test_quotas_are_those_of_the_region_and_of_the_project(
    compute: Compute, double: ComputeDouble
) -> None:
    double.project_quotas = {"GPUS_ALL_REGIONS": (4.0, 3.0)}
    told = compute.quotas("us-central1")
    assert told["GPUS_ALL_REGIONS"] == (4.0, 3.0)
    assert told["NVIDIA_L4_GPUS"] == (1.0, 0.0)
    shown: list[str] = []
    assert DryCompute("my-project", show=shown.append).quotas("us-central1") == {}
    assert [each.path for each in double.asked] == [
        json.loads(text)["url"].removeprefix("https://compute.googleapis.com") for text in shown
    ]


def test_whoever_is_not_logged_in_is_told_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json")
    with pytest.raises(ComputeRefusedError, match="gcloud auth application-default login"):
        Compute("my-project", patience=QUICK).listed(owned("me"))


def test_without_a_network_nothing_hangs() -> None:
    hasty = Patience(first_pause_s=0.01, longest_pause_s=0.05, trouble_s=1.0)
    compute = Compute("my-project", endpoint=f"http://127.0.0.1:{free_port()}", patience=hasty)
    began = time.monotonic()
    with pytest.raises(ComputeUnreachableError, match="Connection"):
        compute.create(machine())
    # It tries for a second; the rest is for a machine that is busy with other things.
    assert time.monotonic() - began < 30


def test_a_page_that_answers_in_the_place_of_the_api_is_told_as_such() -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>Log in to the Wi-Fi</html>")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        endpoint = f"http://127.0.0.1:{server.server_port}"
        with pytest.raises(ComputeUnreachableError, match="answered in its place"):
            Compute("my-project", endpoint=endpoint, patience=QUICK).get("misheard-x-1", ZONE)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_dry_run_shows_what_a_real_one_sends(compute: Compute, double: ComputeDouble) -> None:
    shown: list[str] = []
    dry = DryCompute("my-project", show=shown.append, endpoint=double.url)
    wanted = machine(is_spot=True, external_ip=False)
    assert dry.create(wanted).state is InstanceState.RUNNING
    assert [each.name for each in dry.listed(owned("me"))] == [wanted.name]
    assert dry.listed(owned("somebody else")) == []
    assert dry.delete(wanted.name, ZONE)
    assert dry.get(wanted.name, ZONE) is None
    assert double.asked == [], "nothing is sent"
    told = [json.loads(text) for text in shown]
    compute.create(wanted)
    compute.listed(owned("me"))
    [sent] = double.requests("POST", "/instances")
    assert told[0]["method"] == "POST"
    assert told[0]["body"] == sent.body
    assert told[0]["request_id"] == sent.query["requestId"]
    assert told[0]["url"] == f"{double.url}{sent.path}?requestId={sent.query['requestId']}"
    assert [each["method"] for each in told] == ["POST", "GET", "GET", "DELETE", "GET"]
    [listing] = double.requests("GET", "/aggregated/instances")
    assert listing.query["filter"] == "(labels.misheard = training) AND " + (
        f"(labels.misheard-owner = {owned('me')['misheard-owner']})"
    )


def test_a_dry_run_needs_no_library_of_googles() -> None:
    code = (
        "import sys\n"
        "from misheard.finetune.rented.dry import DryCompute\n"
        "DryCompute('p', show=print).delete('misheard-x-1', 'us-central1-a')\n"
        "print([name for name in sys.modules if name.startswith('google')])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    assert "https://compute.googleapis.com/compute/v1/projects/p/zones/" in run.stdout
    assert run.stdout.splitlines()[-1] == "[]"
