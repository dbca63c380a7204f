"""Moonshine (Jeffries et al. 2024): an encoder of raw audio as long as it is, and a decoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers import AutoModelForSpeechSeq2Seq

from misheard.audio import SAMPLE_RATE_HZ
from misheard.errors import UnspeakableTextError
from misheard.speech.families.family import Heard, SpeechModel

_TOKENS_PER_S = 13
"""The authors' limit against loops for languages that take most tokens; English takes half."""
_FEWEST_TOKENS = 8
"""For clips that are a word long."""


class Moonshine(SpeechModel):
    """A `SpeechModel` of Moonshine."""

    auto_class = AutoModelForSpeechSeq2Seq
    adapter_targets = ("q_proj", "k_proj", "v_proj", "o_proj", "fc1", "fc2")

    def __init__(self, directory: Path, **changes: Any) -> None:
        super().__init__(directory, **changes)
        config = self.model.config
        self._end: int = config.eos_token_id
        if config.pad_token_id is None:
            # Padding follows the end and is masked, so that any token will do.
            config.pad_token_id = self._end

    @property
    def exact_when_padded(self) -> bool:
        """Its group norm is over the whole of the padded clip."""
        return False

    def hear(
        self, values: torch.Tensor, mask: torch.Tensor | None, *, beam_size: int, max_tokens: int
    ) -> list[Heard]:
        """See `SpeechModel`; all clips are of one length, so there is no mask."""
        del mask
        most = max(_FEWEST_TOKENS, math.ceil(values.shape[1] / SAMPLE_RATE_HZ * _TOKENS_PER_S))
        encoded = self.model.get_encoder()(values)
        spoken = self.model.generate(
            encoder_outputs=encoded,
            do_sample=False,
            num_beams=beam_size,
            max_new_tokens=min(most, max_tokens, self._room),
            pad_token_id=self.model.config.pad_token_id,
        )
        # One pass over what was found gives each token's probability, for any way to search.
        logits = self.model(encoder_outputs=encoded, decoder_input_ids=spoken[:, :-1]).logits
        tokens = spoken[:, 1:]
        logprobs = functional.log_softmax(logits.float(), dim=-1)
        each = logprobs.gather(-1, tokens[..., None])[..., 0]
        ends = tokens == self._end
        # All up to the first end, and the end itself, as for Whisper.
        counted = (ends.cumsum(-1) - ends.long()) == 0
        means = ((each * counted).sum(-1) / counted.sum(-1)).tolist()
        texts = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return [
            Heard(text=text.strip(), avg_logprob=mean)
            for text, mean in zip(texts, means, strict=True)
        ]

    def labels(self, text: str) -> list[int]:
        """See `SpeechModel`; the model puts its start in front by itself."""
        spelt = self.tokenizer(text, add_special_tokens=False).input_ids if text else []
        if self.tokenizer.unk_token_id in spelt:
            raise UnspeakableTextError(f"the vocabulary cannot spell {text!r}")
        if len(spelt) > self._room:
            raise UnspeakableTextError(
                f"its text takes {len(spelt)} tokens, and {self._room} fit the decoder"
            )
        return [*spelt, self._end]

    def encoder_layers(self) -> Sequence[Any]:
        """See `SpeechModel`."""
        encoder = self.model.get_encoder()
        front = [encoder.conv1, encoder.groupnorm, encoder.conv2, encoder.conv3]
        return [torch.nn.ModuleList(front), *encoder.layers]

    @classmethod
    def training_config(cls, *, time_share: float, channel_share: float) -> dict[str, Any]:
        """See `SpeechModel`; Transformers' Moonshine has no SpecAugment."""
        del time_share, channel_share
        return {}

    @property
    def _room(self) -> int:
        """Tokens that fit between start and end."""
        return int(self.model.config.max_position_embeddings) - 2
