"""Progress of a job as events: the training program appends them, anybody may read them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
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
    """Mean cross-entropy a token since the last event, natural logarithm (CTC: a clip)."""
    validation_wer: float | None = None
    """Word error rate on the validation split, at the end of an epoch or of a point of the
    sweep."""
    share: float | None = None
    """Of the new weights, for a point of the sweep."""
    left_s: float | None = None
    """Estimated seconds until this phase ends."""


def append_event(path: Path, event: TrainingEvent) -> None:
    """Add one line; a line is written in one call, so that readers never see half of one."""
    values = {name: value for name, value in asdict(event).items() if value is not None}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(values) + "\n")


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
