"""What is wrong with a workspace, and what to do about it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum


class Part(StrEnum):
    """Where a flaw is."""

    DATABASE = "database"
    """The file or the server itself, and which rows refer to which."""
    SCHEMA = "schema"
    FILES = "files"
    """Audio, manifests and models that rows point at."""
    COUNTS = "counts"
    """What is counted as it comes, against the rows that it counts."""


@dataclass(frozen=True, kw_only=True)
class Flaw:
    """One thing that is wrong."""

    part: Part
    subject: str
    """What it is wrong with: a table, a file's SHA-256, a count."""
    detail: str
    """What is wrong with it."""
    remedy: str
    """What to do."""


@dataclass(frozen=True, kw_only=True)
class Soundness:
    """What a check found."""

    deep: bool
    """Whether every file was read and everything was counted again."""
    looked_at: dict[str, int]
    """How many things of each kind were looked at: tables, files, counts."""
    flaws: tuple[Flaw, ...]
    """What is wrong; of each part the first hundred."""
    more: dict[str, int]
    """Part → how many flaws it has beyond those; without a part that has none."""
    unused_files: int = 0
    """Files that nothing points at, as after a restore; they only take room. Looked for with
    `deep`; a file that is being added at that moment may be among them."""

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.flaws


class Findings:
    """Takes down what a check finds, without growing for ever."""

    _AT_MOST = 100

    def __init__(self) -> None:
        self._flaws: list[Flaw] = []
        self._counts: Counter[Part] = Counter()
        self.looked_at: Counter[str] = Counter()
        self.unused_files = 0

    def add(self, part: Part, subject: str, detail: str, remedy: str) -> None:
        """Something is wrong."""
        self._counts[part] += 1
        if self._counts[part] <= self._AT_MOST:
            flaw = Flaw(part=part, subject=subject, detail=detail, remedy=remedy)
            self._flaws.append(flaw)

    def soundness(self, *, deep: bool) -> Soundness:
        """All that was found."""
        more = {part.value: n - self._AT_MOST for part, n in self._counts.items()}
        return Soundness(
            deep=deep,
            looked_at=dict(self.looked_at),
            flaws=tuple(self._flaws),
            more={name: n for name, n in more.items() if n > 0},
            unused_files=self.unused_files,
        )
