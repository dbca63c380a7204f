"""A whole workspace around a model that nobody has to load: functions listen in its place.

A tone of 0.1 s and n hundredths says "press n now". The first model hears that wrong where n is a
multiple of three; a model with the file `tuned.txt` hears everything right.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select

from misheard import audio
from misheard.capture.inferences import Heard, Inference
from misheard.cases.records import Correction
from misheard.cycle.options import CycleOptions
from misheard.cycle.states import Cycle
from misheard.database.schema import metadata
from misheard.datasets.datasets import Dataset
from misheard.datasets.samples import Sample
from misheard.speech.transcriber import Transcript
from misheard.workspace import Workspace
from tests.conftest import make_wav

RATES_OFF = {"trigger_on_error_rate": False}
# Functions take microseconds, and which of two is slower is chance.
UNTIMED = {"max_slowdown": 1e9, "max_real_time_factor": 1e9}
TRIGGERS = {"min_error_cases": 2, "min_corrected_cases": 2, **RATES_OFF}


def model(folder: Path, *, tuned: bool = False) -> Path:
    """A directory that looks like a model."""
    folder.mkdir(parents=True)
    for name in ("model.bin", "tokenizer.json", "config.json"):
        (folder / name).write_text(f"{folder.name} {name}", encoding="utf-8")
    if tuned:
        (folder / "tuned.txt").write_text("tuned", encoding="utf-8")
    return folder


def tone(number: int) -> bytes:
    return make_wav(seconds=0.1 + number / 100, hertz=300)


def said(number: int) -> str:
    return f"press {number} now"


def listen(path: str, *, tuned: bool) -> str:
    number = round(len(audio.read(path).samples) / 160) - 10
    return said(number) if tuned or number % 3 else "press pound"


def make(folder: Path, **settings: dict[str, Any]) -> Workspace:
    """A new workspace whose gates listen through functions."""
    first = model(folder.parent / f"{folder.name}-first")
    settings = {**settings, "validation": UNTIMED | settings.get("validation", {})}
    workspace = Workspace.create(folder, model=str(first), settings=settings, actor="ann")
    return with_functions(workspace)


def with_functions(workspace: Workspace) -> Workspace:
    workspace.functions.baseline = lambda path: listen(path, tuned=False)
    workspace.functions.of_model = lambda directory: (
        lambda path: listen(path, tuned=(Path(directory) / "tuned.txt").exists())
    )
    return workspace


def hold_out(workspace: Workspace, name: str = "held-out", count: int = 20) -> Dataset:
    samples = [Sample(data=tone(number), reference=said(number)) for number in range(count)]
    return workspace.evaluation_set(name, samples)


def heard(workspace: Workspace, count: int, *, first: int = 30) -> list[Inference]:
    """Traffic of the live version."""
    made = []
    for number in range(first, first + count):
        data = tone(number)
        transcript = Transcript(text="press pound", latency_s=0.1, compute_s=0.1)
        made.append(Heard(data=data, audio=audio.decode(data), transcript=transcript))
    return workspace.inferences.record(workspace.deployments.live().version_id, made)


def correct(workspace: Workspace, inferences: list[Inference], words: str = "please hold") -> None:
    """Each was something else; a different sentence for each recording."""
    workspace.cases.correct(
        [
            Correction(inference_id=one.id, reference=f"{words} {number}", author="ann")
            for number, one in enumerate(inferences)
        ]
    )


def begin_with_model(workspace: Workspace, folder: Path, **options: Any) -> Cycle:
    """A cycle that judges a tuned model which came from elsewhere."""
    chosen = CycleOptions(model_directory=str(model(folder, tuned=True)), **options)
    cycle = workspace.cycles.begin(actor="ann", force=True, approved=True, options=chosen)
    assert cycle is not None
    return cycle


def everything(engine: Engine) -> dict[str, list[Any]]:
    """Every row of the database, to see that nothing has changed; leases come and go."""
    with engine.connect() as connection:
        return {
            table.name: sorted(
                connection.execute(select(*(c for c in table.c if c.name not in _LEASE))).all(),
                key=repr,
            )
            for table in metadata.sorted_tables
        }


_LEASE = {"lease_owner", "lease_until", "fence"}


def rows(workspace: Workspace) -> dict[str, list[Any]]:
    """Every row of a workspace."""
    return everything(workspace._engine)
