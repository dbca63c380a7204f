"""What a training can go on from is kept in the bucket, as it was at one moment.

A checkpoint alone is not enough: best weights and curve belong to it. Taken a little later they
could be those of the next epoch, and whatever goes on from there would hold weights that its own
curve knows nothing of. So a save is made of links, which are taken at once, and only of files that
fit each other; and each attempt keeps its own, so that two machines never mix theirs.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from misheard.blobs.bucket import Sent, unwatched
from misheard.blobs.store import is_key
from misheard.blobs.transfers import fetch_all, put_all
from misheard.errors import BlobCorruptError, BlobNotFoundError
from misheard.finetune.paths import JobPaths
from misheard.finetune.rented.attempts import require_newest
from misheard.finetune.rented.layout import RentedAttempt, RentedJob, is_plain
from misheard.finetune.rented.sealed import read_sealed, sealed

TRAINED = 10**12 - 1
"""Stands for the step of a save after which nothing is left to train."""
_KEPT = 2
_TRAINER_STATE = "trainer_state.json"


@dataclass(frozen=True, kw_only=True, order=True)
class Save:
    """A state in the bucket that training can go on from."""

    step: int
    attempt: int
    """Which attempt made it."""
    name: str
    """Of the object that lists its files."""


def saves(job: RentedJob) -> list[Save]:
    """All whole saves of a job, the one that is furthest last."""
    found = []
    for stored in job.bucket.listed(job.saves):
        attempt, _, step = stored.name.removeprefix(job.saves).partition("/")
        number = step.removesuffix(".json")
        if attempt.isdecimal() and number.isdecimal():
            found.append(Save(step=int(number), attempt=int(attempt), name=stored.name))
    return sorted(found)


@dataclass(frozen=True, kw_only=True)
class Taken:
    """Links to the files of a state, which stay whatever the training does next."""

    step: int
    folder: Path

    def files(self) -> dict[str, Path]:
        """By their path in the job's directory."""
        found = (path for path in sorted(self.folder.rglob("*")) if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path for path in found}


def take(paths: JobPaths, *, after: int) -> Taken | None:
    """The state of the newest checkpoint, if it is past the step `after`.

    None where there is none, and where its files do not fit each other at this moment: while an
    epoch is validated, and until its checkpoint is whole.
    """
    step = TRAINED if paths.trained.exists() else max(paths.checkpoints(), default=0)
    if step <= after:
        return None
    taken = Taken(step=step, folder=paths.saving / str(step))
    shutil.rmtree(taken.folder, ignore_errors=True)
    try:
        _link(paths, taken)
    except FileNotFoundError:
        return None  # replaced by a newer one meanwhile
    still = TRAINED if paths.trained.exists() else max(paths.checkpoints(), default=0)
    return taken if still == step and _fits(paths, taken) else None


def _link(paths: JobPaths, taken: Taken) -> None:
    files = [path for path in (paths.curve, paths.best) if path.exists()]
    if taken.step == TRAINED:
        files.append(paths.trained)
    else:
        folder = paths.complete_mark(taken.step).parent
        files += [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        target = taken.folder / path.relative_to(paths.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, target)
    # The only one that is written to in its place.
    whole, _, _ = paths.events.read_bytes().rpartition(b"\n")
    (taken.folder / paths.events.name).write_bytes(whole + b"\n")


def _fits(paths: JobPaths, taken: Taken) -> bool:
    """Whether curve and best weights are those that were there when the checkpoint was made."""
    there = JobPaths(taken.folder)
    if taken.step == TRAINED:
        return there.best.exists()
    if not there.curve.exists():
        # Before the end of the first epoch; without validation there is a best only at the end.
        return not there.best.exists() and not paths.curve.exists()
    if not paths.curve.samefile(there.curve):
        return False
    if there.best.exists() and there.best.stat().st_mtime_ns > there.curve.stat().st_mtime_ns:
        return False  # the curve is about to follow
    state = there.complete_mark(taken.step).with_name(_TRAINER_STATE)
    epoch = json.loads(state.read_text(encoding="utf-8"))["epoch"]
    known = [int(number) for number in json.loads(there.curve.read_text(encoding="utf-8"))]
    return max(known, default=0) <= math.floor(float(epoch))


def send(attempt: RentedAttempt, taken: Taken, progress: Sent = unwatched) -> None:
    """Put a state into the bucket, its list last, and let go of older ones.

    Raises `AttemptOverError` where a newer attempt has begun.
    """
    files = taken.files()
    keys = put_all(attempt.state, list(files.values()), progress)
    require_newest(attempt)
    listed = {"files": dict(zip(files, keys, strict=True))}
    attempt.job.bucket.put(attempt.save(taken.step), sealed(listed))
    _prune(attempt)


def _prune(attempt: RentedAttempt) -> None:
    """Keep the furthest saves; a newer attempt's are left to it."""
    job = attempt.job
    mine = [save for save in saves(job) if save.attempt <= attempt.number]
    for save in mine[:-_KEPT]:
        job.bucket.delete(save.name)
    for number in {save.attempt for save in mine}:
        kept = [save for save in mine[-_KEPT:] if save.attempt == number]
        needed = {key for save in kept for key in _files(job, save).values()}
        store = job.attempt(number).state
        for key in list(store):
            if key not in needed:
                store.delete(key)


def _files(job: RentedJob, save: Save) -> Mapping[str, str]:
    """The keys of a save's files by their path; `BlobCorruptError` for what is no such list."""
    try:
        files = read_sealed(job.bucket, save.name)["files"]
        names = ("scratch/", "best.safetensors", "curve.json", "trained.json", "events.jsonl")
        right = all(is_plain(name) and name.startswith(names) for name in files)
        if right and all(is_key(key) for key in files.values()):
            return dict(files)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise BlobCorruptError(f"{job.bucket.url}/{save.name} is no list of files.") from error
    raise BlobCorruptError(f"{job.bucket.url}/{save.name} names what no save has.")


def restore(
    job: RentedJob,
    paths: JobPaths,
    *,
    progress: Sent = unwatched,
    say: Callable[[str], None] = lambda _: None,
) -> int:
    """Put the files of the furthest whole save in their places, and nothing else there.

    Returns its step, 0 where training begins anew. A save that is damaged, or that another machine
    lets go of meanwhile, is passed over for the one before.
    """
    passed: set[Save] = set()
    while True:
        _clear(paths)
        left = [save for save in saves(job) if save not in passed]
        if not left:
            return 0
        save = left[-1]
        try:
            files = _files(job, save)
            # A folder of its own: threads of a try that was cut off may still write to another.
            folder = paths.saving / secrets.token_hex(8)
            keys = {folder / name: key for name, key in files.items()}
            fetch_all(job.attempt(save.attempt).state, keys, progress)
        except (BlobNotFoundError, BlobCorruptError) as error:
            say(f"the save at {save.name} cannot be used: {error}")
            passed.add(save)
            continue
        for path in folder.iterdir():
            path.rename(paths.root / path.name)
        if paths.curve.exists():
            os.utime(paths.curve)  # as ever, not older than the best weights
        return save.step


def _clear(paths: JobPaths) -> None:
    """Whatever a training left here may be half-written: the machine may have gone down."""
    for folder in (paths.scratch, paths.weights, paths.temporary, paths.saving, paths.model):
        shutil.rmtree(folder, ignore_errors=True)
    for path in _written(paths):
        path.unlink(missing_ok=True)


def _written(paths: JobPaths) -> Iterator[Path]:
    for path in (paths.best, paths.curve, paths.trained, paths.result):
        yield path
        yield path.with_suffix(".partial")
    yield paths.events
