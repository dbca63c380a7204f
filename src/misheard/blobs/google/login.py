"""Google's credentials, found within seconds or refused with what to do."""

from __future__ import annotations

import os
import queue
import re
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from misheard.errors import BucketUnavailableError
from misheard.optional import optional

KEY_FILE = "GOOGLE_APPLICATION_CREDENTIALS"
LOGIN = "gcloud auth application-default login"
_LIMIT_S = 8.0
_OF_THIS_MACHINE = re.compile(r"127\.\d+\.\d+\.\d+")
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


def google_credentials(endpoint: str = "", *, limit_s: float = _LIMIT_S) -> Any:
    """Credentials of google-auth for Google, or for a stand-in for it at `endpoint`.

    Anonymous where the endpoint is on this machine. Otherwise "application default credentials":
    the file that GOOGLE_APPLICATION_CREDENTIALS names, what `gcloud auth application-default
    login` wrote, or the service account of the machine. Raises `BucketUnavailableError`, after
    `limit_s` at the latest.
    """
    if on_loopback(endpoint):
        return anonymous()
    _check_key_file()
    auth = optional("google.auth", extra="gcp")  # which takes seconds to load on a busy machine
    answer: queue.Queue[Any] = queue.Queue()
    # A machine without a network can wait long for Google's metadata server, and without limit
    # for the name of it: a thread that nobody waits for costs nothing.
    threading.Thread(target=_find, args=(auth, answer), daemon=True).start()
    try:
        found = answer.get(timeout=limit_s)
    except queue.Empty:
        raise BucketUnavailableError(
            f"No Google credentials were found within {limit_s:g} s. {_what_to_do()}"
        ) from None
    if isinstance(found, Exception):
        raise BucketUnavailableError(f"There are no Google credentials. {_what_to_do()}") from found
    return found


def anonymous() -> Any:
    """Nobody's credentials, for emulators."""
    return optional("google.auth.credentials", extra="gcp").AnonymousCredentials()


def on_loopback(endpoint: str) -> bool:
    """Whether an address is one of this machine: an emulator's."""
    host = urlsplit(endpoint if "://" in endpoint else f"//{endpoint}").hostname or ""
    return host in ("localhost", "::1") or bool(_OF_THIS_MACHINE.fullmatch(host))


def principal(credentials: Any) -> str:
    """Whose credentials these are, as IAM writes it; "" where they do not say."""
    email = getattr(credentials, "service_account_email", "") or ""
    if "@" in email:
        return f"serviceAccount:{email}"
    account = getattr(credentials, "account", "") or ""
    return f"user:{account}" if "@" in account else ""


def _find(auth: Any, answer: queue.Queue[Any]) -> None:
    try:
        answer.put(auth.default(scopes=[_SCOPE])[0])
    except Exception as error:  # noqa: BLE001 - told to whoever waits for it
        answer.put(error)


def _check_key_file() -> None:
    named = os.environ.get(KEY_FILE)
    if named and not Path(named).is_file():
        raise BucketUnavailableError(
            f"{KEY_FILE} names '{named}', and there is no such file. Put a service account's key "
            f"there, or: unset {KEY_FILE} && {LOGIN}"
        )


def _what_to_do() -> str:
    named = os.environ.get(KEY_FILE)
    if named:
        return (
            f"'{named}', which {KEY_FILE} names, holds none: it has to be the JSON file of a "
            f"service account's key. Or: unset {KEY_FILE} && {LOGIN}"
        )
    return f"Authenticate: {LOGIN} (or name a service account's key file in {KEY_FILE})."
