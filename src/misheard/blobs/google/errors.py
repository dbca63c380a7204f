"""What Google Cloud Storage refuses, in words that say what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from misheard.blobs.google.login import LOGIN, principal
from misheard.errors import (
    BlobCorruptError,
    BlobNotFoundError,
    BucketUnavailableError,
    BucketUnreachableError,
    MisheardError,
    ObjectChangedError,
)
from misheard.optional import optional

_ROLE = "roles/storage.objectUser"
_REFUSED = re.compile(r"(?P<who>[\w.+-]+@[\w.-]+) does not have (?P<what>[\w.]+) access")
_USED_UP = ("quotaExceeded", "dailyLimitExceeded", "rateLimitExceeded", "userRateLimitExceeded")
_PASSES = (408, 429, 500, 502, 503, 504)
_UNPAID = ("accountDisabled", "billingDisabled", "billing account")
_WHO_PAYS = re.compile("requester pays|user project", re.IGNORECASE)


class GcsErrors:
    """Translates errors of one bucket."""

    def __init__(self, bucket: str, credentials: Any, project_id: str = "") -> None:
        self._bucket = bucket
        self._credentials = credentials
        self._project = project_id or "PROJECT"
        self._api = optional("google.api_core.exceptions", extra="gcp")
        self._auth = optional("google.auth.exceptions", extra="gcp")
        self._storage = optional("google.cloud.storage.exceptions", extra="gcp")
        requests = optional("requests", extra="gcp")
        urllib3 = optional("urllib3", extra="gcp")
        self.kinds = (
            self._api.GoogleAPIError,
            self._auth.GoogleAuthError,
            self._storage.InvalidResponse,
            self._storage.DataCorruption,
            requests.RequestException,
            urllib3.exceptions.HTTPError,
            ConnectionError,
        )
        """What `translated` translates; anything else is none of Google's."""
        self.beyond_its_end = self._api.RequestRangeNotSatisfiable

    def translated(
        self, error: BaseException, name: str, *, is_there: Callable[[], bool]
    ) -> MisheardError:
        """One of our errors for one of `kinds`, met at the object `name`.

        `is_there` is asked whether the bucket is, where something is not.
        """
        if isinstance(error, self._api.RetryError) and error.cause is not None:
            error = error.cause
        address, status = f"gs://{self._bucket}/{name}", self._status(error)
        damaged = status == 400 and "crc32c" in self._text(error).lower()
        if damaged or isinstance(error, self._storage.DataCorruption):
            return BlobCorruptError(f"{address} was damaged on its way: {error}")
        if self._is_no_login(error):
            return BucketUnavailableError(f"Google refuses these credentials: {error} Run: {LOGIN}")
        if status is None:
            return BucketUnreachableError(
                f"gs://{self._bucket} cannot be reached: {error} "
                "Is there a network? Run the same command again; what has arrived stays."
            )
        if status == 412:
            return ObjectChangedError(address)
        if status == 404 and is_there():
            return BlobNotFoundError(address)
        kind = BucketUnreachableError if status in _PASSES else BucketUnavailableError
        return kind(self._refusal(status, error))

    def is_not_found(self, error: BaseException) -> bool:
        """Whether it is a 404."""
        return self._status(error) == 404

    def asks_who_pays(self, error: BaseException) -> bool:
        """Whether the bucket wants a project that is billed for the request."""
        return self._status(error) == 400 and bool(_WHO_PAYS.search(self._text(error)))

    def _refusal(self, status: int, error: BaseException) -> str:
        bucket, text = f"gs://{self._bucket}", self._text(error)
        reasons = f"{self._reasons(error)} {text}"
        if any(one in reasons for one in _UNPAID):
            return (
                f"{bucket}: the project's billing is off ({text}). Switch it on: gcloud billing "
                f"projects link {self._project} --billing-account=ACCOUNT"
            )
        if status == 429 or any(one in reasons for one in _USED_UP):
            return (
                f"{bucket}: a quota is used up ({text}). See which: gcloud quotas info list "
                f"--service=storage.googleapis.com --project={self._project} ; "
                "then wait, or ask for more: console, IAM & Admin, Quotas."
            )
        if self.asks_who_pays(error):
            return (
                f"{bucket} bills whoever asks, and no project was named. Name the one that pays in "
                'misheard.toml: [storage] project_id = "PROJECT"'
            )
        known = {
            401: f"Google does not know these credentials ({text}). Run: {LOGIN}",
            403: self._denied(text),
            404: f"There is no {bucket}. Make it: gcloud storage buckets create {bucket} "
            "--location=us-central1 --uniform-bucket-level-access --public-access-prevention "
            f"--soft-delete-duration=0 --project={self._project}",
        }
        return known.get(status, f"{bucket}: Google answers {status}: {text}")

    def _denied(self, text: str) -> str:
        found = _REFUSED.search(text)
        who = principal(self._credentials) or "PRINCIPAL"
        if found and who == "PRINCIPAL":
            kind = "serviceAccount" if found["who"].endswith("gserviceaccount.com") else "user"
            who = f"{kind}:{found['who']}"
        lacks = f"lacks {found['what']}" if found else "may not do this"
        whose = "These credentials" if who == "PRINCIPAL" else who
        return (
            f"{whose}: {lacks} on gs://{self._bucket}. Grant it: gcloud storage buckets "
            f"add-iam-policy-binding gs://{self._bucket} --member={who} --role={_ROLE}"
        )

    def _text(self, error: BaseException) -> str:
        """What Google says, as far as it says anything."""
        answer = getattr(error, "response", None)
        if isinstance(error, self._storage.InvalidResponse) and answer is not None:
            error = self._api.from_http_response(answer)
        return str(getattr(error, "message", "") or error)

    def _status(self, error: BaseException) -> int | None:
        if isinstance(error, self._storage.InvalidResponse):
            return int(error.response.status_code)
        code = getattr(error, "code", None)
        return int(code) if isinstance(code, int) else None

    def _is_no_login(self, error: BaseException) -> bool:
        if isinstance(error, self._auth.TransportError):
            return False  # no network, and the login may be well
        return isinstance(error, self._auth.GoogleAuthError)

    def _reasons(self, error: BaseException) -> str:
        listed = getattr(error, "errors", None) or ()
        return " ".join(str(one.get("reason")) for one in listed if isinstance(one, dict))
