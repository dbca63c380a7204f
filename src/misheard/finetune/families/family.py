"""The contract of a kind of model that can be fine-tuned.

A kind that Transformers runs as it is has its one file in `speech/families/`, for serving and
training alike (`TransformersFamily`). One that is trained in another format than it is served in,
as Whisper is, has a class that keeps this contract beside this file, and its line in `_FAMILIES`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from misheard.errors import UnsupportedModelError
from misheard.speech.context import Context
from misheard.speech.families.known import MODEL_TYPES, model_type

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from misheard.finetune.recipe import Recipe

_FAMILIES = {
    "whisper": "misheard.finetune.families.whisper:WhisperFamily",
    **dict.fromkeys(MODEL_TYPES, "misheard.finetune.families.transformers:TransformersFamily"),
}
"""`model_type` of the model's `config.json` → the class that trains such models."""

IGNORED_LABEL = -100
"""What PyTorch's losses, and so every model of Transformers, leave out."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One clip with its text as a model takes it."""

    features: NDArray[np.float32]
    """Shape (…, frames): a log-mel spectrogram (bins, frames), or samples (n,)."""
    labels: list[int]
    """Token ids; for a clip without speech, those of an empty text."""


class Family(Protocol):
    """One loaded model, and what a training has to know of its kind.

    `model` is trained in place, on whatever device the trainer moves it to.
    """

    model: Any
    """A Transformers `PreTrainedModel` in float32 whose forward pass takes what `collate` gives
    and returns an output with `loss`."""
    context: Context | None
    """The window that a training teaches; None where a model takes audio as long as it is."""
    learns_times: bool
    """Whether `labels` knows what to do with `times`."""
    adapter_targets: Sequence[str]
    """Names of the linear layers that LoRA adapts, as peft matches them."""

    def encoder_layers(self) -> Sequence[Any]:
        """The encoder's modules from the input up, for freezing: its front end, then each layer."""
        ...

    def labels(self, text: str, *, times: tuple[float, float] | None = None) -> list[int]:
        """Token ids of `text` with the family's special tokens; "" when nobody speaks.

        `times` are the seconds at which speech begins and ends, for families that learn them.
        Raises `UnspeakableTextError` where the vocabulary cannot spell it, or the decoder not hold
        it.
        """
        ...

    def features(
        self, samples: NDArray[np.float32], *, full_window: bool = False
    ) -> NDArray[np.float32]:
        """What the model hears of `samples` (16 kHz, mono, shape (n,)).

        In the right-sized window, or in the longest there is; a family without a window ignores
        that.
        """
        ...

    def parts(self, examples: Sequence[Example]) -> Sequence[Sequence[Example]]:
        """The examples of a batch in parts that are computed one after the other.

        Their gradients are added up. What one pass takes is bounded by `recipe.seconds_at_once`.
        A family whose examples do not pad each other has one part.
        """
        ...

    def collate(self, examples: Sequence[Example]) -> dict[str, Any]:
        """The tensors of one part, padded to its longest clip and its longest text."""
        ...

    def window(self, model: Any, inputs: dict[str, Any]) -> AbstractContextManager[None]:
        """Lets `model` take the window of this part while the block runs."""
        ...

    def export(self, model: Any, target: Path) -> None:
        """Write what `open_transcriber` serves to `target`, which must not exist; all or nothing.

        `model` has the layers of `self.model` (LoRA merged), on the CPU.
        """
        ...


def padded_labels(examples: Sequence[Example]) -> list[list[int]]:
    """The labels of a batch, each as long as the longest."""
    longest = max(len(example.labels) for example in examples)
    return [
        example.labels + [IGNORED_LABEL] * (longest - len(example.labels)) for example in examples
    ]


def family_name(base: Path) -> str:
    """The `model_type` of the served model in `base`.

    `UnsupportedModelError` where no family trains it.
    """
    if (base / "model.bin").exists():
        return "whisper"  # CTranslate2's format; nothing else is served in it
    found = model_type(base)
    if found not in _FAMILIES:
        raise UnsupportedModelError(
            f"'{base}' is a model of type '{found}'. Those that can be fine-tuned: "
            f"{', '.join(sorted(_FAMILIES))}."
        )
    return found


def open_family(base: Path, *, scratch: Path, language: str, recipe: Recipe) -> Family:
    """Load the served model in `base` for training; `scratch` is a directory for its own files."""
    module, _, name = _FAMILIES[family_name(base)].partition(":")
    made: Family = getattr(import_module(module), name)(
        base, scratch=scratch, language=language, recipe=recipe
    )
    return made
