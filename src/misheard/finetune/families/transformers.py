"""Every kind of model that Transformers runs: what is peculiar to each is in `speech/families/`."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from misheard.finetune.families.family import IGNORED_LABEL, Example, padded_labels
from misheard.speech.families.known import family_class, model_type

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from misheard.finetune.recipe import Recipe


class TransformersFamily:
    """A `Family` of the models in `speech/families/known.py`, which take audio as long as it is.

    SpecAugment hides frames and channels within the model, for kinds that have it; the recipe's
    share of mel bins is that of channels.
    """

    context = None
    learns_times = False

    def __init__(self, base: Path, *, scratch: Path, language: str, recipe: Recipe) -> None:
        del scratch, language  # what is served is what is trained, and it speaks one language
        kind = family_class(model_type(base), where=base)
        changes = kind.training_config(
            time_share=recipe.mask_time_share, channel_share=recipe.mask_frequency_share
        )
        self._speech = kind(base, **changes)
        self._speech.freeze_for_training()
        self.model: Any = self._speech.model
        self.adapter_targets = self._speech.adapter_targets

    def encoder_layers(self) -> Sequence[Any]:
        """See `Family`."""
        return self._speech.encoder_layers()

    def labels(self, text: str, *, times: tuple[float, float] | None = None) -> list[int]:
        """See `Family`."""
        del times
        return self._speech.labels(text)

    def features(
        self, samples: NDArray[np.float32], *, full_window: bool = False
    ) -> NDArray[np.float32]:
        """See `Family`; shape (n,)."""
        del full_window
        return self._speech.inputs(samples)

    def parts(self, examples: Sequence[Example]) -> Sequence[Sequence[Example]]:
        """See `Family`; one, for the loss of some is a mean over clips, not over tokens."""
        return [examples]

    def collate(self, examples: Sequence[Example]) -> dict[str, Any]:
        """Values and mask of shape (batch, samples), labels of shape (batch, tokens)."""
        values, mask = self._speech.batch([example.features for example in examples])
        # Where nobody speaks in any of them there is a column to ignore, for CTC asks for one.
        labels = [row or [IGNORED_LABEL] for row in padded_labels(examples)]
        return {
            "input_values": values,
            "attention_mask": mask,
            "labels": torch.tensor(labels),
        }

    def window(self, model: Any, inputs: dict[str, Any]) -> AbstractContextManager[None]:
        """See `Family`; there is none."""
        del model, inputs
        return nullcontext()

    def export(self, model: Any, target: Path) -> None:
        """See `Family`; Transformers' format in float32, weights as safetensors."""
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            made = Path(folder) / "model"
            self._speech.save(model, made)
            made.rename(target)
