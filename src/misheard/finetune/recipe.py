"""One frozen recipe for a fine-tune: every setting, its unit, and why its default is what it is.

The defaults are a real run: the one that `make demo` makes on the phone prompts. A `[recipe]`
section in `misheard.toml` overrides some; a job keeps the whole recipe that it ran with.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from misheard.errors import InvalidSettingError
from misheard.speech.context import Context

_LOWEST = {
    "epochs": 1,
    "batch_size": 1,
    "gradient_accumulation": 1,
    "lora_rank": 1,
    "patience": 1,
    "round_to": 1,
    "processes": 1,
    "max_clip_s": 0.1,
    "frozen_encoder_layers": -1,
}
"""Where it is not 0."""
_HIGHEST = {
    "warmup_share": 1.0,
    "average_decay": 0.9999,
    "mask_time_share": 0.5,
    "mask_frequency_share": 0.5,
    "speed_range": 0.5,
    "telephone_share": 1.0,
    "time_share": 1.0,
    "full_window_share": 1.0,
    "joined_share": 1.0,
}
_CHOICES = {
    "method": ("full", "lora"),
    "precision": ("auto", "float32", "bfloat16"),
}
_MASK_SPAN = 8
"""Frames of 10 ms, or mel bins: narrow enough for a word of 0.3 s to survive."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is fine-tuned."""

    method: str = "full"
    """full: every weight; lora: low-rank adapters (extra `lora`), merged before conversion. LoRA
    trails full fine-tuning on small models and equals it on large ones, in far less memory."""
    lora_rank: int = 32
    """Of each adapter; its scale is twice that (Hu et al. 2021 found ranks beyond it to bring
    little)."""
    frozen_encoder_layers: int = 0
    """Layers of the encoder, from the input up, that stay as they are; -1 for all. Hundreds of
    clips change little in them; freezing pays with large models."""
    frozen_tokens: bool = True
    """Whether the table of tokens, the decoder's input and output, stays as it is: half of a tiny
    model's weights. Training it made no fewer errors (docs/performance.md), and the tokens that are
    in no clip would drift from those that are."""
    epochs: int = 8
    """Passes over the training split at most; see `patience`. Most is learnt in the first four."""
    patience: int = 3
    """Epochs without a better WER on the validation split after which training stops. The WER, not
    the loss: the loss keeps rising while fewer words are misheard."""
    batch_size: int = 8
    """Clips of a batch. Small, as a step costs little here and a few hundred clips make few."""
    seconds_at_once: float = 120.0
    """Seconds of Whisper's windows in one forward pass; a batch of more is computed in parts whose
    gradients are added up. 3 GB hold these with a tiny model; larger ones need more a second."""
    gradient_accumulation: int = 1
    """Batches a step of the optimiser, for steps that see more clips than a batch has."""
    learning_rate: float = 2e-5
    """Peak of AdamW's rate. Twice as much forgot short words (docs/performance.md)."""
    warmup_share: float = 0.1
    """Share of all steps in which the rate rises from 0; it then falls linearly to 0."""
    weight_decay: float = 0.0
    """AdamW's. A fine-tune of minutes is held near its start by its rate, not by decay to 0."""
    average_decay: float = 0.98
    """Decay a step of the moving average of the weights, which is what is validated and shipped;
    0 ships the last step's. The mean of some fifty steps errs less than any of them."""
    max_gradient_norm: float = 1.0
    """Gradients are scaled down to this norm, as in Whisper's own training."""
    mask_time_share: float = 0.05
    """SpecAugment (Park et al. 2019): share of frames that training hides, in spans of 80 ms."""
    mask_frequency_share: float = 0.05
    """SpecAugment: share of mel bins that training hides, in bands of 8. Without it a few hundred
    clips are learnt by heart (docs/performance.md)."""
    speed_range: float = 0.1
    """Clips are played faster or slower by up to this share (Ko et al. 2015), pitch included."""
    telephone_share: float = 0.0
    """Share of clips sent through a telephone (300 to 3400 Hz, 8 kHz, µ-law or GSM). 0, since
    recordings of calls have been through one; for wide-band corrections of telephone traffic, 0.5.
    """
    joined_share: float = 0.5
    """Share of clips that an epoch shows joined to another instead of alone: sentences in an order
    never heard before, and longer windows. Weights half way between old and new hear six times
    better with it (docs/performance.md), so the window is better learnt."""
    non_speech_share: float = 0.08
    """Generated silence, noise and tones with an empty text for each clip. Whisper gives words to
    silence, and more so in a short window, unless it is taught."""
    replay_ratio: float = 10.0
    """Confirmed utterances an epoch for each error case; of what is beyond, each epoch draws
    anew."""
    time_share: float = 0.05
    """Share of clips whose text stands between the times at which speech begins and ends, so that
    a model that can tell times goes on to."""
    margin_s: float = 0.5
    """Silence after a clip, in seconds: there the model learns that speech has ended. 1.0 made no
    fewer errors, and a window is a fifth longer with it (docs/performance.md)."""
    round_to: int = 32
    """Windows are a multiple of so many encoder positions (0.64 s), so that clips share batches."""
    full_window_share: float = 0.0
    """Share of clips shown in the whole window of 30 s. 0, since each costs ten short ones, and
    the job's own check at 30 s finds nothing lost there (docs/performance.md)."""
    max_clip_s: float = 30.0
    """Longer clips are refused with the reason: they do not fit Whisper's window, and cutting one
    without knowing where its words are would teach a text that is not there."""
    sweep: bool = True
    """Whether to look for the best mean of old and new weights on validation and general set;
    without it the trained weights are shipped."""
    seed: int = 0
    """Of the order of clips, of every augmentation and of dropout."""
    threads: int = 0
    """Processor threads; 0 means one a core."""
    processes: int = 1
    """Processes that train together through torchrun, each on a processor or GPU of its own;
    `batch_size` is that of each."""
    precision: str = "auto"
    """float32, bfloat16, or auto: bfloat16 where the processor computes in it, twice as fast."""
    checkpoint_every_s: float = 600.0
    """Seconds between checkpoints within an epoch; there is one at each epoch's end anyway."""

    def __post_init__(self) -> None:
        for field in fields(self):
            _check(field.name, getattr(self, field.name), field.default)

    @property
    def context(self) -> Context:
        """The window that a model trained so has learnt."""
        return Context(margin_s=self.margin_s, round_to=self.round_to)

    @property
    def spec_augment(self) -> dict[str, Any]:
        """The fields of Transformers' configurations that hide parts of what is heard."""
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


def explained() -> dict[str, str]:
    """Each setting with what stands below it in `Recipe`: its unit, and the reason for its default.

    >>> explained()["seed"]
    'Of the order of clips, of every augmentation and of dropout.'
    """
    (made,) = ast.parse(inspect.getsource(Recipe)).body
    assert isinstance(made, ast.ClassDef)  # noqa: S101 - for the type checker; it is one
    told: dict[str, str] = {}
    for one, after in zip(made.body, made.body[1:], strict=False):
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
            text = after.value.value if isinstance(after, ast.Expr) else None  # type: ignore[attr-defined]
            told[one.target.id] = " ".join(str(text).split())
    return told


def _check(name: str, value: object, default: object) -> None:
    """Raise `InvalidSettingError` unless `value` is of the default's kind and within bounds."""
    if name in _CHOICES:
        if value not in _CHOICES[name]:
            raise InvalidSettingError(
                f"recipe.{name} must be one of {', '.join(_CHOICES[name])}, got {value!r}."
            )
        return
    kind = type(default)
    allowed = (int, float) if kind is float else (kind,)
    if isinstance(value, bool) is not (kind is bool) or not isinstance(value, allowed):
        raise InvalidSettingError(f"recipe.{name} must be {kind.__name__}, got {value!r}.")
    lowest, highest = _LOWEST.get(name, 0), _HIGHEST.get(name, math.inf)
    # NaN compares false, so it is refused with what is too low or too high; so is infinity.
    if not lowest <= value <= highest or value == math.inf:  # type: ignore[operator]
        limit = f"{lowest} or more" if highest == math.inf else f"between {lowest} and {highest}"
        raise InvalidSettingError(f"recipe.{name} must be {limit}, got {value!r}.")
