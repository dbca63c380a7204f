"""Take recordings out of the directories of training jobs, which have copies of them."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from misheard.datasets.split import Split
from misheard.finetune.paths import JobPaths
from misheard.finetune.written import write_json
from misheard.forgetting.words import Eraser


def jobs_with(root: Path, recordings: Collection[str]) -> list[str]:
    """The ids of jobs under `root` whose directory has any of these recordings."""
    found = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    return [path.name for path in found if _has(JobPaths(path), recordings)]


def erase_from_job(root: Path, job_id: str, eraser: Eraser) -> int:
    """Delete a job's copies, its lines on them, and what it says of them; how many copies."""
    with _alone_in(root / job_id):
        return _erase(JobPaths(root / job_id), eraser)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Wait for another that forgets there: both would write the same files anew."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _erase(paths: JobPaths, eraser: Eraser) -> int:
    copies = 0
    for folder in (paths.data, paths.general):
        # Lines first: a line whose recording is gone would be an error.
        for split in Split:
            _erase_lines(folder / f"{split}.jsonl", eraser)
    for told in (paths.trained, paths.result, paths.curve):
        if told.exists():
            before = json.loads(told.read_text(encoding="utf-8"))
            after = eraser.of_json(before)
            if after != before:
                write_json(told, after)
    # Last, since it is by them that a job is known to have any.
    for folder in (paths.data, paths.general):
        for key in eraser.recordings & _copies(folder):
            (folder / "audio" / key).unlink(missing_ok=True)
            copies += 1
    return copies


def _has(paths: JobPaths, recordings: Collection[str]) -> bool:
    return any(not _copies(folder).isdisjoint(recordings) for folder in (paths.data, paths.general))


def _copies(folder: Path) -> set[str]:
    audio = folder / "audio"
    return {path.name for path in audio.iterdir()} if audio.is_dir() else set()


def _erase_lines(path: Path, eraser: Eraser) -> None:
    if not path.exists():
        return
    kept = eraser.of_lines(path.read_bytes())
    if kept is not None:
        partial = path.with_suffix(".partial")
        partial.write_bytes(kept)
        partial.rename(path)
