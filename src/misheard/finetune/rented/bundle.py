"""What a machine needs for a job goes to the bucket, and from there into a directory like ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from misheard.blobs.bucket import Sent, unwatched
from misheard.finetune.paths import JobPaths
from misheard.finetune.rented.layout import RentedJob


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """What the directory of a job is made of, by the path in it."""

    shared: Mapping[str, str]
    """Files of the base model: blobs of `RentedJob.shared`."""
    inputs: Mapping[str, str]
    """All others: blobs of `RentedJob.inputs`."""
    size_bytes: int
    """Of all files together."""
    wheel_name: str
    """As pip wants the file to be called."""
    wheel_sha256: str
    """misheard itself: the blob of `RentedJob.shared`, in the object `shared_name` of it."""


def send_bundle(
    paths: JobPaths, job: RentedJob, wheel: Path, *, progress: Sent = unwatched
) -> Bundle:
    """Send what is not in the bucket yet; `progress` is told of the bytes as they go.

    Killed anywhere, it can be called again and goes on. Where the bucket holds another job of this
    id (other inputs), all that is left of that one is deleted first.
    """
    raise NotImplementedError


def bundle_bytes(paths: JobPaths) -> int:
    """How many bytes the inputs of a job have: what `send_bundle` sends at most, less the wheel."""
    raise NotImplementedError


def read_bundle(job: RentedJob) -> Bundle | None:
    """The bundle that is in the bucket; None before one is complete."""
    raise NotImplementedError


def fetch_bundle(job: RentedJob, paths: JobPaths, *, progress: Sent = unwatched) -> Bundle:
    """Make the directory of a job; each file is verified, and `JobPaths.order` comes last.

    Raises `BlobNotFoundError` where there is no bundle, or something that it names is missing.
    """
    raise NotImplementedError


def release(job: RentedJob) -> None:
    """Say that training may begin; said twice, nothing happens."""
    raise NotImplementedError


def is_released(job: RentedJob) -> bool:
    """Whether training may begin."""
    raise NotImplementedError
