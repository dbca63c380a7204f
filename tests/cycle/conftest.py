"""A whole loop without a speech model: the states are under test here, not the learning."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select, update

from misheard import audio
from misheard.blobs.directory import DirectoryBlobs
from misheard.capture.inferences import Heard, InferenceLog
from misheard.cases.cases import Cases
from misheard.cases.records import Correction
from misheard.cycle.cycles import Cycles
from misheard.cycle.stages import CycleRules, Stages
from misheard.database.engine import migrate, open_engine, writing
from misheard.database.schema import deployments as deployment_table
from misheard.datasets.datasets import Datasets
from misheard.datasets.samples import Sample
from misheard.datasets.split import SplitShares
from misheard.deployment import Deployments
from misheard.finetune.backends.backend import RunState
from misheard.finetune.jobs import Jobs
from misheard.finetune.paths import JobPaths
from misheard.finetune.recipe import Recipe
from misheard.gates.hypotheses import Hypotheses
from misheard.gates.judging import ValidationRules
from misheard.gates.regression import RegressionSuites
from misheard.gates.suites import RegressionRules
from misheard.gates.validation import Validations
from misheard.monitoring.observations import Observations
from misheard.registry import Registry
from misheard.scoring.normalize import normalizer
from misheard.settings import RegressionSettings, TriggerSettings, ValidationSettings
from misheard.speech.decoding import DecodingOptions
from misheard.speech.transcriber import FunctionTranscriber, Transcript
from tests.conftest import make_wav
from tests.tiny import UNTIMED

NORMALIZER = "whisper-english"


@dataclass
class CopyingBackend:
    """A place to "train" that copies the base model and signs it, or fails when told to."""

    name: str = "copying"
    fails: bool = False
    starts: list[Path] = field(default_factory=list)

    def start(self, paths: JobPaths) -> None:
        if self.state(paths) is RunState.SUCCEEDED:
            return
        self.starts.append(paths.root)
        if self.fails:
            paths.log.write_text(
                "Traceback (most recent call last):\nValueError: out of luck\n", encoding="utf-8"
            )
            return
        shutil.copytree(paths.base, paths.model, dirs_exist_ok=True)
        paths.model.chmod(0o755)
        (paths.model / "tuned.txt").write_text("tuned", encoding="utf-8")
        paths.result.write_text(json.dumps({"training_loss": 0.5}), encoding="utf-8")

    def state(self, paths: JobPaths) -> RunState:
        return RunState.SUCCEEDED if paths.result.exists() else RunState.STOPPED

    def cancel(self, paths: JobPaths) -> None:
        pass


@dataclass
class Loop:
    """Every room that a cycle needs, over one database."""

    engine: Engine
    blobs: DirectoryBlobs
    inferences: InferenceLog
    cases: Cases
    datasets: Datasets
    registry: Registry
    backend: CopyingBackend
    jobs: Jobs
    validations: Validations
    suites: RegressionSuites
    deployments: Deployments
    cycles: Cycles
    held_out_id: str | None
    base_id: str
    observations: Observations


def _tone_of(number: int, make: Callable[..., bytes]) -> bytes:
    """A tone whose length tells its number."""
    return make(seconds=0.1 + number / 100, hertz=300)


def make_loop(
    root: Path,
    tone: Callable[..., bytes],
    *,
    url: str = "",
    require_approval: bool = True,
    require_training_approval: bool = False,
    min_error_cases: int = 3,
    corrected: int = 6,
    tuned_hears_all: bool = True,
    held_out: bool = True,
    corrections: str = "please press {} again",
    hooks: dict[str, Any] | None = None,
    **rules: Any,
) -> Loop:
    engine = open_engine(url or f"sqlite:///{root / 'misheard.db'}")
    migrate(engine)
    blobs = DirectoryBlobs(root / "blobs")
    datasets, registry = Datasets(engine, blobs), Registry(engine, blobs, root / "models")
    cases, log = Cases(engine, normalizer=normalizer(NORMALIZER)), InferenceLog(engine, blobs)
    deployments, backend = Deployments(engine), CopyingBackend()
    source = root / "base"
    source.mkdir()
    (source / "model.bin").write_text("base", encoding="utf-8")
    base = registry.register(source, name="tiny", source="x", actor="ann")
    deployments.deploy(base.id, actor="ann", reason="the first model")

    def listener(version_id: str) -> FunctionTranscriber:
        tuned = (registry.directory(version_id) / "tuned.txt").exists()

        def listen(samples: object) -> str:
            number = round(len(samples) / 160) - 10  # type: ignore[arg-type]
            right = (tuned and tuned_hears_all) or number % 3
            return f"press {number} now" if right else "press pound"

        return FunctionTranscriber(listen, name=version_id)

    hypotheses = Hypotheses(engine, blobs, listener, decoding="test")
    validations = Validations(
        engine,
        datasets,
        hypotheses,
        blobs=blobs,
        rules=ValidationRules(**ValidationSettings(**UNTIMED).model_dump()),
        normalizer=normalizer(NORMALIZER),
        replicates=100,
    )
    suites = RegressionSuites(
        engine,
        datasets,
        validations,
        rules=RegressionRules(
            **RegressionSettings(
                max_wer_degradation=0.0,
                max_critical_wer_degradation=0.0,
                max_edge_case_wer_degradation=0.0,
            ).model_dump()
        ),
    )
    jobs = Jobs(
        engine,
        datasets,
        registry,
        backend,
        root / "jobs",
        normalizer=normalizer(NORMALIZER),
        decoding=DecodingOptions(),
    )
    samples = [
        Sample(data=_tone_of(number, tone), reference=f"press {number} now") for number in range(20)
    ]
    held_out_id = datasets.add_evaluation("held-out", samples).id if held_out else None
    stages = Stages(
        cases=cases,
        datasets=datasets,
        jobs=jobs,
        registry=registry,
        validations=validations,
        suites=suites,
        deployments=deployments,
        observations=Observations(engine),
        rules=replace(
            CycleRules(
                triggers=TriggerSettings(
                    min_error_cases=min_error_cases,
                    min_corrected_cases=1,
                    trigger_on_error_rate=False,
                    require_approval=require_training_approval,
                ),
                shares=SplitShares(train_percent=100, validation_percent=0, test_percent=0),
                replay_per_error=1.0,
                recipe=Recipe(epochs=1),
                require_approval=require_approval,
                normalizer=normalizer(NORMALIZER),
            ),
            **rules,
        ),
        **(hooks or {}),
    )
    loop = Loop(
        engine=engine,
        blobs=blobs,
        inferences=log,
        cases=cases,
        datasets=datasets,
        registry=registry,
        backend=backend,
        jobs=jobs,
        validations=validations,
        suites=suites,
        deployments=deployments,
        cycles=Cycles(
            engine, observations=Observations(engine), deployments=deployments, stages=stages
        ),
        held_out_id=held_out_id,
        observations=Observations(engine),
        base_id=base.id,
    )
    for number in range(30, 30 + corrected):
        data = _tone_of(number, tone)
        clip = audio.decode(data)
        (transcript,) = listener(base.id).transcribe([clip])
        (made,) = log.record(base.id, [Heard(data=data, audio=clip, transcript=transcript)])
        word = Correction(inference_id=made.id, reference=corrections.format(number), author="ann")
        cases.correct([word])
    return loop


def hours_pass(engine: Engine, hours: float) -> None:
    """What a clock does to deployments."""
    back = timedelta(hours=hours)
    with writing(engine) as connection:
        rows = connection.execute(select(deployment_table.c.number, deployment_table.c.created_at))
        for number, created_at in rows.all():
            row = deployment_table.c.number == number
            moved = {"created_at": created_at - back}
            connection.execute(update(deployment_table).where(row).values(**moved))


def traffic(loop: Loop, count: int, *, first: int = 90) -> list[str]:
    """The ids of new transcripts that nobody has looked at."""
    made = []
    for number in range(first, first + count):
        data = _tone_of(number, make_wav)
        transcript = Transcript(text="press pound", latency_s=0.1, compute_s=0.1)
        heard = Heard(data=data, audio=audio.decode(data), transcript=transcript)
        made += [one.id for one in loop.inferences.record(loop.base_id, [heard])]
    return made


@pytest.fixture
def loop_of(tmp_path: Path, tone: Callable[..., bytes], database_url: str) -> Callable[..., Loop]:
    return lambda **options: make_loop(tmp_path, tone, url=database_url, **options)


@pytest.fixture
def loop(loop_of: Callable[..., Loop]) -> Loop:
    return loop_of()


@pytest.fixture
def rival(loop: Loop) -> Cycles:
    """The cycles as another process has them."""
    return Cycles(
        loop.engine,
        observations=Observations(loop.engine),
        deployments=loop.deployments,
        stages=loop.cycles._stages,
    )
