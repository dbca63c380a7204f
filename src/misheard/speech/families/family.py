"""The contract of a kind of model that Transformers runs: all that is peculiar to it.

Serving (`speech/transformers.py`) and training (`finetune/families/transformers.py`) are the same
for every kind and ask a `SpeechModel` for the rest: how audio goes in, how text comes out, how a
text is spelt for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from transformers import AutoConfig, AutoFeatureExtractor, AutoTokenizer
from transformers.utils import logging

from misheard.audio import SAMPLE_RATE_HZ
from misheard.errors import ModelCorruptError, UnsupportedModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SHORTEST = SAMPLE_RATE_HZ // 4
"""Samples. Below some 900 the convolutions have nothing to give, below 2600 there are fewer frames
than SpecAugment hides at once."""
_MAY_BE_MISSING = ("masked_spec_embed",)
"""What only training uses, and checkpoints leave out."""
_LOCAL = {"local_files_only": True, "trust_remote_code": False}
"""Whoever names a directory is not asked for the network, nor made to run what lies in it."""


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What a model heard in one clip of a batch."""

    text: str
    avg_logprob: float | None
    """Mean log-probability a token, natural logarithm; None where the kind has none to give."""


@contextmanager
def _without_bars() -> Iterator[None]:
    """Transformers' progress bars would stand among ours."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


class SpeechModel(ABC):
    """One loaded model with its tokenizer, in float32."""

    auto_class: ClassVar[Any]
    """Transformers' auto class for models of this kind."""
    adapter_targets: tuple[str, ...]
    """Names of the linear layers that LoRA adapts, as peft matches them."""

    def __init__(self, directory: Path, **changes: Any) -> None:
        """Load the model in `directory`, a Transformers directory with safetensors.

        `changes` are fields of its configuration that are to be otherwise. No network is used and
        no pickle is opened. Raises `ModelCorruptError` for files that are damaged, missing, or
        lack weights, `UnsupportedModelError` for a model that listens at another rate.
        """
        try:
            with _without_bars():
                found = self._load(directory, changes)
        except Exception as error:  # the bindings raise bare Exception for damaged files
            raise ModelCorruptError(
                f"'{directory}': {error} A complete directory has config.json, weights as "
                "safetensors, preprocessor_config.json and the tokenizer's files."
            ) from error
        missing = sorted(n for n in found["missing_keys"] if not n.endswith(_MAY_BE_MISSING))
        if missing:
            # Transformers would fill them with random numbers, and say so in a warning only.
            raise ModelCorruptError(
                f"'{directory}' lacks weights: {', '.join(missing[:3])}. A model that was only "
                "pretrained has no output layer yet; take one that transcribes."
            )
        if self.extractor.sampling_rate != SAMPLE_RATE_HZ:
            raise UnsupportedModelError(
                f"'{directory}' listens at {self.extractor.sampling_rate} Hz, not {SAMPLE_RATE_HZ}."
            )
        self.model.eval()

    def _load(self, directory: Path, changes: dict[str, Any]) -> dict[str, Any]:
        """Set extractor, tokenizer and model; what Transformers says of the weights it found."""
        config = AutoConfig.from_pretrained(directory, **_LOCAL)
        for name, value in changes.items():
            setattr(config, name, value)
        self.extractor: Any = AutoFeatureExtractor.from_pretrained(directory, **_LOCAL)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(directory, **_LOCAL)
        self.model: Any
        self.model, found = self.auto_class.from_pretrained(
            directory,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            **_LOCAL,
        )
        return dict(found)

    @property
    @abstractmethod
    def exact_when_padded(self) -> bool:
        """Whether a clip is heard the same alone and in a masked batch with longer ones.

        Where it is not, clips are served in batches of one length, without a mask. Training pads
        and masks all the same: what is said must be heard before the clip ends.
        """

    @abstractmethod
    def hear(
        self, values: torch.Tensor, mask: torch.Tensor | None, *, beam_size: int, max_tokens: int
    ) -> list[Heard]:
        """Transcribe a batch: `values` of shape (batch, samples), `mask` of the same shape.

        Called by one thread at a time, in inference mode.
        """

    @abstractmethod
    def labels(self, text: str) -> list[int]:
        """Token ids that training aims at; "" when nobody speaks.

        Raises `UnspeakableTextError` where the vocabulary cannot spell it.
        """

    @abstractmethod
    def encoder_layers(self) -> Sequence[Any]:
        """The encoder's modules from the input up: its front end, then each layer."""

    def freeze_for_training(self) -> None:  # noqa: B027 - most kinds keep nothing
        """Keep as they are the weights that the authors of this kind never fine-tune."""

    @classmethod
    @abstractmethod
    def training_config(cls, *, time_share: float, channel_share: float) -> dict[str, Any]:
        """Fields of the configuration for training; `changes` of the constructor.

        The shares are those of frames and of channels that SpecAugment hides (0 to 1), for a kind
        that has it.
        """

    def inputs(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the model takes for `samples` (16 kHz, mono, shape (n,)): shape (n,), or longer.

        Scaled as its feature extractor does; a clip under 0.25 s is followed by silence up to that.
        """
        scaled = self.extractor(samples, sampling_rate=SAMPLE_RATE_HZ)["input_values"][0]
        values = np.asarray(scaled, dtype=np.float32)
        return np.pad(values, (0, max(0, _SHORTEST - len(values))))

    def batch(self, inputs: Sequence[NDArray[np.float32]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Values (batch, samples), padded to the longest, and a mask that is 1 where they are."""
        lengths = [len(one) for one in inputs]
        values = torch.zeros(len(inputs), max(lengths))
        mask = torch.zeros(values.shape, dtype=torch.long)
        for row, one in enumerate(inputs):
            values[row, : lengths[row]] = torch.from_numpy(one)
            mask[row, : lengths[row]] = 1
        return values, mask

    def save(self, model: Any, target: Path) -> None:
        """Write `model`, which has this one's layers, with its tokenizer to `target`."""
        with _without_bars():
            model.save_pretrained(target)
        self.extractor.save_pretrained(target)
        self.tokenizer.save_pretrained(target)
