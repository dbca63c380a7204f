"""The last word on a job: what it came to, and which files it made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from misheard.blobs.store import is_key
from misheard.errors import BlobCorruptError, BlobNotFoundError, HomecomingError
from misheard.finetune.rented.layout import RentedJob, is_plain
from misheard.finetune.rented.sealed import read_sealed, sealed

RESULT = "result.json"
MODEL = "model"
_MOST_FILES = 1_000
_MOST_BYTES = 100 << 30


class Outcome(StrEnum):
    """How a job has ended on a rented machine."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Made:
    """A file that came of a job; its content is a blob of `RentedJob.outputs`."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a job came to."""

    attempt: int
    outcome: Outcome
    reason: str = ""
    """Why it failed, in one line."""
    files: Mapping[str, Made] = field(default_factory=dict)
    """By their path in the job's directory: result.json, and what is below model/."""

    def to_json(self) -> bytes:
        """As it is kept, with a SHA-256 of all the rest."""
        files = {name: vars(made) for name, made in sorted(self.files.items())}
        return sealed(vars(self) | {"outcome": self.outcome.value, "files": files})

    def check(self, where: str) -> None:
        """Raise `HomecomingError` unless its files may be written to a job's directory."""
        for name, made in self.files.items():
            if not _is_allowed(name):
                raise HomecomingError(f"{where} names '{name}', which is no file of a model.")
            if not _is_digest(made.sha256) or not _is_size(made.size_bytes):
                raise HomecomingError(f"{where} does not say what '{name}' is.")
        size_bytes = sum(made.size_bytes for made in self.files.values())
        if len(self.files) > _MOST_FILES or size_bytes > _MOST_BYTES:
            raise HomecomingError(
                f"{where} names {len(self.files)} files of {size_bytes / 1e9:.0f} GB together; "
                f"taken are {_MOST_FILES}, of {_MOST_BYTES / 1e9:.0f} GB."
            )
        has_model = any(name.startswith(f"{MODEL}/") for name in self.files)
        if self.outcome is Outcome.SUCCEEDED and not (has_model and RESULT in self.files):
            raise HomecomingError(f"{where} tells of success, and names no model with its result.")


def read_manifest(job: RentedJob) -> Manifest | None:
    """The manifest of a job; None before there is one.

    Raises `HomecomingError` where it is damaged, or names what no job makes.
    """
    where = f"{job.bucket.url}/{job.manifest}"
    try:
        values = read_sealed(job.bucket, job.manifest)
        files = {name: Made(**made) for name, made in values["files"].items()}
        manifest = Manifest(**values | {"files": files, "outcome": Outcome(values["outcome"])})
    except BlobNotFoundError:
        return None
    except BlobCorruptError as error:
        raise HomecomingError(error.detail) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise HomecomingError(f"{where} is no manifest: {error!r}") from error
    manifest.check(where)
    return manifest


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and is_key(value)


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_allowed(name: str) -> bool:
    return is_plain(name) and (name == RESULT or name.startswith(f"{MODEL}/"))
