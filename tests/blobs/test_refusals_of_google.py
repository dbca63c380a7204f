"""What a person reads when Google does not let them in, and the command that helps."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth.credentials import AnonymousCredentials
from google.oauth2 import service_account

from misheard.blobs.gcs import GcsBucket
from misheard.blobs.google.login import google_credentials, on_loopback, principal
from misheard.blobs.patience import Patience
from misheard.errors import BlobNotFoundError, BucketUnavailableError, BucketUnreachableError
from tests.emulators import GcsEmulator
from tests.faults import Fault, FaultProxy, faults

IMPATIENT = Patience(first_s=0.005, most_s=0.02, deadline_s=0.2, answer_s=60)
TRAINER = "trainer@p.iam.gserviceaccount.com"
JSON = {"Content-Type": "application/json; charset=UTF-8"}


@pytest.fixture
def proxy(gcs: GcsEmulator) -> Iterator[FaultProxy]:
    with faults(gcs.url) as made:
        yield made


def answered(code: int, reason: str, message: str, **fault: Any) -> Fault:
    """As Google's JSON API answers (https://cloud.google.com/storage/docs/json_api/v1/status-codes)."""
    error = {"message": message, "domain": "global", "reason": reason}
    body = {"error": {"code": code, "message": message, "errors": [error]}}
    return Fault(status=code, headers=JSON, body=json.dumps(body).encode(), times=10_000, **fault)


def denied(what: str) -> str:
    return (
        f"{TRAINER} does not have {what} access to the Google Cloud Storage object. Permission "
        f"'{what}' denied on resource (or it may not exist)."
    )


CASES = {
    "a permission": (
        answered(403, "forbidden", denied("storage.objects.create")),
        [
            TRAINER,
            "storage.objects.create",
            "gcloud storage buckets add-iam-policy-binding gs://b "
            f"--member=serviceAccount:{TRAINER} --role=roles/storage.objectUser",
        ],
    ),
    "a permission that nothing is said of": (
        Fault(status=403, body=b"", times=10_000),
        ["add-iam-policy-binding gs://b --member=PRINCIPAL --role=roles/storage.objectUser"],
    ),
    "billing": (
        answered(
            403,
            "accountDisabled",
            "The billing account for the owning project is disabled in state absent",
        ),
        ["billing is off", "gcloud billing projects link my-project --billing-account="],
    ),
    "a quota": (
        answered(403, "quotaExceeded", "Quota exceeded."),
        ["a quota is used up", "gcloud quotas info list", "--project=my-project"],
    ),
    "a rate that stays too high": (
        answered(429, "rateLimitExceeded", "The object exceeded the rate limit"),
        ["a quota is used up", "rate limit"],
    ),
    "who they are": (
        answered(401, "authError", "Invalid Credentials"),
        ["gcloud auth application-default login"],
    ),
    "what is none of these": (answered(418, "teapot", "short and stout"), ["418", "stout"]),
}


@pytest.mark.parametrize("case", CASES)
def test_what_google_refuses_is_told_with_what_to_do(proxy: FaultProxy, case: str) -> None:
    fault, said = CASES[case]
    proxy.add(fault)
    bucket = GcsBucket("b", endpoint=proxy.url, project_id="my-project", patience=IMPATIENT)
    steps: list[Callable[[], object]] = [
        lambda: bucket.put("name", b"content"),
        lambda: bucket.get("name"),
        lambda: bucket.stat("name"),
        lambda: list(bucket.listed()),
        lambda: bucket.delete("name"),
    ]
    for step in steps:
        with pytest.raises(BucketUnavailableError) as caught:
            step()
        passes = case == "a rate that stays too high"
        assert isinstance(caught.value, BucketUnreachableError) == passes
        for part in said:
            assert part in str(caught.value)


def test_a_large_upload_is_refused_in_the_same_words(proxy: FaultProxy, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(9 << 20))
    proxy.add(answered(403, "forbidden", denied("storage.objects.create"), method="PUT"))
    bucket = GcsBucket(_new(proxy, "refused-uploads"), endpoint=proxy.url, patience=IMPATIENT)
    with pytest.raises(BucketUnavailableError, match=r"storage\.objects\.create .*gcloud storage"):
        bucket.put("name", tmp_path / "file")


def _new(proxy: FaultProxy, name: str) -> str:
    emulator = GcsEmulator()
    emulator.port = int(proxy.upstream.port or 0)
    return emulator.new_bucket(name)


def test_a_bucket_that_is_not_there_is_told_from_an_object_that_is_not(gcs: GcsEmulator) -> None:
    absent = GcsBucket("p-datasets", endpoint=gcs.url, project_id="p", patience=IMPATIENT)
    steps: list[Callable[[], object]] = [
        lambda: absent.put("name", b"content"),
        lambda: absent.get("name"),
        lambda: absent.stat("name"),
        lambda: list(absent.listed()),
        lambda: absent.delete("name"),
    ]
    for step in steps:
        with pytest.raises(
            BucketUnavailableError,
            match=r"no gs://p-datasets.*gcloud storage buckets create gs://p-datasets "
            r"--location=.* --public-access-prevention --soft-delete-duration=0 --project=p",
        ):
            step()
    there = GcsBucket(gcs.new_bucket(), endpoint=gcs.url, patience=IMPATIENT)
    with pytest.raises(BlobNotFoundError):
        there.get("name")


PAYS = "Bucket is a requester pays bucket but no user project provided."


def test_where_whoever_asks_pays_the_project_is_to_be_named(proxy: FaultProxy) -> None:
    proxy.add(answered(400, "required", PAYS))
    bucket = GcsBucket("b", endpoint=proxy.url, patience=IMPATIENT)
    with pytest.raises(BucketUnavailableError, match=r"bills whoever asks.*project_id = "):
        bucket.get("name")


def test_where_whoever_asks_pays_our_project_does_once_it_is_named(proxy: FaultProxy) -> None:
    fault = answered(400, "required", PAYS)
    fault.times = 1
    proxy.add(fault)
    name = _new(proxy, "paid-by-us")
    bucket = GcsBucket(name, endpoint=proxy.url, project_id="ours", patience=IMPATIENT)
    bucket.put("name", b"content")
    assert [one.name for one in bucket.listed()] == ["name"]
    headers = [one.headers.get("x-goog-user-project") for one in proxy.passed]
    assert headers == [None, "ours", "ours"]


def test_a_listing_that_is_paid_for_at_the_second_attempt_is_whole(proxy: FaultProxy) -> None:
    name = _new(proxy, "paid-listing")
    GcsBucket(name, endpoint=proxy.url).put("name", b"content")
    fault = answered(400, "required", PAYS)
    fault.times = 1
    proxy.add(fault)
    bucket = GcsBucket(name, endpoint=proxy.url, project_id="ours", patience=IMPATIENT)
    assert [one.name for one in bucket.listed()] == ["name"]


@pytest.fixture(scope="module")
def key() -> bytes:
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return made.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@pytest.fixture
def account(key: bytes, proxy: FaultProxy) -> dict[str, str]:
    """A service account whose tokens come from the proxy."""
    return {
        "type": "service_account",
        "project_id": "p",
        "private_key_id": "1",
        "private_key": key.decode(),
        "client_email": TRAINER,
        "token_uri": f"{proxy.url}/token",
    }


def test_credentials_travel_with_each_request(proxy: FaultProxy, account: dict[str, str]) -> None:
    token = json.dumps({"access_token": "secret", "expires_in": 3600, "token_type": "Bearer"})
    proxy.add(Fault(path="^/token", status=200, headers=JSON, body=token.encode(), times=9))
    made = service_account.Credentials.from_service_account_info(account, scopes=["all"])
    name = _new(proxy, "with-credentials")
    bucket = GcsBucket(name, endpoint=proxy.url, credentials=made, patience=IMPATIENT)
    bucket.put("name", b"content")
    [asked] = [one for one in proxy.passed if one.path != "/token"]
    assert asked.headers["authorization"] == "Bearer secret"
    proxy.add(answered(403, "forbidden", "Forbidden", path="/b/"))
    with pytest.raises(BucketUnavailableError, match=f"--member=serviceAccount:{TRAINER} "):
        bucket.get("name")


def test_credentials_that_are_no_longer_valid(proxy: FaultProxy, account: dict[str, str]) -> None:
    refused = json.dumps({"error": "invalid_grant", "error_description": "Token has been revoked."})
    proxy.add(Fault(path="^/token", status=400, headers=JSON, body=refused.encode(), times=99))
    made = service_account.Credentials.from_service_account_info(account, scopes=["all"])
    bucket = GcsBucket("b", endpoint=proxy.url, credentials=made, patience=IMPATIENT)
    with pytest.raises(
        BucketUnavailableError, match=r"revoked.*gcloud auth application-default login"
    ):
        bucket.get("name")


def test_whose_credentials_these_are(account: dict[str, str]) -> None:
    assert principal(AnonymousCredentials()) == ""
    made = service_account.Credentials.from_service_account_info(account)
    assert principal(made) == f"serviceAccount:{TRAINER}"


@pytest.mark.parametrize(
    ("address", "here"),
    [
        ("http://127.0.0.1:4443", True),
        ("localhost:9000", True),
        ("http://[::1]:80", True),
        ("https://storage.googleapis.com", False),
        ("http://127.0.0.1.example.org", False),
        ("", False),
    ],
)
def test_only_servers_of_this_machine_are_asked_without_credentials(
    address: str, here: bool
) -> None:
    assert on_loopback(address) == here


def test_an_emulator_named_by_the_environment_needs_no_credentials(
    gcs: GcsEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere.json")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs.url)
    bucket = GcsBucket(gcs.new_bucket())
    bucket.put("name", b"content")
    assert bucket.get("name") == b"content"


def test_an_emulator_on_another_machine_needs_none_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere.json")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://emulator.invalid:4443")
    with pytest.raises(BucketUnavailableError, match="cannot be reached"):
        GcsBucket("b", patience=IMPATIENT).get("name")
    with pytest.raises(BucketUnavailableError, match="no such file"):
        GcsBucket("b", endpoint="https://storage.example.org")


def test_a_key_file_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    with pytest.raises(
        BucketUnavailableError,
        match=r"names '.*key\.json', and there is no such file.*gcloud auth application-default",
    ):
        google_credentials()


@pytest.mark.parametrize("content", ["", "no JSON", "{}", '{"type": "service_account"}'])
def test_a_key_file_that_holds_no_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str
) -> None:
    (tmp_path / "key.json").write_text(content)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    with pytest.raises(
        BucketUnavailableError, match=r"key\.json', which .* holds none.*gcloud auth"
    ):
        google_credentials()


# What Google's library loads, on a busy machine, would take a good part of the time there is.
LOADED = "import google.auth.compute_engine, google.auth.transport.requests, time\n"


def asked_of_nobody(program: str, home: Path, **environment: str) -> subprocess.CompletedProcess:
    """Run by a user without credentials, in a process whose library has asked for nothing yet."""
    hidden = ("GOOGLE_", "STORAGE_", "CLOUDSDK", "GCE_")
    known = {name: it for name, it in os.environ.items() if not name.startswith(hidden)}
    return subprocess.run(
        [sys.executable, "-c", LOADED + program],
        capture_output=True,
        text=True,
        env=known | {"HOME": str(home)} | environment,
        check=False,
    )


def test_no_credentials_anywhere(tmp_path: Path) -> None:
    program = "from misheard.blobs.opening import open_bucket; open_bucket('gs://p-datasets')"
    ran = asked_of_nobody(program, tmp_path, NO_GCE_CHECK="true")
    assert (
        "no Google credentials. Authenticate: gcloud auth application-default login" in ran.stderr
    )


IMPATIENTLY = """
from misheard.blobs.google.login import google_credentials
began = time.monotonic()
try:
    google_credentials(limit_s=0.3)
finally:
    print(time.monotonic() - began)
"""


def test_a_network_that_swallows_everything_is_waited_for_seconds_only(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        address = f"127.0.0.1:{deaf.getsockname()[1]}"
        ran = asked_of_nobody(IMPATIENTLY, tmp_path, GCE_METADATA_IP=address)
    assert "were found within 0.3 s. Authenticate: gcloud auth" in ran.stderr
    assert 0.3 <= float(ran.stdout) < 30
