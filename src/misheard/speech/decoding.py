"""How text is searched for."""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass, fields
from typing import Any

from misheard.errors import InvalidSettingError

DECODER_TOKENS = 448
"""What Whisper's decoder holds: half of it for what was said before, half for the text."""
DETECT = "auto"
"""The language that means: find out."""
_LANGUAGE = re.compile(r"[a-z]{2,3}")
_SAME_TEXT = ("batch_size", "language", "beam_size", "word_timestamps")


@dataclass(frozen=True, kw_only=True)
class DecodingOptions:
    """How text is searched for. Thresholds and criteria are those of OpenAI's `transcribe`.

    The defaults are deterministic: the same clip always gives the same text. Raises
    `InvalidSettingError` for a value that cannot be.
    """

    beam_size: int = 1
    """Hypotheses kept a step at temperature 0; 1 is greedy."""
    batch_size: int = 16
    """Windows decoded at once, at most: fewer long ones. It does not change the text."""
    max_tokens: int = DECODER_TOKENS // 2
    """Tokens a window, 1 to 224: half of Whisper's decoder context."""
    no_speech_threshold: float = 0.6
    logprob_threshold: float = -1.0
    """A window is silent when no speech is likelier than the one and the text's mean
    log-probability below the other. What is below and not silent has failed."""
    compression_ratio_threshold: float = 2.4
    """Text that repeats itself so much has failed, too."""
    temperatures: tuple[float, ...] = (0.0,)
    """What has failed is decoded again at the next one; the likeliest of all is kept where none
    passes. Above 0 tokens are drawn at random, and two runs may differ."""
    best_of: int = 5
    """Texts drawn at a temperature above 0, of which the likeliest is kept."""
    retry_margin_s: float = 8.0
    """Text that repeats itself or is doubtful in a window sized to its clip is first decoded again
    in one so many seconds longer, and nothing is left to chance; of two texts that pass the
    likelier is kept. What repeats itself there, too, is decoded in the whole 30 s. 0: never.
    Chosen in the folds (docs/performance.md)."""
    doubt_threshold: float = -0.5
    """Text is doubtful when its mean log-probability is below this. Chosen in the folds
    (docs/performance.md): a twentieth of the clips, and a twentieth fewer errors."""
    prompt: str = ""
    """What was said before, or how the text is to be written; its last 223 tokens count."""
    hotwords: str = ""
    """Words to expect, put before the prompt; their first 223 tokens count, together with it."""
    timestamps: bool = False
    """Let the model say when each segment begins and ends. It changes the text a little."""
    word_timestamps: bool = False
    """Align each word with the audio; it leaves the text as it is."""
    language: str = "en"
    """Code of the spoken language, for models that know several; `auto` finds out for each clip."""

    def __post_init__(self) -> None:
        # JSON knows no tuples, and a list could not be hashed.
        if isinstance(self.temperatures, list):
            object.__setattr__(self, "temperatures", tuple(self.temperatures))
        for name in ("beam_size", "batch_size", "max_tokens", "best_of"):
            _require(name, getattr(self, name), _is_count, "a whole number of 1 or more")
        most = DECODER_TOKENS // 2
        _require("max_tokens", self.max_tokens, lambda value: value <= most, f"{most} or less")
        for name in (
            "no_speech_threshold",
            "logprob_threshold",
            "compression_ratio_threshold",
            "doubt_threshold",
        ):
            _require(name, getattr(self, name), _is_number, "a number")
        _require("temperatures", self.temperatures, _are_temperatures, "one or more, 0 or above")
        for name in ("prompt", "hotwords"):
            _require(name, getattr(self, name), lambda value: isinstance(value, str), "text")
        _require(
            "retry_margin_s",
            self.retry_margin_s,
            lambda value: _is_number(value) and 0 <= value < math.inf,
            "a number of seconds, 0 or more",
        )
        for name in ("timestamps", "word_timestamps"):
            _require(name, getattr(self, name), lambda value: isinstance(value, bool), "yes or no")
        _require(
            "language",
            self.language,
            _is_language,
            f'a code such as "en" or "yue", in small letters, or "{DETECT}"',
        )

    @property
    def changed(self) -> dict[str, Any]:
        """The options with other values than their defaults that may change the text.

        Language and beam are not among them: whoever names a way of decoding names them anyway.

        >>> DecodingOptions(prompt="Asterisk, voicemail.", batch_size=4).changed
        {'prompt': 'Asterisk, voicemail.'}
        """
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name not in _SAME_TEXT and getattr(self, field.name) != field.default
        }

    @property
    def changed_label(self) -> str:
        """A short name for `changed`, with a space before it; empty where nothing is.

        Texts that were kept under another name were decoded in another way.
        """
        if not self.changed:
            return ""
        text = json.dumps(self.changed, sort_keys=True)
        return f" options={hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _require(name: str, value: Any, fits: Any, what: str) -> None:
    if not fits(value):
        raise InvalidSettingError(f"speech.{name} must be {what}, got {value!r}.")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _are_temperatures(values: object) -> bool:
    return (
        isinstance(values, tuple)
        and len(values) > 0
        and all(_is_number(value) and 0 <= value < math.inf for value in values)
    )


def _is_language(value: object) -> bool:
    return isinstance(value, str) and (value == DETECT or bool(_LANGUAGE.fullmatch(value)))


def prompt_tokens(tokenizer: Any, options: DecodingOptions) -> list[int]:
    """What stands before the transcript: `<|startofprev|>`, hot words, prompt; or nothing.

    At most half of the decoder's context. Hot words are a list, so its beginning is kept; a prompt
    is what came before, so its end is.
    """
    words, said = (
        tokenizer.encode(f" {text.strip()}", add_special_tokens=False).ids if text.strip() else []
        for text in (options.hotwords, options.prompt)
    )
    most = DECODER_TOKENS // 2 - 1
    words = words[:most]
    left = most - len(words)
    said = said[-left:] if left else []
    return [tokenizer.token_to_id("<|startofprev|>"), *words, *said] if words or said else []
