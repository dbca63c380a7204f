"""Every object of a job in the bucket is a property of one class, and nothing else names them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from misheard.blobs.below import Below
from misheard.blobs.bucket import Bucket
from misheard.blobs.objects import BucketBlobs
from misheard.errors import UnknownIdError

SHARED = "training/shared"
_JOBS = "training/jobs"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_BEGUN = re.compile(r"(\d+)/begun\.json")


def is_plain(name: str) -> bool:
    """Whether `name` is a path with slashes that leads nowhere but further down."""
    parts = name.split("/")
    return "\\" not in name and all(
        part not in ("", ".", "..") and part.isprintable() for part in parts
    )


def key_of(path: Path) -> str:
    """The name that the content of a file has as a blob."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class RentedJob:
    """What a job has in the bucket; whoever sends it, and whatever runs it, meet here alone.

    Names are relative to the bucket's address.
    """

    bucket: Bucket
    job_id: str

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.job_id):
            raise UnknownIdError(f"'{self.job_id}' is no id of a job: letters, digits, . _ and -")

    @property
    def folder(self) -> str:
        """All that is the job's own is below it, and goes with it."""
        return f"{_JOBS}/{self.job_id}"

    @property
    def shared(self) -> BucketBlobs:
        """What jobs have in common: base models, and misheard itself as a wheel."""
        return BucketBlobs(Below(self.bucket, SHARED))

    @staticmethod
    def shared_name(key: str) -> str:
        """The name of the object in which a blob of `shared` is."""
        return f"{SHARED}/{key[:2]}/{key}"

    @property
    def inputs(self) -> BucketBlobs:
        """What only this job needs: recordings, and what is said in them."""
        return BucketBlobs(Below(self.bucket, f"{self.folder}/inputs"))

    @property
    def outputs(self) -> BucketBlobs:
        """The files of the manifest."""
        return BucketBlobs(Below(self.bucket, f"{self.folder}/outputs"))

    @property
    def bundle(self) -> str:
        """Which blobs the job's directory is made of (JSON); written when all are there."""
        return f"{self.folder}/bundle.json"

    @property
    def go(self) -> str:
        """Its presence means that training may begin."""
        return f"{self.folder}/go.json"

    @property
    def manifest(self) -> str:
        """What it came to (JSON), written once and last of all: its presence means the end."""
        return f"{self.folder}/manifest.json"

    @property
    def saves(self) -> str:
        """Below it, a list of files (JSON) for each state that training can go on from."""
        return f"{self.folder}/saves/"

    def attempt(self, number: int) -> RentedAttempt:
        """What one machine has in the bucket."""
        return RentedAttempt(self, number)

    def attempts(self) -> list[int]:
        """The numbers of all attempts that have begun, in their order."""
        folder = f"{self.folder}/attempts/"
        names = [stored.name.removeprefix(folder) for stored in self.bucket.listed(folder)]
        return sorted(int(found[1]) for name in names if (found := _BEGUN.fullmatch(name)))


@dataclass(frozen=True)
class RentedAttempt:
    """What one machine writes for a job; no other machine writes there."""

    job: RentedJob
    number: int

    @property
    def folder(self) -> str:
        """All that the machine tells of itself."""
        return f"{self.job.folder}/attempts/{self.number}"

    @property
    def begun(self) -> str:
        """Which machine this attempt is (JSON), written once, before anything else."""
        return f"{self.folder}/begun.json"

    @property
    def heartbeat(self) -> str:
        """How it is (JSON), every few seconds."""
        return f"{self.folder}/heartbeat.json"

    @property
    def events(self) -> str:
        """What the training has reported in this attempt; it only grows."""
        return f"{self.folder}/events.jsonl"

    @property
    def log(self) -> str:
        """What the training has printed in this attempt; it only grows."""
        return f"{self.folder}/train.log"

    @property
    def install_log(self) -> str:
        """What the start-up script has printed."""
        return f"{self.folder}/install.log"

    @property
    def state(self) -> BucketBlobs:
        """The files of this attempt's saves."""
        return BucketBlobs(Below(self.job.bucket, f"{self.job.folder}/state/{self.number}"))

    def save(self, step: int) -> str:
        """The state after a step (JSON); written when all its files are there."""
        return f"{self.job.saves}{self.number}/{step:012d}.json"
