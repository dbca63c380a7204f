"""The section `[validation]`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from misheard.settings.section import Section


class ValidationSettings(Section):
    """What a candidate must show against the live version on held-out speech."""

    min_wer_improvement: float = 0.0
    """Absolute: live WER minus candidate WER must be above it."""
    min_cer_improvement: float = 0.0
    """Absolute: live CER minus candidate CER must not be below it."""
    require_significance: bool = True
    alpha: float = Field(default=0.05, gt=0.0, lt=1.0)
    """Level of every test that this gate makes."""
    max_wer_degradation_rate: float = Field(default=0.1, ge=0.0, le=1.0)
    """Share of utterances whose own WER may rise by more than 0.2."""
    require_no_major_degradation: bool = True
    """No slice of the set (a group, a range of lengths, a tag) is worse by more than its limit,
    by more than chance."""
    slice_limits: dict[str, Annotated[float, Field(ge=0.0)]] = {}
    """How far the WER may rise on a slice, absolute: { "channel" = 0.01, "channel=mobile" = 0.0 };
    "" is for all others, which otherwise may not rise at all."""
    general_set: str = "general"
    """Name of a held-out set of speech that the model is not tuned for; looked at where it is."""
    general_margin: float = Field(default=0.01, ge=0.0)
    """The WER on it may rise by less than this, absolute, by the upper end of its interval."""
    max_hallucination_rate: float = Field(default=1.0, ge=0.0, le=1.0)
    """Share of the clips without speech that may be given words; never more than live."""
    max_real_time_factor: float = Field(default=1.0, gt=0.0)
    """Seconds of compute for a second of audio, at most."""
    max_slowdown: float = Field(default=1.5, gt=0.0)
    """The candidate may take so many times as long as the live version."""
