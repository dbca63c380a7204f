"""Transformers' trainer on windows shorter than 30 s; only `train` imports it, for it needs torch.

`WhisperEncoder` insists on features for `max_source_positions` and adds all its position
embeddings. Within `right_sized`, both are cut to the window of the batch. The embeddings are
sinusoids and frozen, so the full table is put back untouched.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Sampler
from transformers import Seq2SeqTrainer

if TYPE_CHECKING:
    from numpy.typing import NDArray

_IGNORED_LABEL = -100


@dataclass(frozen=True, kw_only=True)
class Example:
    """One clip as the model takes it."""

    features: NDArray[np.float32]
    """Log-mel, shape (bins, 2 × positions)."""
    labels: list[int]
    weight: float = 1.0
    """How often an epoch shows it; never less than once."""

    @property
    def positions(self) -> int:
        """Its window in encoder positions."""
        return int(self.features.shape[1]) // 2


@contextmanager
def right_sized(model: Any, positions: int) -> Iterator[None]:
    """Let a Whisper take features of shape (batch, bins, 2 × positions) inside the block."""
    encoder = model.get_encoder()
    whole = encoder.embed_positions
    full = encoder.config.max_source_positions
    cut = torch.nn.Embedding.from_pretrained(whole.weight[:positions], freeze=True)
    encoder.embed_positions, encoder.config.max_source_positions = cut, positions
    try:
        yield
    finally:
        encoder.embed_positions, encoder.config.max_source_positions = whole, full


def collate(examples: list[Example]) -> dict[str, torch.Tensor]:
    """Clips of one batch in the window of the longest.

    `input_features` of shape (batch, bins, 2 × positions) and `labels` (batch, tokens).
    """
    frames = max(example.features.shape[1] for example in examples)
    tokens = max(len(example.labels) for example in examples)
    features = np.stack([_pad(example.features, frames) for example in examples])
    labels = [
        example.labels + [_IGNORED_LABEL] * (tokens - len(example.labels)) for example in examples
    ]
    return {"input_features": torch.from_numpy(features), "labels": torch.tensor(labels)}


def _pad(features: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    # The window ends in silence, so the lowest value is what more silence would look like.
    missing = frames - features.shape[1]
    return np.pad(features, ((0, 0), (0, missing)), constant_values=features.min())


class BatchesByLength(Sampler[int]):
    """Clips of like length together, the batches in random order, anew each epoch.

    An epoch shows every clip, and those with a weight above 1 more often: as many extra places as
    the weights sum to beyond the clips, drawn in proportion to what each weighs beyond 1.
    """

    def __init__(
        self,
        positions: list[int],
        batch_size: int,
        seed: int,
        weights: list[float] | None = None,
    ) -> None:
        self._positions = positions
        self._batch_size = batch_size
        self._random = random.Random(seed)
        self._beyond = [weight - 1.0 for weight in weights or []]
        self._extra = round(sum(self._beyond))

    def __len__(self) -> int:
        return len(self._positions) + self._extra

    def __iter__(self) -> Iterator[int]:
        shown = list(range(len(self._positions)))
        if self._extra:
            shown += self._random.choices(shown, weights=self._beyond, k=self._extra)
        order = sorted(shown, key=lambda i: (self._positions[i], self._random.random()))
        size = self._batch_size
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        self._random.shuffle(batches)
        return iter([index for batch in batches for index in batch])


class RightSizedTrainer(Seq2SeqTrainer):
    """Transformers' trainer, each batch in its own window."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        examples: list[Example] = train_dataset or self.train_dataset
        return BatchesByLength(
            [example.positions for example in examples],
            self.args.per_device_train_batch_size,
            self.args.seed,
            [example.weight for example in examples],
        )

    def compute_loss(self, model: Any, inputs: dict[str, torch.Tensor], **others: Any) -> Any:
        """The loss of one batch."""
        with right_sized(model, inputs["input_features"].shape[-1] // 2):
            return super().compute_loss(model, inputs, **others)
