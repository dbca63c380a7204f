"""Jobs that take seconds: a Whisper with random weights, trained on real telephone speech."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from misheard.blobs.directory import DirectoryBlobs
from misheard.database.engine import migrate, open_engine
from misheard.datasets.datasets import Dataset, Datasets, Purpose
from misheard.datasets.manifest import Row
from misheard.datasets.samples import Sample
from misheard.datasets.split import Split
from misheard.finetune.backends.backend import RunState
from misheard.finetune.families.family import open_family
from misheard.finetune.paths import JobPaths
from misheard.finetune.recipe import Recipe
from misheard.registry import Registry
from tests.conftest import Prompt, Studio
from tests.tiny_whisper import tiny_whisper

QUICK: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 4,
    "learning_rate": 3e-3,
    "joined_share": 0.0,
    "non_speech_share": 0.0,
    "time_share": 0.0,
    "full_window_share": 0.0,
    "frozen_tokens": False,  # where all weights are random there is nothing to keep
    "telephone_share": 0.0,
    "sweep": False,
    "threads": 1,
}
"""A recipe whose defaults do not matter here; each test adds what it is about."""


def quick(**settings: Any) -> Recipe:
    return Recipe(**QUICK | settings)


@dataclass(frozen=True)
class Workshop(Studio):
    """A studio with a model of nothing but random weights, in which a job takes seconds."""

    blobs: DirectoryBlobs
    prompts: list[Prompt]

    def put(self, name: str, rows: Sequence[Row]) -> Dataset:
        return self.datasets.add(name, Purpose.TRAINING, rows)

    def row(self, data: bytes, reference: str, split: Split = Split.TRAIN, **values: Any) -> Row:
        made: dict[str, Any] = {"kind": "error", "speaker_group": "one", "duration_s": 1.0}
        return Row(
            audio_sha256=self.blobs.put_bytes(data),
            reference=reference,
            split=split,
            **made | values,
        )

    def general(self, count: int = 3) -> Dataset:
        """A set of other speech, all of which is for choosing."""
        samples = [Sample(data=p.data, reference=p.reference) for p in self.prompts[-count:]]
        return self.datasets.add_evaluation("general", samples, split=lambda _: Split.VALIDATION)


@pytest.fixture(scope="session")
def tiny_base(bundled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_whisper(tmp_path_factory.mktemp("tiny"), bundled)


@pytest.fixture(scope="session")
def workshop(
    tiny_base: Path, short_prompts: list[Prompt], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workshop]:
    root = tmp_path_factory.mktemp("workshop")
    yield from _workshop(root, tiny_base, short_prompts)


@pytest.fixture
def workshop_in(
    tiny_base: Path, short_prompts: list[Prompt]
) -> Iterator[Callable[[Path], Workshop]]:
    """A workshop of one's own, in a directory of one's own."""
    made: list[Iterator[Workshop]] = []

    def make(root: Path) -> Workshop:
        made.append(_workshop(root, tiny_base, short_prompts))
        return next(made[-1])

    yield make
    for one in made:
        next(one, None)


def _workshop(root: Path, base: Path, prompts: list[Prompt]) -> Iterator[Workshop]:
    engine = open_engine(f"sqlite:///{root / 'misheard.db'}")
    migrate(engine)
    blobs = DirectoryBlobs(root / "blobs")
    datasets, registry = Datasets(engine, blobs), Registry(engine, blobs, root / "models")
    version = registry.register(base, name="tiny", source="random", actor="ann")
    splits = [Split.TRAIN] * 12 + [Split.VALIDATION] * 2
    rows = [
        Row(
            audio_sha256=blobs.put_bytes(prompt.data),
            reference=prompt.reference,
            split=split,
            kind="error",
            speaker_group=prompt.group,
            duration_s=prompt.duration_s,
        )
        for prompt, split in zip(prompts, splits, strict=False)
    ]
    dataset = datasets.add("prompts", Purpose.TRAINING, rows)
    yield Workshop(root, engine, datasets, registry, version, dataset, blobs, prompts)
    engine.dispose()


class Waiting:
    """A place where jobs are taken in and none is ever begun."""

    name = "waiting"

    def start(self, paths: JobPaths) -> None:
        pass

    def state(self, paths: JobPaths) -> RunState:
        return RunState.RUNNING

    def cancel(self, paths: JobPaths) -> None:
        pass


def with_a_perfect_start(workshop: Workshop, job_id: str, recipe: Recipe) -> JobPaths:
    """The files of a job before it begins, whose curve has an epoch that none can better.

    Its weights are those of the base.
    """
    from safetensors.torch import save_model  # noqa: PLC0415 - torch

    jobs = workshop.jobs(Waiting())
    jobs.submit(job_id, workshop.base.id, workshop.dataset, recipe)
    paths = jobs.paths(job_id)
    family = open_family(paths.base, scratch=paths.weights, language="en", recipe=recipe)
    save_model(family.model, str(paths.best))
    rates = {"wer": 0.0, "cer": 0.0, "silent_with_text": 0, "words": 1_000}
    paths.curve.write_text(json.dumps({"0": rates}), encoding="utf-8")
    return paths


def caught(attempt: Callable[[int], JobPaths | None]) -> JobPaths:
    """The files of a job that was caught in time, of some that are told from each other by number.

    A job of so few weights takes seconds, and a busy machine may let it come to its end before this
    process looks: then the attempt gives None, and another one is made.
    """
    for number in range(4):
        paths = attempt(number)
        if paths is not None:
            return paths
    raise AssertionError("it was always done before it could be caught")


def processes_of(paths: JobPaths) -> list[int]:
    """The processes that run a job, torchrun's own first."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # it has just ended
        if str(paths.root.resolve()).encode() in words:
            found.append(int(folder.name))
    return sorted(found)


def wait_until(happens: Callable[[], object], *, timeout_s: float = 600.0) -> None:
    """Look again and again, without a pause worth the name, until something has happened."""
    deadline = time.monotonic() + timeout_s
    while not happens():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.002)
