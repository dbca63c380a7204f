"""A workspace a test, clips that a function can tell apart, and models that are any folder.

Each clip is a tone of its own. The transcribe functions here are a user's: they measure the tone of
whatever they are given and look its words up, so any outcome can be made without a speech model.
"""

from __future__ import annotations

import gc
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from misheard.datasets.samples import parse_samples
from misheard.workspace import Workspace
from src.data.data_manager import DataManager
from src.data.finetuning_coordinator import FinetuningCoordinator
from src.data.finetuning_orchestrator import FinetuningConfig
from src.data.model_validator import ValidationConfig
from src.data.regression_tester import RegressionConfig
from tests.conftest import make_wav

Hear = Callable[[Any], Any]

_FIRST = ("stay", "hold", "press", "dial", "call", "wait", "speak", "listen", "repeat", "leave")
_THEN = ("now", "here", "please", "again", "later", "today", "gently", "twice", "outside", "there")

EASY = FinetuningConfig(min_error_cases=1, min_corrected_cases=1, auto_approve_finetuning=True)
"""One corrected case is enough, and nobody is asked."""
LENIENT = ValidationConfig(
    require_significance=False, max_wer_degradation_rate=1.0, require_no_major_degradation=False
)
"""Any improvement will do."""
LOOSE = RegressionConfig(fail_on_critical_degradation=False, max_failed_samples_rate=1.0)
"""Only the limits given with a test count."""


def sentence(number: int) -> str:
    """Two words; a hundred of them, all different."""
    return f"{_FIRST[number // 10]} {_THEN[number % 10]}"


def tone_of(source: Any) -> int:
    """The number of the clip that this is a recording of, by its pitch."""
    samples = source if isinstance(source, np.ndarray) else soundfile.read(source)[0]
    hertz = np.abs(np.fft.rfft(samples)).argmax() * 16_000 / len(samples)
    return round((hertz - 300) / 20)


def hears(wrong: Mapping[int, Any] | None = None) -> Hear:
    """A transcribe function that is right but for the clips in `wrong`, by number.

    What is callable there is called, so that it may raise.
    """

    def transcribe(source: Any) -> Any:
        number = tone_of(source)
        told = (wrong or {}).get(number, sentence(number))
        return told() if callable(told) else told

    return transcribe


def misses(numbers: Iterable[int]) -> Hear:
    """Right but for the last word of these clips."""
    return hears({number: sentence(number).split()[0] for number in numbers})


def rows(root: Path, query: str) -> list[tuple[Any, ...]]:
    """What is in the database, past everything of ours."""
    with closing(sqlite3.connect(root / "misheard.db")) as connection, connection:
        return connection.execute(query).fetchall()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like a model; nobody listens with it here."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    folder.mkdir()
    for name in ("model.bin", "tokenizer.json", "config.json"):
        (folder / name).write_text(name, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def _template(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("template") / "data"
    settings = {"scoring": {"replicates": 100}, "backend": "inprocess"}
    Workspace.create(root, model=str(tiny), settings=settings)
    # Its connections are closed with it, and SQLite's files beside the database go: not while the
    # directory is being copied.
    gc.collect()
    return root


@pytest.fixture
def root(_template: Path, tmp_path: Path) -> Path:
    """A workspace with one model live, which nobody can listen with."""
    return Path(shutil.copytree(_template, tmp_path / "data"))


@pytest.fixture
def data(root: Path) -> DataManager:
    return DataManager(root, use_gcs=False)


@pytest.fixture
def coordinate(
    root: Path, samples: Callable[..., list[dict[str, Any]]]
) -> Callable[..., FinetuningCoordinator]:
    """A coordinator whose baseline misses the last word of clips 50 to 54, and whose models none.

    Clips 50 to 59 are held out.
    """

    def make(**configs: Any) -> FinetuningCoordinator:
        chosen = {"finetuning_config": EASY, "validation_config": LENIENT} | configs
        made = FinetuningCoordinator(storage_dir=root, use_gcs=False, **chosen)
        made.workspace.evaluation_set("held-out", parse_samples(samples(range(50, 60))))
        made.set_baseline_transcribe_function(misses(range(50, 55)))
        made.set_model_transcribe_function_factory(lambda _: hears())
        return made

    return make


@pytest.fixture
def clip(tmp_path: Path) -> Callable[[int], str]:
    """The path of a clip, a second long, by its number."""

    def make(number: int) -> str:
        path = tmp_path / "clips" / f"{number}.wav"
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            path.write_bytes(make_wav(seconds=1.0, hertz=300 + 20 * number))
        return str(path)

    return make


@pytest.fixture
def samples(clip: Callable[[int], str]) -> Callable[..., list[dict[str, Any]]]:
    """An evaluation set: clips with their words."""

    def make(numbers: Iterable[int] = range(10), **more: Any) -> list[dict[str, Any]]:
        return [{"audio_path": clip(n), "text": sentence(n), **more} for n in numbers]

    return make


@pytest.fixture
def fill(data: DataManager, clip: Callable[[int], str]) -> Callable[..., list[str]]:
    """Store failed cases, one a clip, corrected unless said otherwise; their ids."""

    def make(numbers: Iterable[int], *, corrected: bool = True, **more: Any) -> list[str]:
        return [
            data.store_failed_case(
                clip(number),
                more.get("original_transcript", sentence(number).split()[0]),
                sentence(number) if corrected else None,
                **{key: value for key, value in more.items() if key != "original_transcript"},
            )
            for number in numbers
        ]

    return make


@pytest.fixture
def model(tmp_path: Path) -> Callable[[str], Path]:
    """A folder with a trained model of a kind that only its owner can load."""

    def make(content: str) -> Path:
        folder = tmp_path / "my models" / content
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "weights.pt").write_text(content, encoding="utf-8")
        return folder

    return make


@pytest.fixture
def everything(root: Path) -> Callable[[], dict[str, list[tuple[Any, ...]]]]:
    """Every row of the tables that hold what people said, to compare before and after."""

    def read() -> dict[str, list[tuple[Any, ...]]]:
        tables = ("inferences", "error_cases", "case_types", "corrections")
        return {name: rows(root, f"SELECT * FROM {name} ORDER BY rowid") for name in tables}

    return read
