"""One machine after another works on a job; of two at once the newer one wins."""

from __future__ import annotations

import json
import socket
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum

from misheard.errors import AttemptOverError, BlobNotFoundError, ObjectExistsError
from misheard.finetune.rented.layout import RentedAttempt, RentedJob


class Phase(StrEnum):
    """What a machine is doing; that the job has ended is told by its manifest."""

    INSTALLING = "installing"
    """Told by the start-up script, before the attempt has begun."""
    FETCHING = "fetching"
    WAITING = "waiting"
    """All is there, and nobody has said yet that training may begin."""
    TRAINING = "training"
    SENDING = "sending"
    """It has trained, and the model goes to the bucket."""
    PREEMPTED = "preempted"
    """The machine was taken away; another attempt goes on from the last save."""
    OVER = "over"
    """A newer attempt has begun."""
    IN_VAIN = "in vain"
    """Nobody said in time that training may begin."""

    @property
    def is_final(self) -> bool:
        """Whether the machine does nothing more, though the job has not ended."""
        return self in (Phase.PREEMPTED, Phase.OVER, Phase.IN_VAIN)


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """How a machine was when it last told."""

    attempt: int
    host: str
    at: datetime
    phase: Phase
    saved_step: int = 0
    """From where the next attempt would go on."""
    reason: str = ""

    def to_json(self) -> bytes:
        """As it is kept."""
        return json.dumps(asdict(self) | {"at": self.at.isoformat()}).encode()


def begin(attempt: RentedAttempt, token: str) -> None:
    """Claim an attempt for whoever knows `token`; claimed by the same again, nothing happens.

    Raises `AttemptOverError` where another machine has it, or a newer attempt has begun.
    """
    told = {"token": token, "host": socket.gethostname(), "at": datetime.now(UTC).isoformat()}
    bucket = attempt.job.bucket
    try:
        bucket.put(attempt.begun, json.dumps(told).encode(), create_only=True)
    except ObjectExistsError:
        there = json.loads(bucket.get(attempt.begun))
        if there["token"] != token:
            raise AttemptOverError(
                f"Attempt {attempt.number} of '{attempt.job.job_id}' is that of {there['host']} "
                f"since {there['at']}."
            ) from None
    require_newest(attempt)


def newest_attempt(job: RentedJob) -> int:
    """The number of the newest attempt that has begun; 0 before the first."""
    return max(job.attempts(), default=0)


def require_newest(attempt: RentedAttempt) -> None:
    """Raise `AttemptOverError` where a newer one has begun."""
    newest = newest_attempt(attempt.job)
    if newest > attempt.number:
        raise AttemptOverError(
            f"Attempt {attempt.number} of '{attempt.job.job_id}': attempt {newest} has begun."
        )


def read_heartbeat(attempt: RentedAttempt) -> Heartbeat | None:
    """What it last told; None where it never did."""
    try:
        values = json.loads(attempt.job.bucket.get(attempt.heartbeat))
    except BlobNotFoundError:
        return None
    told = {"at": datetime.fromisoformat(values["at"]), "phase": Phase(values["phase"])}
    return Heartbeat(**values | told)
