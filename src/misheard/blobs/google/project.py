"""Which project of Google Cloud is meant."""

from __future__ import annotations

import os

from misheard.blobs.google.login import google_credentials, on_loopback
from misheard.errors import BucketUnavailableError
from misheard.optional import optional

VARIABLE = "GOOGLE_CLOUD_PROJECT"


def project_of(*given: str | None) -> str:
    """The first that is given; else GOOGLE_CLOUD_PROJECT, else that of the credentials.

    Raises `BucketUnavailableError` without credentials, or where they name no project.
    """
    for one in (*given, os.environ.get(VARIABLE)):
        if one:
            return one
    endpoint = os.environ.get("STORAGE_EMULATOR_HOST", "")
    google_credentials(endpoint)  # says what to do where there are none
    found = None
    if not on_loopback(endpoint):
        _, found = optional("google.auth", extra="gcp").default()
    if not found:
        raise BucketUnavailableError(
            'Nothing says which project of Google Cloud is meant. Pass project_id="…", or: '
            f"export {VARIABLE}=… (gcloud projects list names yours)"
        )
    return str(found)
