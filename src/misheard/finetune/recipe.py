"""One frozen recipe for a fine-tune: every setting, its unit, and why its default is what it is.

The defaults are a real run: the one that `make demo` makes on the phone prompts.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from misheard.errors import InvalidSettingError
from misheard.speech.context import Context

_LOWEST = {"epochs": 1, "batch_size": 1, "round_to": 1, "max_clip_s": 0.1}
"""Where 0 would make no sense."""
_PRECISIONS = ("auto", "float32", "bfloat16")
_MASK_SPAN = 8
"""Frames of 10 ms, or mel bins: narrow enough for a word of 0.3 s to survive."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is fine-tuned."""

    epochs: int = 8
    """Passes over the training split. On a few hundred clips, more brought nothing more."""
    batch_size: int = 8
    """Clips a step: what 3 GB hold with a tiny model at a full window."""
    learning_rate: float = 2e-5
    """Peak of Adam's rate. Twice as much forgot short words (docs/performance.md)."""
    warmup_share: float = 0.1
    """Share of all steps in which the rate rises from 0; it then falls linearly to 0."""
    mask_time_share: float = 0.05
    """SpecAugment (Park et al. 2019): share of frames that training hides, in spans of 80 ms."""
    mask_frequency_share: float = 0.05
    """SpecAugment: share of mel bins that training hides, in bands of 8. Without it a few hundred
    clips are learnt by heart (docs/performance.md)."""
    max_gradient_norm: float = 1.0
    """Gradients are scaled down to this norm, as in Whisper's own training."""
    margin_s: float = 1.0
    """Silence after a clip, in seconds: there the model learns that speech has ended."""
    round_to: int = 64
    """Windows are a multiple of so many encoder positions, so that clips share batches."""
    max_clip_s: float = 30.0
    """Longer clips are left out of training: they do not fit Whisper's window."""
    seed: int = 0
    """Of the order of clips and of dropout."""
    threads: int = 0
    """Processor threads; 0 means one a core."""
    precision: str = "auto"
    """float32, bfloat16, or auto: bfloat16 where the processor computes in it, twice as fast."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value, default = getattr(self, field.name), field.default
            if isinstance(default, str):
                if value not in _PRECISIONS:
                    raise InvalidSettingError(
                        f"recipe.{field.name} must be one of {', '.join(_PRECISIONS)}, "
                        f"got {value!r}."
                    )
                continue
            kind = int if isinstance(default, int) else float
            if isinstance(value, bool) or not isinstance(value, kind | int):
                raise InvalidSettingError(
                    f"recipe.{field.name} must be {kind.__name__}, got {value!r}."
                )
            lowest = _LOWEST.get(field.name, 0)
            # NaN compares false, so it is refused with what is too low or too high.
            if not lowest <= value < math.inf:
                raise InvalidSettingError(
                    f"recipe.{field.name} must be {lowest} or more, got {value!r}."
                )

    @property
    def context(self) -> Context:
        """The window that a model trained so has learnt."""
        return Context(margin_s=self.margin_s, round_to=self.round_to)

    @property
    def spec_augment(self) -> dict[str, Any]:
        """The fields of Transformers' `WhisperConfig` that hide parts of the spectrogram."""
        return {
            "apply_spec_augment": self.mask_time_share > 0 or self.mask_frequency_share > 0,
            "mask_time_prob": self.mask_time_share,
            "mask_time_length": _MASK_SPAN,
            "mask_feature_prob": self.mask_frequency_share,
            "mask_feature_length": _MASK_SPAN,
        }

    @property
    def id(self) -> str:
        """The same settings always have the same id."""
        text = json.dumps(asdict(self), sort_keys=True)
        return "recipe-" + hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, Any]:
        """For storage; `from_dict` reads it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """A recipe with some settings changed; an unknown one is an error."""
        known = [field.name for field in fields(cls)]
        if unknown := sorted(values.keys() - set(known)):
            raise InvalidSettingError(
                f"There is no recipe.{unknown[0]}. Known: {', '.join(known)}."
            )
        return cls(**values)
