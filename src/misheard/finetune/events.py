"""Progress of a job as events: the training program appends them, anybody may read them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class TrainingEvent:
    """How far a training has come."""

    at_s: float
    """Seconds since the program started; anew when it was started again."""
    phase: str
    """prepare, train, sweep, check or done."""
    step: int = 0
    """Of `steps` in this phase."""
    steps: int = 0
    epoch: float = 0.0
    loss: float | None = None
    """Mean cross-entropy a token since the last event, natural logarithm."""
    validation_wer: float | None = None
    """Word error rate on the validation split, at the end of an epoch or of a point of the
    sweep."""
    share: float | None = None
    """Of the new weights, for a point of the sweep."""
    left_s: float | None = None
    """Estimated seconds until this phase ends."""


def append_event(path: Path, event: TrainingEvent) -> None:
    """Add one line; a line is written in one call, so that readers never see half of one."""
    values = {name: value for name, value in asdict(event).items() if _is_told(value)}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(values) + "\n")


def _is_told(value: object) -> bool:
    """NaN and infinity are no JSON, and other readers would stop at them."""
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def course(events: Iterable[TrainingEvent]) -> list[TrainingEvent]:
    """What the training itself reported, each step once: a restart goes over some again."""
    made: dict[tuple[int, bool], TrainingEvent] = {}
    reached = 0
    for event in events:
        if event.phase != "train":
            continue
        if event.step < reached:
            made = {key: value for key, value in made.items() if key[0] <= event.step}
        reached = event.step
        made[event.step, event.loss is None] = event
    return list(made.values())


def last_event_at(path: Path) -> datetime | None:
    """When the last event was appended; None where there is none yet."""
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except FileNotFoundError:
        return None


def read_events(path: Path) -> Iterator[TrainingEvent]:
    """All events so far; a line cut short by a kill is left out."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n"):
            try:
                values = json.loads(line)
            except ValueError:
                continue  # the start of a line that a kill cut short, and the next after it
            yield TrainingEvent(**values)
