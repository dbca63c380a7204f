"""What a rented machine tells, and what it has made, comes home."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from misheard.blobs.bucket import Sent, unwatched
from misheard.blobs.transfers import fetch_all
from misheard.errors import BlobCorruptError, BlobNotFoundError, DiskFullError, HomecomingError
from misheard.finetune.paths import JobPaths
from misheard.finetune.rented.layout import RentedAttempt, RentedJob, key_of
from misheard.finetune.rented.manifest import MODEL, RESULT, Manifest, Outcome, read_manifest
from misheard.finetune.written import write_json

_SPARE_BYTES = 16 << 20
_AT_ONCE_BYTES = 8 << 20


@dataclass(frozen=True, kw_only=True)
class _Followed:
    """How far a file at home has come: so many bytes of an attempt, which end at `size_bytes`."""

    attempt: int = 0
    taken_bytes: int = 0
    size_bytes: int = 0
    """Of the file at home; what is beyond was not noted any more, and comes again."""


def follow(job: RentedJob, paths: JobPaths) -> bool:
    """Append what is new in the bucket to `JobPaths.events` and `log`; whether anything was.

    Attempts follow each other; what came home once never comes again, wherever this was killed.
    One process at a time may follow a job.
    """
    attempts = [job.attempt(number) for number in job.attempts()]
    noted = _read_followed(paths)
    before = dict(noted)
    for name, home in (("events", paths.events), ("log", paths.log)):
        followed = noted[name]
        if home.exists() and home.stat().st_size > followed.size_bytes:
            os.truncate(home, followed.size_bytes)
        for attempt in attempts:
            if attempt.number < followed.attempt:
                continue
            if attempt.number > followed.attempt:
                followed = replace(followed, attempt=attempt.number, taken_bytes=0)
            followed = _taken(attempt, getattr(attempt, name), home, followed)
        noted[name] = followed
    if noted == before:
        return False
    write_json(paths.followed, {name: asdict(one) for name, one in noted.items()})
    return any(noted[name].size_bytes != before[name].size_bytes for name in noted)


def _read_followed(paths: JobPaths) -> dict[str, _Followed]:
    values: dict[str, Any] = {}
    if paths.followed.exists():
        values = json.loads(paths.followed.read_text(encoding="utf-8"))
    return {name: _Followed(**values.get(name, {})) for name in ("events", "log")}


def _taken(attempt: RentedAttempt, name: str, home: Path, followed: _Followed) -> _Followed:
    """Append what an attempt has told since, as far as it is there now."""
    bucket = attempt.job.bucket
    there = bucket.stat(name)
    while there is not None and followed.taken_bytes < there.size_bytes:
        new = bucket.get(name, start=followed.taken_bytes, length=_AT_ONCE_BYTES)
        if not new:
            break
        with home.open("ab") as file:
            file.write(new)
        followed = replace(
            followed,
            taken_bytes=followed.taken_bytes + len(new),
            size_bytes=followed.size_bytes + len(new),
        )
    return followed


def bring_home(job: RentedJob, paths: JobPaths, *, progress: Sent = unwatched) -> Manifest:
    """Make the model and the result of a job that has succeeded files of `paths`.

    Events and log come first, `JobPaths.result` last. Interrupted anywhere, it can be called again;
    what has arrived does not travel twice. Of a job that has failed only events and log come: look
    at the `outcome`.

    Raises `HomecomingError` where there is no manifest, it is damaged, or a file is missing or was
    wrong twice; `DiskFullError` where there is no room.
    """
    manifest = read_manifest(job)
    if manifest is None:
        raise HomecomingError(f"{job.bucket.url}/{job.manifest} is not there (yet).")
    follow(job, paths)
    if manifest.outcome is Outcome.SUCCEEDED and not paths.result.exists():
        _fetch(job, paths, manifest, progress)
        _move_in(paths)
    return manifest


def _fetch(job: RentedJob, paths: JobPaths, manifest: Manifest, progress: Sent) -> None:
    """Make all files of the manifest those below `JobPaths.arriving`, and no others."""
    has_moved_in = _has_moved_in(paths, manifest)
    wanted = {
        paths.arriving / name: made
        for name, made in manifest.files.items()
        if name == RESULT or not has_moved_in
    }
    for path in list(paths.arriving.rglob("*")):
        made = wanted.get(path)
        if not path.is_dir() and (made is None or key_of(path) != made.sha256):
            path.unlink()
    missing = {path: made for path, made in wanted.items() if not path.exists()}
    size_bytes = sum(made.size_bytes for made in missing.values())
    paths.arriving.mkdir(exist_ok=True)
    if shutil.disk_usage(paths.root).free < size_bytes + _SPARE_BYTES:
        raise DiskFullError(
            f"'{paths.root}': the model of '{job.job_id}' needs {size_bytes / 1e6:.0f} MB. It "
            "waits in the bucket. Make room, then: misheard cycle begin"
        )
    keys = {path: made.sha256 for path, made in missing.items()}
    try:
        fetch_all(job.outputs, keys, progress)
    except (BlobCorruptError, BlobNotFoundError):
        # What was damaged on its way is whole when it comes again; the others are there by now.
        _fetch_again(job, paths, {path: key for path, key in keys.items() if not path.exists()})
    for path, made in wanted.items():
        if path.stat().st_size != made.size_bytes:
            raise _wrong(job, paths, path, "does not have the size that the manifest tells")


def _fetch_again(job: RentedJob, paths: JobPaths, keys: dict[Path, str]) -> None:
    for path, key in keys.items():
        try:
            with suppress(FileExistsError):  # a thread of the first try was faster
                job.outputs.fetch(key, path)
        except (BlobCorruptError, BlobNotFoundError) as error:
            what = "is not there" if isinstance(error, BlobNotFoundError) else "is damaged"
            raise _wrong(job, paths, path, what) from error


def _wrong(job: RentedJob, paths: JobPaths, path: Path, what: str) -> HomecomingError:
    name = path.relative_to(paths.arriving).as_posix()
    return HomecomingError(
        f"'{name}' of '{job.job_id}' {what}, below {job.bucket.url}/{job.folder}/outputs. "
        "Train it again: misheard cycle begin"
    )


def _has_moved_in(paths: JobPaths, manifest: Manifest) -> bool:
    """Whether an earlier call was cut off when the model was in its place already."""
    model = {name: made.sha256 for name, made in manifest.files.items() if name != RESULT}
    there = [path for path in paths.model.rglob("*") if path.is_file()]
    names = {path.relative_to(paths.root).as_posix(): path for path in there}
    return names.keys() == model.keys() and all(
        key_of(path) == model[name] for name, path in names.items()
    )


def _move_in(paths: JobPaths) -> None:
    """The result last: its presence means that all is here."""
    arrived = paths.arriving / MODEL
    if any(path.is_file() for path in arrived.rglob("*")):
        shutil.rmtree(paths.model, ignore_errors=True)
        arrived.rename(paths.model)
    (paths.arriving / RESULT).rename(paths.result)
    shutil.rmtree(paths.arriving, ignore_errors=True)


def clean(job: RentedJob) -> int:
    """Delete all of a job from the bucket, recordings first; how many objects there were.

    The bundle goes last: as long as it is there, whoever sends the job anew knows of the old one.
    """
    return clean_inputs(job) + _delete(job, f"{job.folder}/")


def clean_inputs(job: RentedJob) -> int:
    """Delete the recordings and texts that a job was sent; how many there were."""
    return _delete(job, f"{job.folder}/inputs/")


def _delete(job: RentedJob, below: str) -> int:
    names = [stored.name for stored in job.bucket.listed(below)]
    for name in sorted(names, key=lambda name: name == job.bundle):
        job.bucket.delete(name)
    return len(names)
