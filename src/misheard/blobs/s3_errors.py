"""What S3 refuses, in words that say what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from misheard.errors import (
    BlobCorruptError,
    BlobNotFoundError,
    BucketUnavailableError,
    BucketUnreachableError,
    MisheardError,
)
from misheard.optional import optional

EXPORT = 'eval "$(aws configure export-credentials --format env)"'
_STATUS = re.compile(r"non-2xx status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_REGION = re.compile(r"<Region>([\w-]+)</Region>|expecting '([\w-]+)'")
_OF_THE_MACHINE = re.compile(r"http://[^/]+/latest/(api/token|meta-data)")
_UNKNOWN_KEYS = (
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "InvalidToken",
    "ExpiredToken",
    "TokenRefreshRequired",
)
_ELSEWHERE = ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraint")
_USED_UP = ("QuotaExceeded", "ServiceQuotaExceeded", "AccountProblem", "AllAccessDisabled")
_DAMAGED = (
    "BadDigest",
    "XAmzContentSHA256Mismatch",
    "XAmzContentChecksumMismatch",
    "InvalidDigest",
)
_PASSES = (408, 429, 500, 502, 503, 504)


class S3Errors:
    """Translates errors of one bucket; obstore tells what S3 said in its text alone."""

    def __init__(self, bucket: str) -> None:
        self._bucket = bucket
        exceptions = optional("obstore.exceptions", extra="s3")
        self.kinds: tuple[Any, ...] = (exceptions.BaseError, FileNotFoundError)
        """What `translated` translates."""
        self.exists = exceptions.AlreadyExistsError
        self.changed = exceptions.PreconditionError

    def passes(self, error: BaseException) -> bool:
        """Whether it is worth another attempt."""
        text = _said(error)
        status = _status(text)
        if status is not None:
            return status in _PASSES and not any(code in text for code in _USED_UP)
        return "HTTP error" in text and not _OF_THE_MACHINE.search(text)

    def is_beyond_its_end(self, error: BaseException) -> bool:
        """Whether a range begins after the last byte."""
        return _status(_said(error)) == 416

    def is_no_bucket(self, error: BaseException) -> bool:
        """Whether the bucket is what is not there."""
        return "NoSuchBucket" in _said(error)

    def translated(
        self, error: BaseException, name: str, *, is_there: Callable[[], bool]
    ) -> MisheardError:
        """One of our errors for one of `kinds`, met at the object `name`.

        `is_there` is asked whether the bucket is, where something is not.
        """
        address, text = f"s3://{self._bucket}", _said(error)
        status, code = _status(text), (_CODE.findall(text) or [""])[0]
        if _OF_THE_MACHINE.search(text):
            return BucketUnavailableError(
                "There are no AWS credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not "
                f"set, and this machine has no role. Log in with aws configure, then: {EXPORT}"
            )
        if code in _DAMAGED:
            return BlobCorruptError(f"{address}/{name} was damaged on its way: {text}")
        if status == 404 and code != "NoSuchBucket" and is_there():
            return BlobNotFoundError(f"{address}/{name}")
        if status == 404:
            return BucketUnavailableError(f"There is no {address}. Make it: aws s3 mb {address}")
        kind = BucketUnreachableError if self.passes(error) else BucketUnavailableError
        if status is None:
            return kind(
                f"{address} cannot be reached: {text} Is there a network, is AWS_ENDPOINT_URL "
                "right? Run the same command again; what has arrived stays."
            )
        return kind(self._refusal(status, code, text))

    def _refusal(self, status: int, code: str, text: str) -> str:
        address = f"s3://{self._bucket}"
        if code in _UNKNOWN_KEYS or status == 401:
            return (
                f"{address}: AWS does not take these credentials ({code or text}). Run: {EXPORT} ; "
                "then start this program again: it reads them when it starts."
            )
        if code in _ELSEWHERE or status == 301:
            region = next(
                (one for found in _REGION.findall(text) for one in found if one), "REGION"
            )
            return f"{address} is in another region. Run: export AWS_REGION={region}"
        if status == 429 or code in _USED_UP:
            return (
                f"{address}: a quota is used up ({code or text}). See which: "
                "aws service-quotas list-service-quotas --service-code s3 ; then wait, or ask "
                "for more."
            )
        if status == 403:
            return (
                f"{address}: these credentials may not do this ({code or 'AccessDenied'}). See "
                "whose they are: aws sts get-caller-identity ; then allow s3:ListBucket on the "
                "bucket and s3:GetObject, s3:PutObject, s3:DeleteObject and "
                "s3:AbortMultipartUpload on its objects: "
                f"aws s3api put-bucket-policy --bucket {self._bucket} "
                "--policy file://policy.json"
            )
        return f"{address}: S3 answers {status}: {text}"


def _said(error: BaseException) -> str:
    """Without obstore's inner view of it."""
    return str(error).split("\n\nDebug source:")[0]


def _status(text: str) -> int | None:
    found = _STATUS.search(text)
    return int(found[1]) if found else None
