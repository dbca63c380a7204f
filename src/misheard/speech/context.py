"""How much of its 30-s window a Whisper encoder is given for one clip.

Whisper pads every clip to 1500 encoder positions (30 s), so a 2-s clip costs as much as a long one.
A model that was fine-tuned on shorter windows may decode on them, several times faster
(FUTO's whisper-acft; `audio_ctx` in whisper.cpp). A model that was not hallucinates on them. So a
model carries what it learnt in its card, and everything without a card gets the full window.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

from misheard.errors import ModelCorruptError

POSITIONS_PER_S = 50
"""Encoder positions in a second: 16 kHz / hop of 160 / stride of 2."""
FULL_POSITIONS = 1500
"""The window of 30 s that Whisper is trained with."""
SAMPLES_PER_POSITION = 320
CARD_NAME = "misheard.json"


@dataclass(frozen=True, kw_only=True)
class Context:
    """The window that a model has learnt: a clip, a margin of silence, rounded up."""

    margin_s: float
    """Silence after the clip, in seconds."""
    round_to: int
    """Windows are a multiple of so many positions; clips of like length share a batch."""

    def __post_init__(self) -> None:
        if not (self.margin_s >= 0 and self.round_to >= 1):
            raise ValueError(f"no window can have {self}")

    def positions(self, duration_s: float) -> int:
        """Encoder positions for a clip of `duration_s` seconds, at most 1500.

        >>> Context(margin_s=1.0, round_to=64).positions(2.0)
        192
        """
        wanted = math.ceil((duration_s + self.margin_s) * POSITIONS_PER_S)
        return min(FULL_POSITIONS, math.ceil(wanted / self.round_to) * self.round_to)


FULL_CONTEXT = Context(margin_s=30.0, round_to=FULL_POSITIONS)
"""What every model gets that says nothing else: always 30 s."""


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What a model directory says of itself, in its `misheard.json`."""

    base: str
    """The name of the model that it was trained from."""
    dataset_id: str
    recipe_id: str
    context: Context | None
    """None for a kind of model that takes audio as long as it is."""
    checked: dict[str, float] = field(default_factory=dict)
    """Word error rates on the validation split at the end of its training: `right_sized`, the
    same clips at `full_window`, and joined to recordings of over 30 s, `long`."""

    def write(self, directory: Path) -> None:
        """Store the card beside the weights."""
        text = json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"
        (directory / CARD_NAME).write_text(text, encoding="utf-8")


def read_card(directory: Path) -> ModelCard | None:
    """The card of the model in `directory`; None where it has none."""
    path = directory / CARD_NAME
    if not path.exists():
        return None
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        learnt = fields["context"]
        return ModelCard(**fields | {"context": Context(**learnt) if learnt else None})
    except (ValueError, TypeError, KeyError) as error:
        raise ModelCorruptError(f"'{path}' is no model card ({error}).") from error
