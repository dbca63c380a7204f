"""Every file that a job writes is a property of one class, and nothing else names them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class JobPaths:
    """The files of one job; the training program writes nowhere else."""

    root: Path

    @property
    def order(self) -> Path:
        """What to do (JSON). Its presence means that the inputs are complete."""
        return self.root / "order.json"

    @property
    def data(self) -> Path:
        """The exported dataset: a .jsonl a split, and the audio."""
        return self.root / "data"

    @property
    def base(self) -> Path:
        """The model to start from, as it is served."""
        return self.root / "base"

    @property
    def weights(self) -> Path:
        """The model in Transformers' format: first the base, at the end the tuned one."""
        return self.root / "weights"

    @property
    def scratch(self) -> Path:
        """The trainer's own output directory."""
        return self.root / "scratch"

    @property
    def events(self) -> Path:
        """Progress, one JSON object a line, appended."""
        return self.root / "events.jsonl"

    @property
    def log(self) -> Path:
        """What the training process printed."""
        return self.root / "train.log"

    @property
    def process(self) -> Path:
        """Which local process runs the job: its id and start time."""
        return self.root / "process"

    @property
    def lock(self) -> Path:
        """Held by the training program while it runs."""
        return self.root / "lock"

    @property
    def model(self) -> Path:
        """The finished artefact, ready to serve."""
        return self.root / "model"

    @property
    def result(self) -> Path:
        """Figures of a finished job (JSON), written last: its presence means success."""
        return self.root / "result.json"
