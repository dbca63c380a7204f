"""Whisper, on windows that fit the clip.

`WhisperEncoder` insists on features for `max_source_positions` and adds all its position
embeddings. Within `right_sized`, both are cut to the window of the batch. The embeddings are
sinusoids and frozen, so the full table is put back untouched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import AutoTokenizer, WhisperForConditionalGeneration

from misheard.audio import SAMPLE_RATE_HZ
from misheard.errors import UnspeakableTextError
from misheard.finetune.families.family import Example, padded_labels
from misheard.speech.context import FULL_CONTEXT, FULL_POSITIONS, POSITIONS_PER_S
from misheard.speech.convert import to_ctranslate2, to_transformers
from misheard.speech.features import log_mel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from misheard.finetune.recipe import Recipe

_MOST_TOKENS = 224
"""Of a clip's text: half of Whisper's decoder context, as in OpenAI's `transcribe`."""
_PASS_POSITIONS = 300
"""Encoder positions that take about as long as what each pass costs besides, however small."""
_EAGER_POSITIONS = 640
"""Up to here PyTorch's fused attention takes longer on a CPU in bfloat16 than plain products: forth
and back 2 to 3 times as long at 128 to 320 positions, 1.3 times at 640."""
_TIMES_PER_S = POSITIONS_PER_S
"""Whisper's time tokens stand 20 ms apart, as far as its encoder positions."""


class WhisperFamily:
    """A `Family` of Whisper models of any size and language, served by CTranslate2."""

    learns_times = True
    adapter_targets = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")

    def __init__(self, base: Path, *, scratch: Path, language: str, recipe: Recipe) -> None:
        self.context = recipe.context
        self._most_positions = int(recipe.seconds_at_once * POSITIONS_PER_S)
        self._eager = recipe.precision == "bfloat16" and not torch.cuda.is_available()
        self._weights = scratch
        to_transformers(base, scratch)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(scratch)
        self.model = WhisperForConditionalGeneration.from_pretrained(
            scratch, dtype=torch.float32, use_safetensors=True
        )
        for name, value in recipe.spec_augment.items():
            setattr(self.model.config, name, value)
        settings = self.model.generation_config
        self._before_text: list[int] = []
        if settings.is_multilingual:
            spoken = settings.lang_to_id.get(f"<|{language}|>")
            if spoken is None:
                raise UnspeakableTextError(
                    f"The model has no token <|{language}|>; see speech.language. It knows: "
                    f"{', '.join(sorted(token[2:-2] for token in settings.lang_to_id))}."
                )
            self._before_text = [spoken, settings.task_to_id["transcribe"]]
        if recipe.non_speech_share > 0:
            # Whisper never lets a text end before it has begun; a model that has learnt what
            # silence is must be allowed to say nothing.
            settings.begin_suppress_tokens = [
                token
                for token in settings.begin_suppress_tokens or ()
                if token != self.model.config.eos_token_id
            ]
        self._no_times: int = settings.no_timestamps_token_id
        self._end: int = self.model.config.eos_token_id

    def encoder_layers(self) -> Sequence[Any]:
        """See `Family`."""
        encoder = self.model.get_encoder()
        return [torch.nn.ModuleList([encoder.conv1, encoder.conv2]), *encoder.layers]

    def labels(self, text: str, *, times: tuple[float, float] | None = None) -> list[int]:
        """See `Family`; less <|startoftranscript|>, which the model puts in front by itself."""
        # Whisper's own text starts with a space.
        spelt = self._tokenizer(" " + text, add_special_tokens=False).input_ids if text else []
        if times is None or not text:
            made = [*self._before_text, self._no_times, *spelt, self._end]
        else:
            begin, end = (self._no_times + 1 + round(at * _TIMES_PER_S) for at in times)
            made = [*self._before_text, begin, *spelt, end, self._end]
        if len(made) > _MOST_TOKENS:
            raise UnspeakableTextError(
                f"Its text takes {len(made)} tokens, and {_MOST_TOKENS} fit Whisper's decoder."
            )
        return made

    def features(
        self, samples: NDArray[np.float32], *, full_window: bool = False
    ) -> NDArray[np.float32]:
        """See `Family`; shape (bins, 2 × positions)."""
        context = FULL_CONTEXT if full_window else self.context
        positions = context.positions(len(samples) / SAMPLE_RATE_HZ)
        return log_mel(samples, positions, bins=self.model.config.num_mel_bins)

    def parts(self, examples: Sequence[Example]) -> list[list[Example]]:
        """See `Family`: the cheapest way to share windows, since each has that of its longest."""
        longest_first = sorted(examples, key=_positions, reverse=True)
        # Of the first n examples: what the cheapest parts cost, and where the last one begins.
        cheapest = [(0, 0)]
        for end in range(1, len(longest_first) + 1):
            ways = []
            for begin in range(end):
                positions = (end - begin) * _positions(longest_first[begin])
                if positions <= self._most_positions or end - begin == 1:
                    ways.append((cheapest[begin][0] + positions + _PASS_POSITIONS, begin))
            cheapest.append(min(ways))
        parts, end = [], len(longest_first)
        while end:
            begin = cheapest[end][1]
            parts.append(longest_first[begin:end])
            end = begin
        return parts

    def collate(self, examples: Sequence[Example]) -> dict[str, Any]:
        """See `collate` below."""
        return collate(examples)

    @contextmanager
    def window(self, model: Any, inputs: dict[str, Any]) -> Iterator[None]:
        """See `Family`."""
        positions = inputs["input_features"].shape[2] // 2
        eager = self._eager and positions <= _EAGER_POSITIONS
        model.config._attn_implementation = "eager" if eager else "sdpa"
        with right_sized(model, positions):
            yield

    def export(self, model: Any, target: Path) -> None:
        """See `Family`; CTranslate2's format in float16."""
        model.save_pretrained(self._weights)
        to_ctranslate2(self._weights, target)


@contextmanager
def right_sized(model: Any, positions: int) -> Iterator[None]:
    """Let a Whisper take features of shape (batch, bins, 2 × positions) inside the block."""
    encoder = model.get_encoder()
    whole = encoder.embed_positions
    full = encoder.config.max_source_positions
    if positions > FULL_POSITIONS:
        raise ValueError(f"no window has {positions} positions")
    cut = torch.nn.Embedding.from_pretrained(whole.weight[:positions], freeze=True)
    encoder.embed_positions, encoder.config.max_source_positions = cut, positions
    try:
        yield
    finally:
        encoder.embed_positions, encoder.config.max_source_positions = whole, full


def collate(examples: Sequence[Example]) -> dict[str, Any]:
    """Clips of one batch in the window of the longest.

    `input_features` of shape (batch, bins, 2 × positions) and `labels` (batch, tokens).
    """
    frames = max(example.features.shape[1] for example in examples)
    features = np.stack([_pad(example.features, frames) for example in examples])
    return {
        "input_features": torch.from_numpy(features),
        "labels": torch.tensor(padded_labels(examples)),
    }


def _positions(example: Example) -> int:
    frames: int = example.features.shape[1]
    return frames // 2


def _pad(features: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    # The window ends in silence, so the lowest value is what more silence would look like.
    missing = frames - features.shape[1]
    return np.pad(features, ((0, 0), (0, missing)), constant_values=features.min())
