"""Text normalisers by name; a reference and its hypothesis always go through the same one."""

from __future__ import annotations

import tomllib
import unicodedata
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.resources import files

from misheard.errors import InvalidSettingError, InvalidTranscriptError, MisheardWarning
from misheard.scoring.equivalents import Equivalents, Groups
from misheard.scoring.own_normalizer import from_callable, from_path
from misheard.scoring.scripts import letter_mark

Normalize = Callable[[str], str]


class NormalizerWarning(MisheardWarning):
    """A normaliser does not suit the language at hand."""


@dataclass(frozen=True)
class Normalizer:
    """What references and hypotheses go through before they are compared."""

    name: str
    """Recorded with every result: what it was asked for, and the fingerprint of a table."""
    spec: str
    """What `normalizer` was asked for; empty for a callable that no other process can import."""
    equivalents: tuple[tuple[str, ...], ...] = ()
    """Groups of spellings that count as the same, as `normalizer` was given them."""
    function: Normalize = field(default=str, repr=False, compare=False)
    before: Normalize | None = field(default=None, repr=False, compare=False)
    """What `function` does before it looks into any table, its own one included; None where it
    looks into none."""

    @property
    def without_equivalents(self) -> Normalize:
        """The same without any table: for what must not change when a table grows."""
        return self.function if self.before is None else self.before

    def __call__(self, text: str) -> str:
        """`text` as it is compared: words between single spaces."""
        return self.function(text)

    def require_spec(self) -> str:
        """`spec`, for another process; `InvalidSettingError` where there is none."""
        if not self.spec:
            raise InvalidSettingError(
                f"The normaliser '{self.name}' cannot be handed to the training process: it is no "
                "function at the top level of a module. Move it to one and set "
                'scoring.normalizer = "package.module:function".'
            )
        return self.spec


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


def normalizer(spec: str | Normalize, equivalents: Groups = ()) -> Normalizer:
    """A normaliser by its name, by the import path `package.module:function`, or a callable.

    `equivalents` are groups of spellings that count as the same, beyond those that the normaliser
    knows; each is normalised first, and the first of a group stands for it.

    >>> normalizer("basic")("Press ONE, now!")
    'press one now'
    >>> normalizer("basic", [["pbx", "P.B.X."]])("the p b x")
    'the pbx'
    """
    if isinstance(spec, Normalizer):
        if equivalents:
            raise InvalidSettingError(f"'{spec.name}' is made already: give its name and a table.")
        return spec
    name, spec, function = _named(spec) if isinstance(spec, str) else from_callable(spec)
    before = _plain_english if function is _english else None
    if not equivalents:
        return Normalizer(name=name, spec=spec, function=function, before=before)
    table = Equivalents(equivalents, normalize=function, name=name)
    return Normalizer(
        name=f"{name}+{table.fingerprint}",
        spec=spec,
        equivalents=tuple(tuple(group) for group in equivalents),
        function=lambda text: table(function(text)),
        before=before or function,
    )


def _named(spec: str) -> tuple[str, str, Normalize]:
    if spec in NORMALIZERS:
        return spec, spec, NORMALIZERS[spec]
    if ":" in spec:
        return spec, spec, from_path(spec)
    known = ", ".join(sorted(NORMALIZERS))
    if spec.partition("+")[0] in NORMALIZERS:
        raise InvalidSettingError(
            f"'{spec}' is the name under which results with a table of equivalents are recorded; "
            f"ask for '{spec.partition('+')[0]}' and hand over the table."
        )
    raise InvalidSettingError(
        f"There is no normaliser '{spec}'. Known: {known}; or a function of yours, as "
        "package.module:function."
    )


def _none(text: str) -> str:
    # Most texts are so already, and a look costs a third of splitting them.
    if (
        text.isascii()
        and not ("  " in text or "\t" in text or "\x1f" in text)
        and text.splitlines() == [text] == [text.strip()]
    ):
        return text
    return " ".join(text.split())


@cache
def _whisper_basic() -> Normalize:
    from whisper_normalizer.basic import BasicTextNormalizer  # noqa: PLC0415 - loads slowly

    made: Normalize = BasicTextNormalizer()
    return made


@cache
def _whisper_english() -> Normalize:
    from whisper_normalizer.english import EnglishTextNormalizer  # noqa: PLC0415 - loads slowly

    made: Normalize = EnglishTextNormalizer()
    return made


@lru_cache(maxsize=65_536)
def _basic(text: str) -> str:
    _warn_of_lost_letters(text, "basic", _whisper_basic())
    return _whisper_basic()(text).strip()


# Production logs repeat themselves ("yes", "no", a greeting), and the English one costs 0.1 ms.
@lru_cache(maxsize=65_536)
def _english(text: str) -> str:
    _warn_of_lost_letters(text, "whisper-english", _whisper_english())
    return _english_equivalents()(_plain_english(text))


def _plain_english(text: str) -> str:
    # It leaves a lone "." behind where an ellipsis stood ("the conference..."), which is no word.
    return " ".join(word for word in _whisper_english()(text).split() if word != ".")


@cache
def _english_equivalents() -> Equivalents:
    text = files("misheard.scoring").joinpath("english.toml").read_text(encoding="utf-8")
    return Equivalents(tomllib.loads(text)["equivalents"], normalize=_plain_english)


def _unicode(text: str) -> str:
    """Case, punctuation and symbols go; letters of every script stay, with their marks."""
    plain = unicodedata.normalize("NFKC", text).casefold().translate(_UNICODE)
    return " ".join(unicodedata.normalize("NFKC", plain).split())


class _UnicodeTable(dict[int, str]):
    """What `_unicode` makes of each character, worked out when it is first seen."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        # Joiners, and the selectors of a glyph's look, cannot be heard.
        if category in ("Cf", "Me") or unicodedata.name(character, "").startswith("VARIATION SEL"):
            made = ""
        else:
            made = " " if category[0] in "PS" else character
        self[code] = made
        return made


_UNICODE = _UnicodeTable()

NORMALIZERS: dict[str, Normalize] = {
    "none": _none,
    "basic": _basic,
    "unicode": _unicode,
    "whisper-english": _english,
}
"""Name → function. `basic` and `whisper-english` are those of Radford et al. 2022, appendix C, the
latter with the equivalents of english.toml; `unicode` keeps the vowel signs that they strip."""

_WARNED: set[tuple[str, str]] = set()


def _warn_of_lost_letters(text: str, name: str, function: Normalize) -> None:
    """Once for each script in a process."""
    mark = letter_mark(text)
    if mark is None or (name, mark.script) in _WARNED:
        return
    _WARNED.add((name, mark.script))
    warnings.warn(
        f"The normaliser '{name}' strips letters of {mark.script}: it makes "
        f"'{' '.join(function(mark.word).split())}' of '{mark.word}', so words that differ count "
        "as the same and one word counts as several. Use the normaliser 'unicode'.",
        NormalizerWarning,
        stacklevel=2,
    )
