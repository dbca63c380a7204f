"""The gates over real rows, with transcribers that are plain functions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from misheard.blobs.directory import DirectoryBlobs
from misheard.datasets.datasets import Dataset, Datasets
from misheard.datasets.samples import Sample
from misheard.gates.hypotheses import Hypotheses
from misheard.gates.judging import ValidationRules
from misheard.gates.regression import RegressionSuites
from misheard.gates.suites import RegressionRules
from misheard.gates.validation import Validations
from misheard.registry import ModelVersion
from misheard.scoring.normalize import normalizer
from misheard.settings import RegressionSettings, ValidationSettings
from misheard.speech.transcriber import FunctionTranscriber

RULES = ValidationRules(**ValidationSettings().model_dump())
REGRESSION_RULES = RegressionRules(
    **RegressionSettings(
        max_wer_degradation=0.05,
        max_critical_wer_degradation=0.0,
        max_edge_case_wer_degradation=0.05,
    ).model_dump()
)
TEXTS = [f"press {number} now" for number in range(12)]


class Ear:
    """Hears the number of a tone; the one with bad ears hears every other one wrong."""

    def __init__(self, bad_versions: set[str]) -> None:
        self.bad_versions = bad_versions
        self.calls = 0

    def of(self, version_id: str) -> FunctionTranscriber:
        def listen(samples: object) -> str:
            self.calls += 1
            number = round(len(samples) / 160) - 10  # type: ignore[arg-type]
            wrong = version_id in self.bad_versions and number % 2 == 0
            return "press pound" if wrong else f"Press {number}, now."

        return FunctionTranscriber(listen, name=version_id)


@pytest.fixture
def versions(register: Callable[..., ModelVersion]) -> tuple[str, str]:
    return register("old").id, register("new").id


@pytest.fixture
def ear(versions: tuple[str, str]) -> Ear:
    return Ear({versions[0]})


@pytest.fixture
def hypotheses(engine: Engine, blobs: DirectoryBlobs, ear: Ear) -> Hypotheses:
    return Hypotheses(engine, blobs, ear.of, decoding="test")


@pytest.fixture
def validations(
    engine: Engine, blobs: DirectoryBlobs, datasets: Datasets, hypotheses: Hypotheses
) -> Validations:
    return Validations(
        engine,
        datasets,
        hypotheses,
        blobs=blobs,
        rules=RULES,
        normalizer=normalizer("whisper-english"),
        replicates=200,
    )


@pytest.fixture
def suites(engine: Engine, datasets: Datasets, validations: Validations) -> RegressionSuites:
    return RegressionSuites(engine, datasets, validations, rules=REGRESSION_RULES)


@pytest.fixture
def held_out(datasets: Datasets, tone: Callable[..., bytes]) -> Dataset:
    """Tones whose length tells their number."""
    samples = [
        Sample(data=tone(seconds=0.1 + number / 100, hertz=300), reference=text)
        for number, text in enumerate(TEXTS)
    ]
    return datasets.add_evaluation("held-out", samples)
