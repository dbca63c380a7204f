"""CTC models: wav2vec2, HuBERT and what shares their interface.

Each frame of some 20 ms says a character or blank; repeats and blanks are dropped (Graves et al.
2006). The most probable character of each frame is taken: a beam without a language model finds
the same text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers import AutoModelForCTC

from misheard.errors import ModelCorruptError, UnspeakableTextError
from misheard.speech.families.family import Heard, SpeechModel

_ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")
_FEED_FORWARD = ("intermediate_dense", "output_dense")
_ADAPTER_TARGETS = {
    # WavLM hands the bare weights of its projections to PyTorch, past any adapter.
    "wavlm": _FEED_FORWARD,
    "wav2vec2-conformer": ("linear_q", "linear_k", "linear_v", "linear_out", *_FEED_FORWARD),
}
_EXACT_WHEN_PADDED = {"hubert", "unispeech", "unispeech-sat", "wav2vec2", "wavlm"}
"""Nothing but attention, which is masked, looks past a frame above the first layer of these."""
_MASK_SPAN = 4
"""Frames that SpecAugment hides at once: 80 ms, as for Whisper (`finetune/recipe.py`)."""

_UNSPOKEN = re.compile(r"(?<!\w)[.,;:!?…\"“”„«»()\[\]¿¡]+|[.,;:!?…\"“”„«»()\[\]¿¡]+(?!\w)")
"""Marks that are not said, at the edge of a word. Within one ("3.5", "example.com") they are."""
_DASHES = re.compile(r"[-‐‑‒–—―]+")
_APOSTROPHES = re.compile(r"[’‘ʼ`´]")


class CtcModel(SpeechModel):
    """A `SpeechModel` with a character, or blank, for each frame."""

    auto_class = AutoModelForCTC

    def __init__(self, directory: Path, **changes: Any) -> None:
        super().__init__(directory, **changes)
        config = self.model.config
        self._blank: int = config.pad_token_id
        self._vocabulary: dict[str, int] = self.tokenizer.get_vocab()
        spelling = [number for token, number in self._vocabulary.items() if len(token) == 1]
        if max(spelling) >= config.vocab_size or self._blank != self.tokenizer.pad_token_id:
            raise ModelCorruptError(
                f"'{directory}': a tokenizer that counts up to {max(spelling)}, with blank "
                f"{self.tokenizer.pad_token_id}, does not fit a model with {config.vocab_size} "
                f"outputs and blank {self._blank}."
            )
        # Not `all_special_ids`: the space between words is one of them.
        tokenizer = self.tokenizer
        self._unsaid = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id}
        # Its loss is a mean that takes no part in the trainer's own, whatever its signature says:
        # with gradient accumulation the trainer would otherwise not divide it.
        self.model.accepts_loss_kwargs = False
        self.adapter_targets = _ADAPTER_TARGETS.get(
            config.model_type, (*_ATTENTION, *_FEED_FORWARD)
        )

    @property
    def exact_when_padded(self) -> bool:
        """See `SpeechModel`; a group norm is over the whole of a padded clip."""
        config = self.model.config
        return bool(
            self.extractor.return_attention_mask
            and config.model_type in _EXACT_WHEN_PADDED
            and config.feat_extract_norm == "layer"
            and not getattr(config, "add_adapter", False)
        )

    def hear(
        self, values: torch.Tensor, mask: torch.Tensor | None, *, beam_size: int, max_tokens: int
    ) -> list[Heard]:
        """See `SpeechModel`; a frame is decided by itself, so neither limit applies."""
        del beam_size, max_tokens
        logits = self.model(values, attention_mask=mask).logits
        # What follows is small, and PyTorch's loss wants its lengths beside the processor.
        logits, mask = logits.cpu(), None if mask is None else mask.cpu()
        samples = torch.full((len(values),), values.shape[1]) if mask is None else mask.sum(-1)
        frames = self._frames(samples).clamp(max=logits.shape[1])
        logprobs = functional.log_softmax(logits.float(), dim=-1)
        best = logprobs.argmax(-1)
        spelt = [
            [token for token in row[:count].unique_consecutive().tolist() if token != self._blank]
            for row, count in zip(best, frames.tolist(), strict=True)
        ]
        lengths = torch.tensor([len(tokens) for tokens in spelt])
        # The text's own probability, over all the ways to spread it over the frames.
        surprise = functional.ctc_loss(
            logprobs.transpose(0, 1),
            torch.tensor([token for tokens in spelt for token in tokens], dtype=torch.long),
            frames,
            lengths,
            blank=self._blank,
            reduction="none",
        )
        means = (-surprise / lengths.clamp(min=1)).tolist()
        return [
            Heard(text=self._text(tokens), avg_logprob=mean)
            for tokens, mean in zip(spelt, means, strict=True)
        ]

    def labels(self, text: str) -> list[int]:
        """See `SpeechModel`.

        Letters take the case that the vocabulary has, dashes become spaces, and marks at the edge
        of a word are left out, unless the vocabulary has them. All else must be spelt: "$5" is
        "five dollars".
        """
        folded = text if all(map(self._known, text)) else self._folded(text)
        spelt = "".join(self._cased(character) for character in " ".join(folded.split()))
        ids: list[int] = self.tokenizer(spelt, add_special_tokens=False).input_ids if spelt else []
        if text.strip() and not ids:
            raise UnspeakableTextError(f"{text!r} has nothing in it that is said.")
        return ids

    def encoder_layers(self) -> Sequence[Any]:
        """See `SpeechModel`."""
        body = self.model.base_model
        front = [body.feature_extractor, getattr(body, "feature_projection", None)]
        return [
            torch.nn.ModuleList([module for module in front if module is not None]),
            *body.encoder.layers,
        ]

    def freeze_for_training(self) -> None:
        """The convolutions, as the authors of wav2vec 2.0 do it (Baevski et al. 2020, § 4.3)."""
        self.model.freeze_feature_encoder()

    @classmethod
    def training_config(cls, *, time_share: float, channel_share: float) -> dict[str, Any]:
        """See `SpeechModel`."""
        made: dict[str, Any] = {
            # A sum would make the step depend on how long the texts of a batch are.
            "ctc_loss_reduction": "mean",
            # A text with more characters than the clip has frames teaches nothing, not infinity.
            "ctc_zero_infinity": True,
            "apply_spec_augment": time_share > 0 or channel_share > 0,
        }
        if not made["apply_spec_augment"]:
            # Shares of 0 would drop the vector that stands for what is hidden.
            return made
        return made | {
            "mask_time_prob": time_share,
            "mask_time_length": _MASK_SPAN,
            "mask_feature_prob": channel_share,
            "mask_feature_length": _MASK_SPAN,
            # The default of them all, which WavLM's configuration lacks (Transformers 5.24).
            "mask_feature_min_masks": 0,
        }

    def _frames(self, samples: torch.Tensor) -> torch.Tensor:
        counted: torch.Tensor = self.model._get_feat_extract_output_lengths(samples)
        return counted.to(torch.long)

    def _text(self, tokens: list[int]) -> str:
        said = [token for token in tokens if token not in self._unsaid]
        # Repeats are dropped already; what is doubled now has a blank between.
        text: str = self.tokenizer.decode(said, group_tokens=False)
        return text.strip()

    def _known(self, character: str) -> bool:
        return character.isspace() or character in self._vocabulary

    def _folded(self, text: str) -> str:
        """`text` without the marks that are not said and not in the vocabulary."""

        def unless_known(instead: str) -> Any:
            return lambda found: "".join(
                one if one in self._vocabulary else instead for one in found[0]
            )

        text = _APOSTROPHES.sub("'", text)
        text = _DASHES.sub(unless_known(" "), text)
        return _UNSPOKEN.sub(unless_known(""), text)

    def _cased(self, character: str) -> str:
        for form in (character, character.upper(), character.lower()):
            if all(self._known(one) for one in form):
                return form
        raise UnspeakableTextError(
            f"The vocabulary has no {character!r}: write out in words how it is said, with"
            f" {' '.join(sorted(one for one in self._vocabulary if len(one) == 1))}"
        )
