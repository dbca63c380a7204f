"""Why a rented machine stops before the job has ended, and how it learns that it will be taken."""

from __future__ import annotations

import os
import threading
import time
import urllib.request
from pathlib import Path

from misheard.finetune.rented.attempts import Phase

METADATA_HOST = "GCE_METADATA_HOST"
"""The environment variable by which Google's own libraries, too, find another metadata server."""
_USUAL_HOST = "metadata.google.internal"
_PRODUCT = Path("/sys/class/dmi/id/product_name")
_ASK_EVERY_S = 1.0
_ANSWER_S = 3.0


class StoppedError(Exception):
    """Raised where work is left off; `Stop` knows why."""


class Stop:
    """Said once, heard by every thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._said = threading.Event()
        self.phase = Phase.OVER
        self.reason = ""
        self.at_s = 0.0
        """When it was said, by `time.monotonic`."""

    def say(self, phase: Phase, reason: str) -> None:
        """Stop; the first reason counts."""
        with self._lock:
            if not self._said.is_set():
                self.phase, self.reason, self.at_s = phase, reason, time.monotonic()
                self._said.set()

    def is_said(self) -> bool:
        """Whether to stop."""
        return self._said.is_set()

    def is_said_for(self, phase: Phase) -> bool:
        """Whether to stop for this reason."""
        return self.is_said() and self.phase is phase

    def check(self) -> None:
        """Raise `StoppedError` if it was said."""
        if self.is_said():
            raise StoppedError(self.reason)

    def pause(self, seconds: float) -> None:
        """Wait, and raise `StoppedError` as soon as it is said."""
        self._said.wait(seconds)
        self.check()


def watch_for_preemption(stop: Stop) -> None:
    """Ask the metadata server, where there is one, until it says that the machine is taken away.

    See https://cloud.google.com/compute/docs/instances/create-use-spot#detect-preemption
    """
    host = os.environ.get(METADATA_HOST) or (_USUAL_HOST if _is_googles() else "")
    while host and not stop.is_said():
        if _is_preempted(host):
            stop.say(Phase.PREEMPTED, "the machine is taken away")
        time.sleep(_ASK_EVERY_S)


def _is_googles() -> bool:
    try:
        return "Google" in _PRODUCT.read_text(encoding="utf-8")
    except OSError:
        return False


def _is_preempted(host: str) -> bool:
    request = urllib.request.Request(
        f"http://{host}/computeMetadata/v1/instance/preempted",
        headers={"Metadata-Flavor": "Google"},
    )
    # It is on the machine itself: no proxy of the environment leads there.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_ANSWER_S) as answer:
            return bool(answer.read().strip().upper() == b"TRUE")
    except OSError:
        return False
