"""What a person reads when S3 does not let them in, and the command that helps."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import pytest

from misheard.blobs.patience import Patience
from misheard.blobs.s3 import S3Bucket
from misheard.errors import BlobNotFoundError, BucketUnavailableError, BucketUnreachableError
from tests.emulators import S3Emulator
from tests.faults import Fault, FaultProxy, faults

IMPATIENT = Patience(first_s=0.005, most_s=0.02, deadline_s=0.2, answer_s=60)
EXPORT = 'eval "$(aws configure export-credentials --format env)"'


@pytest.fixture
def proxy(s3: S3Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    with faults(s3.url) as made:
        monkeypatch.setenv("AWS_ENDPOINT_URL", made.url)
        yield made


def answered(status: int, code: str, more: str = "") -> Fault:
    """As S3 answers (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html)."""
    body = f"<Error><Code>{code}</Code><Message>About {code}.</Message>{more}</Error>"
    headers = {"Content-Type": "application/xml"}
    return Fault(status=status, body=body.encode(), headers=headers, times=10_000)


CASES = {
    "a permission": (
        answered(403, "AccessDenied"),
        ["s3://b", "aws sts get-caller-identity", "aws s3api put-bucket-policy --bucket b"],
    ),
    "a key that is none": (answered(403, "InvalidAccessKeyId"), ["InvalidAccessKeyId", EXPORT]),
    "a session that is over": (
        answered(400, "ExpiredToken"),
        ["ExpiredToken", EXPORT, "start this program again"],
    ),
    "another region": (
        answered(400, "AuthorizationHeaderMalformed", "<Region>eu-west-3</Region>"),
        ["export AWS_REGION=eu-west-3"],
    ),
    "a quota": (
        answered(403, "QuotaExceeded"),
        ["a quota is used up", "aws service-quotas list-service-quotas --service-code s3"],
    ),
    "a rate that stays too high": (answered(429, "SlowDown"), ["a quota is used up"]),
    "what is none of these": (answered(418, "Teapot"), ["418", "About Teapot"]),
}


@pytest.mark.parametrize("case", CASES)
def test_what_s3_refuses_is_told_with_what_to_do(proxy: FaultProxy, case: str) -> None:
    fault, said = CASES[case]
    proxy.add(fault)
    bucket = S3Bucket("b", patience=IMPATIENT)
    steps: list[Callable[[], object]] = [
        lambda: bucket.put("name", b"content"),
        lambda: bucket.get("name"),
        lambda: list(bucket.listed()),
    ]
    for step in steps:
        with pytest.raises(BucketUnavailableError) as caught:
            step()
        passes = case == "a rate that stays too high"
        assert isinstance(caught.value, BucketUnreachableError) == passes
        for part in said:
            assert part in str(caught.value)


def test_a_bucket_that_is_not_there_is_told_from_an_object_that_is_not(
    proxy: FaultProxy, s3: S3Emulator
) -> None:
    absent = S3Bucket("absent", patience=IMPATIENT)
    steps: list[Callable[[], object]] = [
        lambda: absent.put("name", b"content"),
        lambda: absent.get("name"),
        lambda: absent.stat("name"),
        lambda: list(absent.listed()),
        lambda: absent.delete("name"),
    ]
    for step in steps:
        with pytest.raises(BucketUnavailableError, match=r"no s3://absent.*aws s3 mb s3://absent"):
            step()
    with pytest.raises(BlobNotFoundError):
        S3Bucket(s3.new_bucket(), patience=IMPATIENT).get("name")


def test_without_credentials_a_machine_that_has_no_role_says_so(
    proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", proxy.url)
    proxy.add(Fault(path="latest/(api|meta-data)", status=404, times=100))
    with pytest.raises(BucketUnavailableError) as caught:
        S3Bucket("b").get("name")
    assert "no AWS credentials" in str(caught.value)
    assert EXPORT in str(caught.value)


def test_a_network_that_swallows_everything_is_waited_for_seconds_only(
    proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        here = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", here)
        began = time.monotonic()
        with pytest.raises(BucketUnavailableError, match="no AWS credentials"):
            S3Bucket("b", patience=Patience(deadline_s=0.5, answer_s=0.5)).get("name")
        # obstore by itself asks for three minutes.
        assert time.monotonic() - began < 60
