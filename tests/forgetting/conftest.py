"""A workspace in which two people were heard, corrected, trained on, tested with and backed up."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import URL

from misheard import audio
from misheard.audio import Recording
from misheard.capture.inferences import Heard, Inference
from misheard.cases.records import Correction
from misheard.cycle.options import CycleOptions
from misheard.database.engine import writing
from misheard.database.schema import hypotheses
from misheard.datasets.build import HeldOut, build
from misheard.datasets.datasets import Dataset, Purpose
from misheard.datasets.samples import Sample
from misheard.datasets.split import SplitShares
from misheard.gates.suites import SuiteKind
from misheard.rollouts.counting import Shadowed
from misheard.rollouts.signals import Signal
from misheard.settings import FILE_NAME
from misheard.speech.transcriber import Transcript
from misheard.workspace import Workspace
from tests import tiny
from tests.conftest import write_wav
from tests.postgres import Cluster

HEARD = {"anna": "quetzal nebula", "bert": "ordinary chatter"}
SAID = {"anna": "xylophone zeppelin", "bert": "usual things"}
CLIPS = 12


def clip(who: str, number: int) -> bytes:
    """Noise that nobody else has made."""
    seed = {"anna": 1_000, "bert": 2_000, "both": 3_000}[who] + number
    return write_wav(np.random.default_rng(seed).uniform(-0.5, 0.5, 2_400))


def told(who: str, number: int, **fields: Any) -> Heard:
    data = clip(who, number)
    transcript = Transcript(text=f"{HEARD.get(who, who)} {number}", latency_s=0.1, compute_s=0.1)
    known: dict[str, Any] = {
        "speaker": who,
        "session": f"{who} {number % 2}",
        "client_id": f"{who}-client-{number}",
        "source": f"/calls/{who}/{number}.wav",
    }
    return Heard(data=data, audio=audio.decode(data), transcript=transcript, **known | fields)


Copied = Callable[["Office", Path], "Office"]
"""A copy in that directory, with a database of its own."""


@dataclass(frozen=True)
class Office:
    """The workspace, and what is in it of whom."""

    workspace: Workspace
    heard: dict[str, list[Inference]]
    job_id: str
    version_id: str

    @property
    def root(self) -> Path:
        return self.workspace.root

    def files(self) -> Iterator[tuple[Path, bytes]]:
        """All of the workspace."""
        for path in sorted(self.root.rglob("*")):
            if path.is_file() and not path.is_symlink():
                yield path, path.read_bytes()

    def holding(self, *needles: bytes) -> list[str]:
        in_files = [
            f"{path.relative_to(self.root)}: {needle[:24]!r}"
            for path, data in self.files()
            for needle in needles
            if needle in data
        ]
        return in_files + self._in_rows([one.decode() for one in needles if one.isascii()])

    def _in_rows(self, words: list[str]) -> list[str]:
        """The same of a database that is no file of the workspace."""
        if self.workspace._engine.dialect.name == "sqlite":
            return []
        rows = {name: repr(some) for name, some in tiny.rows(self.workspace).items()}
        return [f"{name}: {word}" for name, told in rows.items() for word in words if word in told]

    def of(self, who: str) -> list[bytes]:
        """What tells of somebody wherever it turns up: words, names, sound."""
        words = [HEARD[who], SAID[who], *SAID[who].split(), f"/calls/{who}", f"{who}-client"]
        sound = [clip(who, number)[500:560] for number in range(CLIPS)]
        return [*(word.encode() for word in words), *sound]


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Office:
    """Made once; each test gets a copy."""
    return _furnish(tmp_path_factory.mktemp("furnished"))


@pytest.fixture(scope="session")
def furnished_on_postgres(tmp_path_factory: pytest.TempPathFactory, postgres: Cluster) -> Office:
    """The same on PostgreSQL."""
    url = postgres.new_database(migrated=True)
    database = {"url": url.render_as_string(hide_password=False)}
    return _furnish(tmp_path_factory.mktemp("furnished"), database=database)


def _furnish(folder: Path, **more: dict[str, Any]) -> Office:
    settings: dict[str, Any] = {
        "triggers": tiny.TRIGGERS,
        "datasets": {"train_percent": 60, "validation_percent": 20, "test_percent": 20},
        "capture": {"audit_share": 0.5},
        "validation": {"require_significance": False, "min_wer_improvement": -1000.0},
        "regression": {"max_wer_degradation": 1000.0},
        "deployment": {"check_files": False},
        "scoring": {"replicates": 100},
        **more,
    }
    workspace = tiny.make(folder / "ws", **settings)
    workspace.functions.baseline = _listen
    workspace.functions.of_model = lambda _: lambda path: _listen(path, tuned=True)
    live = workspace.deployments.live().version_id
    heard = {
        who: workspace.inferences.record(live, [told(who, n) for n in range(CLIPS)])
        for who in HEARD
    }
    workspace.digest.catch_up()
    for who, items in heard.items():
        workspace.cases.correct(
            [
                Correction(inference_id=one.id, reference=f"{SAID[who]} {n}", author="carl")
                for n, one in enumerate(items[:10])
            ]
        )
        workspace.cases.open(items[10].id, ["noise"], details={"note": f"{SAID[who]} maybe"})
        workspace.report_case(
            Recording(data=clip(who, 11), name=f"/calls/{who}/11.wav"),
            hypothesis=f"{HEARD[who]} reported",
            reference=f"{SAID[who]} 11",
            actor="carl",
        )
    dataset = _corrections(workspace)
    _judge(workspace, folder)
    with writing(workspace._engine) as connection:
        for who, words in HEARD.items():
            row = {
                "version_id": live,
                "audio_sha256": heard[who][0].audio_sha256,
                "decoding": "test",
                "text": words,
                "compute_s": 0.1,
            }
            connection.execute(hypotheses.insert().values(**row))
    job_id = "job-1"
    workspace.datasets.export(dataset, workspace.jobs.paths(job_id).data)
    trained = workspace.registry.register(
        tiny.model(folder / "trained", tuned=True),
        name="tuned",
        source=job_id,
        actor="carl",
        parent_id=live,
        dataset_id=dataset.id,
        figures={"refused": [{"audio": heard["anna"][0].audio_sha256, "reason": SAID["anna"]}]},
    )
    _shadow(workspace, trained.id, heard)
    for who, words in HEARD.items():
        workspace.observations.record_inference(
            f"/calls/{who}/0.wav", inference_time_s=0.1, details={"text": words}
        )
    return Office(workspace=workspace, heard=heard, job_id=job_id, version_id=trained.id)


def _shadow(workspace: Workspace, version_id: str, heard: dict[str, list[Inference]]) -> None:
    """What another version heard beside the live one, and is still hearing."""
    rollout = workspace.begin_shadow(version_id, actor="carl", reason="to see")
    workspace.rollouts.note_shadows(
        [
            Shadowed(
                rollout_id=rollout.id,
                session=one.session,
                inference_id=one.id,
                live_text=one.text,
                live_wrong=frozenset(),
                candidate=Transcript(text=f"{SAID[who]} {one.text}", latency_s=0.1, compute_s=0.1),
                candidate_wrong=frozenset({Signal.SUSPICIOUS}),
            )
            for who, some in heard.items()
            for one in some
        ]
    )


def _listen(path: str, *, tuned: bool = False) -> str:
    """What the two models make of a clip: its owner's words, more or less of them."""
    data = Path(path).read_bytes()
    for who, words in HEARD.items():
        for number in range(CLIPS):
            if data == clip(who, number):
                return f"{SAID[who] if tuned else words} {number}"
    return "press pound"


def _corrections(workspace: Workspace) -> Dataset:
    """What people said, as a cycle would learn it, and a suite keep it for good."""
    built = build(
        workspace.cases.labelled(),
        shares=SplitShares(train_percent=50, validation_percent=20, test_percent=30),
        replay_per_error=1.0,
        held_out=HeldOut(audio=frozenset(), sentences=frozenset()),
        normalize=workspace.normalizer,
    )
    made = workspace.datasets.add("corrections", Purpose.TRAINING, built.rows)
    workspace.suites.keep_corrections(made)
    return made


def _judge(workspace: Workspace, folder: Path) -> None:
    """An evaluation set, suites, a cycle with its gates: all that hears and writes down."""
    samples = [
        Sample(
            data=clip(who, n),
            reference=f"{SAID[who]} held {n}",
            speaker_group=who,
            tags={"must_pass": "true"},
        )
        for who in HEARD
        for n in (8, 9, 10)
    ]
    held = workspace.evaluation_set("held-out", samples)
    workspace.suites.add("words", SuiteKind.BENCHMARK, held)
    options = CycleOptions(model_directory=str(tiny.model(folder / "candidate", tuned=True)))
    cycle = workspace.cycles.begin(actor="carl", force=True, approved=True, options=options)
    assert cycle is not None
    workspace.cycles.run(cycle.id)
    workspace.validations.run(
        workspace.contender(workspace.deployments.live().version_id),
        workspace.contender(workspace.deployments.live().version_id),
        held,
    )
    live = workspace.contender(workspace.deployments.live().version_id)
    workspace.suites.run_all(live, live)


@pytest.fixture
def copied(database: str, request: pytest.FixtureRequest) -> Iterator[Copied]:
    made: list[URL] = []

    def copy(office: Office, target: Path) -> Office:
        for engine in (office.workspace._engine, office.workspace._log_engine):
            engine.dispose()
        shutil.copytree(office.root, target, symlinks=True)
        if database == "postgresql":
            server: Cluster = request.getfixturevalue("postgres")
            made.append(server.new_database(like=office.workspace._engine.url))
            file, url = target / FILE_NAME, made[-1].render_as_string(hide_password=False)
            text = file.read_text(encoding="utf-8")
            assert office.workspace.settings.database.url in text
            text = text.replace(office.workspace.settings.database.url, url)
            file.write_text(text, encoding="utf-8")
        return replace(office, workspace=Workspace.open(target))

    yield copy
    for url in made:
        request.getfixturevalue("postgres").drop(url)


@pytest.fixture
def office(database: str, request: pytest.FixtureRequest, copied: Copied, tmp_path: Path) -> Office:
    name = "furnished" if database == "sqlite" else "furnished_on_postgres"
    return copied(request.getfixturevalue(name), tmp_path / "ws")


@pytest.fixture
def say() -> Callable[..., Heard]:
    return told
