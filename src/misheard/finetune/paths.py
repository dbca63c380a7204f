"""Every file that a job writes is a property of one class, and nothing else names them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_CHECKPOINT = "checkpoint-"
_COMPLETE = "complete"


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
    def general(self) -> Path:
        """The general set, exported likewise; only where there is one."""
        return self.root / "general"

    @property
    def base(self) -> Path:
        """The model to start from, as it is served."""
        return self.root / "base"

    @property
    def weights(self) -> Path:
        """The model in the format it is trained in; a folder a process."""
        return self.root / "weights"

    @property
    def scratch(self) -> Path:
        """The trainer's own output directory, with its checkpoints."""
        return self.root / "scratch"

    @property
    def best(self) -> Path:
        """Weights of the best epoch so far (safetensors)."""
        return self.root / "best.safetensors"

    @property
    def curve(self) -> Path:
        """What each epoch came to, and which is the best (JSON)."""
        return self.root / "curve.json"

    @property
    def trained(self) -> Path:
        """Figures of the training (JSON); its presence means that nothing more is trained."""
        return self.root / "trained.json"

    @property
    def temporary(self) -> Path:
        """Where the libraries put what is temporary to them; gone when the job is done."""
        return self.root / "temporary"

    @property
    def tried(self) -> Path:
        """An artefact that is tried on the validation split, and thrown away."""
        return self.temporary / "tried"

    @property
    def events(self) -> Path:
        """Progress, one JSON object a line, appended."""
        return self.root / "events.jsonl"

    @property
    def log(self) -> Path:
        """What the training process printed."""
        return self.root / "train.log"

    @property
    def reserve(self) -> Path:
        """Space that is given up when the disk is full, so that the log can still say so."""
        return self.root / "reserve"

    @property
    def process(self) -> Path:
        """Which local process runs the job: its id and start time."""
        return self.root / "process"

    @property
    def lock(self) -> Path:
        """Held by the training program while it runs."""
        return self.root / "lock"

    @property
    def failure(self) -> Path:
        """Why the place to train gave the job up (text); it is not started again by itself."""
        return self.root / "failure"

    @property
    def control(self) -> Path:
        """Held by whoever looks after the machine that was rented for the job."""
        return self.root / "control"

    @property
    def followed(self) -> Path:
        """How much of what a rented machine tells has come home (JSON)."""
        return self.root / "followed.json"

    @property
    def arriving(self) -> Path:
        """Where what a rented machine has made arrives, until it is whole."""
        return self.root / "arriving"

    @property
    def attempt(self) -> Path:
        """On a rented machine: which attempt it is; held by the program while it runs."""
        return self.root / "attempt"

    @property
    def saving(self) -> Path:
        """On a rented machine: links to what is being sent to the bucket."""
        return self.root / "saving"

    @property
    def model(self) -> Path:
        """The finished artefact, ready to serve."""
        return self.root / "model"

    @property
    def result(self) -> Path:
        """Figures of a finished job (JSON), written last: its presence means success."""
        return self.root / "result.json"

    def complete_mark(self, step: int) -> Path:
        """Written last into the checkpoint of a step: its presence means that it is whole."""
        return self.scratch / f"{_CHECKPOINT}{step}" / _COMPLETE

    def checkpoints(self) -> list[int]:
        """Steps of the whole checkpoints, oldest first."""
        found = self.scratch.glob(f"{_CHECKPOINT}*/{_COMPLETE}")
        return sorted(int(path.parent.name.removeprefix(_CHECKPOINT)) for path in found)
