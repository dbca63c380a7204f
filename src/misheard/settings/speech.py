"""The section `[speech]`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from misheard.settings.section import Section


class SpeechSettings(Section):
    """How the live model transcribes."""

    model: str = "bundled:whisper-tiny.en"
    """The first model: a directory, a Hugging Face id, or `bundled:…`."""
    language: str = Field(default="en", pattern=r"^([a-z]{2,3}|auto)$")
    """Code of the spoken language, for models that know several; `auto` finds out for each clip."""
    prompt: str = ""
    """What was said before, or how the text is to be written."""
    hotwords: str = ""
    """Words to expect, put before the prompt."""
    beam_size: int = Field(default=1, ge=1, le=64)
    batch_size: int = Field(default=16, ge=1)
    temperatures: tuple[Annotated[float, Field(ge=0.0)], ...] = Field(default=(0.0,), min_length=1)
    """What has failed is decoded again at the next one: [0.0, 0.2, 0.4]. Above 0 chance decides,
    and two runs may differ."""
    best_of: int = Field(default=5, ge=1, le=64)
    """Texts drawn at a temperature above 0, of which the likeliest is kept."""
    retry_margin_s: float = Field(default=8.0, ge=0.0, le=30.0)
    """Text that repeats itself or is doubtful in a window sized to its clip is first decoded again
    in one so many seconds longer, and the likelier of the two is kept; what repeats itself there,
    too, in 30 s. 0: never."""
    doubt_threshold: float = -0.5
    """Text is doubtful when its mean log-probability is below this."""
    logprob_threshold: float = -1.0
    """Text has failed when its mean log-probability is below this."""
    compression_ratio_threshold: float = 2.4
    """Text has failed when it repeats itself so much: its bytes over those of its zlib form."""
    no_speech_threshold: float = Field(default=0.6, ge=0.0, le=1.0)
    """Text that has failed by its probability is silence when no speech is likelier than this."""
    compute_type: str = "int8"
    """CTranslate2's; int8 serves float16 files in 8 bits, and float16 suits a GPU."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where it is computed; `cuda` is an NVIDIA GPU."""
    threads: int = Field(default=0, ge=0)
    """0 means one a core; on a GPU as many batches are computed at once, and 0 means four."""
