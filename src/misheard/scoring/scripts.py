"""Writing systems whose letters a normaliser made for English would strip."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache

# The first and last code point of each block, after Blocks.txt of the Unicode Character Database.
_BLOCKS = (
    ("Devanagari", 0x0900, 0x097F),
    ("Bengali", 0x0980, 0x09FF),
    ("Gurmukhi", 0x0A00, 0x0A7F),
    ("Gujarati", 0x0A80, 0x0AFF),
    ("Oriya", 0x0B00, 0x0B7F),
    ("Tamil", 0x0B80, 0x0BFF),
    ("Telugu", 0x0C00, 0x0C7F),
    ("Kannada", 0x0C80, 0x0CFF),
    ("Malayalam", 0x0D00, 0x0D7F),
    ("Sinhala", 0x0D80, 0x0DFF),
    ("Thai", 0x0E00, 0x0E7F),
    ("Lao", 0x0E80, 0x0EFF),
    ("Tibetan", 0x0F00, 0x0FFF),
    ("Myanmar", 0x1000, 0x109F),
    ("Tagalog", 0x1700, 0x171F),
    ("Khmer", 0x1780, 0x17FF),
    ("Limbu", 0x1900, 0x194F),
    ("Balinese", 0x1B00, 0x1B7F),
    ("Sundanese", 0x1B80, 0x1BBF),
    ("Devanagari", 0xA8E0, 0xA8FF),
    ("Javanese", 0xA980, 0xA9DF),
    ("Meetei Mayek", 0xABC0, 0xABFF),
)


@dataclass(frozen=True, kw_only=True)
class LetterMark:
    """A combining mark that is a letter: a vowel sign, a tone, a sign that a vowel is missing."""

    script: str
    word: str
    """The word that it was found in."""


def letter_mark(text: str) -> LetterMark | None:
    """The first combining mark of `text` that belongs to a Brahmic script.

    >>> letter_mark("यह हिन्दी है").script, letter_mark("naïve") is None
    ('Devanagari', True)
    """
    found = None if text.isascii() else _marks().search(text)
    if found is None:
        return None
    code = ord(found.group())
    script = next(name for name, first, last in _BLOCKS if first <= code <= last)
    start = text.rfind(" ", 0, found.start()) + 1
    return LetterMark(script=script, word=text[start:].split(" ", 1)[0])


@cache
def _marks() -> re.Pattern[str]:
    """Every mark that does not stand alone (categories Mn and Mc) in these blocks."""
    codes = (code for _, first, last in _BLOCKS for code in range(first, last + 1))
    marks = [chr(code) for code in codes if unicodedata.category(chr(code)) in ("Mn", "Mc")]
    return re.compile(f"[{''.join(marks)}]")
