"""Spellings that count as the same: "voice mail" is "voicemail", on both sides of a comparison."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence

from misheard.errors import InvalidSettingError

Words = tuple[str, ...]
Groups = Sequence[Sequence[str]]


class Equivalents:
    """Replaces each variant by the first spelling of its group, in one pass from the left.

    Whole words only, and of several variants that begin at the same word the longest.

    >>> table = Equivalents([["voicemail", "voice mail"], ["mail", "post"]], normalize=str.lower)
    >>> table("your Voice Mail".lower()), table("the post")
    ('your voicemail', 'the mail')
    """

    def __init__(self, groups: Groups, *, normalize: Callable[[str], str], name: str = "") -> None:
        """`normalize` is what texts have gone through before; `name` is for error messages.

        Raises `InvalidSettingError` where the table says two things, or nothing, of a spelling.
        """
        made = [_group(group, normalize, name) for group in groups]
        canonical: dict[Words, Words] = {}
        for group in made:
            for words in group:
                if words in canonical:
                    raise InvalidSettingError(
                        f"'{' '.join(words)}' stands in two groups of equivalents, with "
                        f"'{' '.join(canonical[words])}' and with '{' '.join(group[0])}'"
                        f"{_after(name)}. Make them one group."
                    )
                canonical[words] = group[0]
        _refuse_chains(canonical)
        # A group may say only what the normaliser does by itself.
        self.groups = tuple(sorted((one[0], *sorted(one[1:])) for one in made if len(one) > 1))
        self._variants: dict[str, list[tuple[Words, Words]]] = {}
        for words in sorted(canonical, key=len, reverse=True):
            self._variants.setdefault(words[0], []).append((words, canonical[words]))
        self._first_words = frozenset(self._variants)

    @property
    def fingerprint(self) -> str:
        """Eight hexadecimal digits that are the same for tables that do the same."""
        text = json.dumps([[" ".join(words) for words in group] for group in self.groups])
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def __call__(self, text: str) -> str:
        """`text`, words between single spaces, with every variant replaced."""
        words = text.split(" ")
        # Most texts hold nothing to replace, and this costs next to nothing.
        return text if self._first_words.isdisjoint(words) else " ".join(self._replaced(words))

    def _replaced(self, words: list[str]) -> Iterator[str]:
        index = 0
        while index < len(words):
            for variant, canonical in self._variants.get(words[index], ()):
                if tuple(words[index : index + len(variant)]) == variant:
                    yield from canonical
                    index += len(variant)
                    break
            else:
                yield words[index]
                index += 1


def _group(group: Sequence[str], normalize: Callable[[str], str], name: str) -> list[Words]:
    """The distinct spellings of a group as they are after normalising, in their order."""
    if isinstance(group, str) or not all(isinstance(spelling, str) for spelling in group):
        raise InvalidSettingError(
            f"{group!r} is no group of equivalents: write a list of spellings, such as "
            '["voicemail", "voice mail"].'
        )
    if len(group) < 2:
        raise InvalidSettingError(f"{list(group)} has one spelling: equivalents take at least two.")
    made = {spelling: tuple(normalize(spelling).split()) for spelling in group}
    for spelling, words in made.items():
        if not words:
            raise InvalidSettingError(
                f"'{spelling}' can have no equivalent: nothing is left of it{_after(name)}."
            )
    return list(dict.fromkeys(made.values()))


def _refuse_chains(canonical: dict[Words, Words]) -> None:
    """What stands for a group must not itself hold what another group would replace."""
    for target in set(canonical.values()):
        for start in range(len(target)):
            for end in range(start + 1, len(target) + 1):
                other = canonical.get(target[start:end], target)
                if other not in (target, target[start:end]):
                    raise InvalidSettingError(
                        f"'{' '.join(target)}' stands for a group of equivalents and holds "
                        f"'{' '.join(target[start:end])}', which another group makes "
                        f"'{' '.join(other)}'. Write it with '{' '.join(other)}'."
                    )


def _after(name: str) -> str:
    return f" after '{name}'" if name else ""
