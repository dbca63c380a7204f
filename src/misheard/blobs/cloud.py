"""What is needed before anything can be kept in a Google Cloud bucket."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

from misheard.errors import BucketUnavailableError

_KEY_FILE = "GOOGLE_APPLICATION_CREDENTIALS"
_LOGIN_FILE = Path(".config/gcloud/application_default_credentials.json")


def refuse_bucket(project_id: str | None) -> NoReturn:
    """Say what is missing: credentials first, then the store, which a later version brings."""
    local = "To keep everything in local files, pass use_gcs=False."
    if not os.environ.get(_KEY_FILE) and not (Path.home() / _LOGIN_FILE).exists():
        raise BucketUnavailableError(
            "There are no Google credentials. Authenticate: gcloud auth application-default login "
            f"(or name a service account's key file in {_KEY_FILE}). {local}"
        )
    named = f"gs://{project_id}-datasets and gs://{project_id}-models" if project_id else "buckets"
    raise BucketUnavailableError(
        f"There are credentials, but this version of misheard does not keep files in {named} yet. "
        f"{local}"
    )
