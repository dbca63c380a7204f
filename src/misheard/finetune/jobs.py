"""Training jobs: submitted, watched, and finished or failed with the reason."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, insert, select, update

from misheard.database.engine import now, writing
from misheard.database.schema import jobs
from misheard.datasets.datasets import Dataset, Datasets
from misheard.errors import DiskFullError, EmptyDatasetError, JobFailedError, UnknownIdError
from misheard.finetune.backends.backend import RunState, TrainingBackend
from misheard.finetune.ending import KILLED, error_in, progress_of
from misheard.finetune.events import TrainingEvent, read_events
from misheard.finetune.order import Order
from misheard.finetune.paths import JobPaths
from misheard.finetune.recipe import Recipe
from misheard.finetune.written import alone
from misheard.registry import Registry
from misheard.scoring.normalize import Normalizer
from misheard.speech.decoding import DecodingOptions

_POLL_S = 0.5
_RESERVED_BYTES = 1 << 20


class JobState(StrEnum):
    """Where a job stands."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether it has ended."""
        return self is not JobState.RUNNING


@dataclass(frozen=True, kw_only=True)
class Job:
    """One fine-tune."""

    id: str
    created_at: datetime
    state: JobState
    backend: str
    base_version_id: str
    dataset_id: str
    recipe: Recipe
    ended_at: datetime | None
    error: str | None
    result: dict[str, Any] | None
    """What the training program reported."""


class Jobs:
    """Submits jobs to a back end and keeps what became of them."""

    def __init__(  # noqa: PLR0913 - what every order says is told once, here
        self,
        engine: Engine,
        datasets: Datasets,
        registry: Registry,
        backend: TrainingBackend,
        root: Path,
        *,
        normalizer: Normalizer,
        decoding: DecodingOptions,
        general_margin: float = 0.0,
        compute_type: str = "int8",
        device: str = "cpu",
    ) -> None:
        """`general_margin` is how far the WER on the general set may rise, absolute.

        `decoding`, `compute_type` and `device` are how a model will be served, and so how it is
        validated while it is trained.
        """
        self._engine = engine
        self._datasets = datasets
        self._registry = registry
        self._backend = backend
        self._root = root
        self._normalizer = normalizer
        self._general_margin = general_margin
        self._decoding = decoding
        self._compute_type = compute_type
        self._device = device

    def submit(
        self,
        job_id: str,
        base_version_id: str,
        dataset: Dataset,
        recipe: Recipe,
        *,
        general: Dataset | None = None,
    ) -> Job:
        """Start a job; one of this id that is there already is started again only if it stopped.

        `general` is speech that the model is not tuned for; the part of it that is for choosing
        helps to choose the weights that are shipped.
        """
        job = self.prepare(job_id, base_version_id, dataset, recipe, general=general)
        if not job.state.is_final:
            self.start(job_id)
        return job

    def start(self, job_id: str) -> None:
        """Start a job that was prepared; nothing happens when it runs, or has ended."""
        try:
            self._backend.start(self.paths(job_id))
        except OSError as error:
            self._require_room(job_id, error)
            raise

    def prepare(
        self,
        job_id: str,
        base_version_id: str,
        dataset: Dataset,
        recipe: Recipe,
        *,
        general: Dataset | None = None,
    ) -> Job:
        """Have a job with all its files, that `start` starts; see `submit`."""
        job = self.draft(job_id, base_version_id, dataset, recipe)
        with writing(self._engine) as connection:
            known = connection.execute(select(jobs.c.id).where(jobs.c.id == job_id)).first()
            if known is None:
                values = vars(job) | {"recipe": recipe.to_dict()}
                connection.execute(insert(jobs).values(**values))
        try:
            return self._with_inputs(job_id, general)
        except OSError as error:
            self._require_room(job_id, error)
            raise

    def draft(self, job_id: str, base_version_id: str, dataset: Dataset, recipe: Recipe) -> Job:
        """A job that nobody knows of yet; `EmptyDatasetError` where there is nothing to learn."""
        if not dataset.counts.get("train"):
            raise EmptyDatasetError(f"'{dataset.id}' has no training rows.")
        self._normalizer.require_spec()
        return Job(
            id=job_id,
            created_at=now(),
            state=JobState.RUNNING,
            backend=self._backend.name,
            base_version_id=base_version_id,
            dataset_id=dataset.id,
            recipe=recipe,
            ended_at=None,
            error=None,
            result=None,
        )

    def wait(
        self,
        job_id: str,
        *,
        on_event: Callable[[TrainingEvent], None] = lambda _: None,
        while_waiting: Callable[[], None] = lambda: None,
    ) -> Job:
        """Wait until a job has ended; each event is reported once, `while_waiting` twice a second.

        A job that was killed, or whose machine went down, is started again and goes on from its
        last checkpoint, for as long as each attempt gets further; one that does not is the last.

        Raises `JobFailedError` with the reason when it failed.
        """
        paths, seen, reached = self.paths(job_id), 0, -1
        while True:
            # Asked before the events are read, so that the last ones are not missed.
            state = self._backend.state(paths)
            events = list(read_events(paths.events))
            for event in events[seen:]:
                on_event(event)
            seen = len(events)
            progress = progress_of(paths)
            if state is RunState.STOPPED and progress > reached and self._was_killed(job_id):
                reached = progress
                self._backend.start(paths)
            elif state.is_final:
                return self._finish(job_id, state)
            while_waiting()
            time.sleep(_POLL_S)

    def cancel(self, job_id: str) -> Job:
        """Stop a job; one that has ended stays as it ended."""
        # Said first, so that nobody who waits for it takes it for a failure.
        self._end(job_id, JobState.CANCELLED, error="cancelled")
        self._backend.cancel(self.paths(job_id))
        return self.get(job_id)

    def get(self, job_id: str) -> Job:
        """A job by its id."""
        with self._engine.connect() as connection:
            query = select(jobs).where(jobs.c.id == job_id)
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            raise UnknownIdError(f"There is no job '{job_id}'.")
        return _job(dict(row))

    def events(self, job_id: str) -> list[TrainingEvent]:
        """All that a job has reported so far."""
        return list(read_events(self.paths(job_id).events))

    def paths(self, job_id: str) -> JobPaths:
        """The files of a job."""
        return JobPaths(self._root / job_id)

    def _was_killed(self, job_id: str) -> bool:
        """Whether it stopped without an error or a failure, and nobody cancelled it."""
        paths = self.paths(job_id)
        has_reason = _given_up(paths) or error_in(paths.log)
        return not self.get(job_id).state.is_final and not has_reason

    def _with_inputs(self, job_id: str, general: Dataset | None) -> Job:
        self._root.mkdir(parents=True, exist_ok=True)
        # Of two at once the second would throw away what the first has begun to train on.
        with alone(self._root / "inputs.lock"):
            job = self.get(job_id)
            if not job.state.is_final and not self.paths(job_id).order.exists():
                self.write_inputs(job, self.paths(job_id), general)
        return job

    def write_inputs(self, job: Job, paths: JobPaths, general: Dataset | None) -> None:
        """Write all that a training needs; half-written inputs are made anew."""
        shutil.rmtree(paths.root, ignore_errors=True)
        paths.root.mkdir(parents=True)
        self._datasets.export(self._datasets.get(job.dataset_id), paths.data)
        if general is not None:
            self._datasets.export(general, paths.general)
        with paths.reserve.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, _RESERVED_BYTES)
        paths.base.symlink_to(self._registry.directory(job.base_version_id).resolve())
        order = Order(
            base_name=job.base_version_id,
            dataset_id=job.dataset_id,
            normalizer=self._normalizer.require_spec(),
            equivalents=self._normalizer.equivalents,
            language=self._decoding.language,
            recipe=job.recipe,
            general_margin=self._general_margin,
            decoding=asdict(self._decoding),
            compute_type=self._compute_type,
            device=self._device,
        )
        order.write(paths.order)

    def _require_room(self, job_id: str, error: OSError) -> None:
        """End a job whose inputs have no room on the disk."""
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            return
        root = self.paths(job_id).root
        shutil.rmtree(root, ignore_errors=True)
        full = DiskFullError(
            f"'{root}': the inputs of a training do not fit. Make room, then: misheard cycle begin"
        )
        self._end(job_id, JobState.FAILED, error=str(full))
        raise JobFailedError(f"{job_id}: {full}") from error

    def _finish(self, job_id: str, state: RunState) -> Job:
        paths = self.paths(job_id)
        if state is RunState.SUCCEEDED:
            result = json.loads(paths.result.read_text(encoding="utf-8"))
            self._end(job_id, JobState.COMPLETED, result=result)
        else:
            self._end(job_id, JobState.FAILED, error=_reason(paths))
        job = self.get(job_id)
        if job.state is not JobState.COMPLETED:
            raise JobFailedError(f"{job_id}: {job.error} The whole log is '{paths.log}'.")
        return job

    def _end(
        self,
        job_id: str,
        state: JobState,
        *,
        error: str | None = None,
        result: dict[str, Any] | None = None,
    ) -> None:
        running = (jobs.c.id == job_id) & (jobs.c.state == JobState.RUNNING)
        values = {"state": state, "ended_at": now(), "error": error, "result": result}
        with writing(self._engine) as connection:
            connection.execute(update(jobs).where(running).values(**values))


def _reason(paths: JobPaths) -> str:
    """What the place to train says, or the error in the log; else something killed the process."""
    return _given_up(paths) or error_in(paths.log) or KILLED


def _given_up(paths: JobPaths) -> str:
    """Why the place to train goes on no more; "" where it has not given up."""
    try:
        return paths.failure.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""


def _job(row: dict[str, Any]) -> Job:
    return Job(**row | {"state": JobState(row["state"]), "recipe": Recipe.from_dict(row["recipe"])})
