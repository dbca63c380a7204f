"""Text normalisers by name; a reference and its hypothesis always go through the same one."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache

from misheard.errors import InvalidSettingError, InvalidTranscriptError

Normalizer = Callable[[str], str]


def require_text(text: object, *, what: str) -> str:
    """`text` itself when it is a str that can be stored; otherwise `InvalidTranscriptError`."""
    if not isinstance(text, str):
        raise InvalidTranscriptError(f"{what}: expected str, got {type(text).__name__}.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidTranscriptError(f"{what}: {error}.") from error
    if "\0" in text:
        raise InvalidTranscriptError(f"{what}: it holds a NUL character.")
    return text


def normalizer(name: str) -> Normalizer:
    """The normaliser called `name`: `none`, `basic` or `whisper-english`."""
    if name not in NORMALIZERS:
        raise InvalidSettingError(
            f"There is no normaliser '{name}'. Known: {', '.join(sorted(NORMALIZERS))}."
        )
    return NORMALIZERS[name]


def _none(text: str) -> str:
    return " ".join(text.split())


@cache
def _whisper_basic() -> Normalizer:
    from whisper_normalizer.basic import BasicTextNormalizer  # noqa: PLC0415 - loads slowly

    made: Normalizer = BasicTextNormalizer()
    return made


@cache
def _whisper_english() -> Normalizer:
    from whisper_normalizer.english import EnglishTextNormalizer  # noqa: PLC0415 - loads slowly

    made: Normalizer = EnglishTextNormalizer()
    return made


@lru_cache(maxsize=65_536)
def _basic(text: str) -> str:
    return _whisper_basic()(text).strip()


# Production logs repeat themselves ("yes", "no", a greeting), and the English one costs 0.1 ms.
@lru_cache(maxsize=65_536)
def _english(text: str) -> str:
    # It leaves a lone "." behind where an ellipsis stood ("the conference..."), which is no word.
    return " ".join(word for word in _whisper_english()(text).split() if word != ".")


NORMALIZERS: dict[str, Normalizer] = {
    "none": _none,
    "basic": _basic,
    "whisper-english": _english,
}
"""Name → function. `whisper-english` is the one of Radford et al. 2022, appendix C."""
