"""References and what one or more systems made of them, side by side."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from misheard.errors import InvalidManifestError
from misheard.transcripts.files import STANDARD_INPUT, Format, Side, TranscriptFile, Utterance
from misheard.transcripts.timed import Segment, dealt_out, segments

EACH = "utterance"
"""Grouping by it, every utterance stands alone."""
_SPEAKER = "speaker"
_ALTERNATIVES = re.compile(r"\{\s*([^{}/]*?)\s*/[^{}]*\}")


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What one system made of the references."""

    name: str
    texts: list[str]
    """One for each reference; empty where the file has none."""
    missing: int
    """Utterances of the references that the file does not have: all their words are deleted."""
    surplus: int
    """Utterances of the file (for a `.ctm`: words) that have no reference: they do not count."""


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Columns of equal length."""

    ids: list[str]
    """Where the references have none: the number of the line."""
    references: list[str]
    groups: list[str | int]
    """A name, or a number of its own for an utterance that stands alone."""
    systems: tuple[Heard, ...]
    with_alternatives: int
    """References that offered a choice, as `{ uh / um }`, of which the first was taken."""


def pair(
    reference: TranscriptFile, hypotheses: Sequence[TranscriptFile], *, group_by: str = ""
) -> Pairs:
    """Read the files and pair them, by id where both have ids, else line by line.

    Raises `InvalidManifestError` for an empty file, an id that comes twice, files without an id
    in common, and numbers of lines that differ.
    """
    _check([reference, *hypotheses], group_by)
    timed = list(segments(reference)) if reference.format is Format.STM else []
    spoken = _Columns(reference)
    spoken.fill(_counting(timed) if timed else _utterances(reference, Side.REFERENCE))
    chosen = sum(_first_of_alternatives(spoken.texts)) if _has_alternatives(reference) else 0
    return Pairs(
        ids=spoken.ids or [str(number + 1) for number in range(len(spoken.texts))],
        references=spoken.texts,
        groups=[
            # No name of a group is a number, so these stand alone.
            number if group_by == EACH or not group else group
            for number, group in enumerate(spoken.groups)
        ],
        systems=tuple(_heard(one, reference, spoken, timed) for one in hypotheses),
        with_alternatives=chosen,
    )


def _check(files: Sequence[TranscriptFile], group_by: str) -> None:
    if [file.path for file in files].count(STANDARD_INPUT) > 1:
        raise InvalidManifestError("The standard input can be read only once.")
    reference = files[0]
    if reference.format is Format.CTM:
        raise InvalidManifestError(
            f"{reference.name}: a .ctm has no utterances, so it is no reference. Use an .stm."
        )
    for file in files[1:]:
        if file.format is Format.CTM and reference.format is not Format.STM:
            raise InvalidManifestError(
                f"{file.name}: a .ctm is cut by the times of an .stm, and {reference.name} is "
                f"read as {reference.format}."
            )
    known = {Format.JSONL: (group_by,), Format.TEXT: (EACH,)}.get(
        reference.format, (_SPEAKER, EACH)
    )
    if group_by not in ("", *known):
        raise InvalidManifestError(
            f"{reference.name} is read as {reference.format}, which has no '{group_by}' to group "
            f"by, only: {', '.join(known)}."
        )


class _Columns:
    """The utterances of a file as columns, so that a million of them are no million objects."""

    def __init__(self, file: TranscriptFile) -> None:
        self.file = file
        self.ids: list[str] = []
        self.texts: list[str] = []
        self.groups: list[str] = []
        self.index: dict[str, int] = {}

    def fill(self, utterances: Iterable[Utterance]) -> None:
        known: dict[str, str] = {}
        for number, one in enumerate(utterances):
            if bool(one.id) != bool(self.ids) and number:
                raise InvalidManifestError(
                    f"{self.file.name}: its utterance {number + 1} has {_an_id(one)}, and those "
                    f"before it have {'one' if self.ids else 'none'}."
                )
            if one.id:
                self.ids.append(one.id)
            self.texts.append(one.text)
            self.groups.append(known.setdefault(one.group, one.group))
        if not self.texts:
            raise InvalidManifestError(f"{self.file.name} holds no utterance.")

    def by_id(self) -> dict[str, int]:
        """Where each utterance stands."""
        if not self.index:
            for number, id_ in enumerate(self.ids):
                if self.index.setdefault(id_, number) != number:
                    raise InvalidManifestError(f"{self.file.name} has the id '{id_}' twice.")
        return self.index


def _an_id(one: Utterance) -> str:
    return f"the id '{one.id}'" if one.id else "no id"


def _utterances(file: TranscriptFile, side: Side) -> Iterator[Utterance]:
    if file.format is Format.STM:
        return _counting(segments(file))
    return file.utterances(side)


def _counting(timed: Iterable[Segment]) -> Iterator[Utterance]:
    return (segment.utterance for segment in timed if not segment.is_ignored)


def _heard(
    file: TranscriptFile, reference: TranscriptFile, spoken: _Columns, timed: list[Segment]
) -> Heard:
    columns = _Columns(file)
    if file.format is Format.CTM:
        spoken.by_id()
        utterances, surplus = dealt_out(file, timed)
        columns.fill(utterances)
        return Heard(name=file.path, texts=columns.texts, missing=0, surplus=surplus)
    columns.fill(_utterances(file, Side.HYPOTHESIS))
    # Reference and hypothesis of one row belong together, whatever the row calls itself.
    if spoken.ids and columns.ids and file.path != reference.path:
        return _by_id(columns, spoken)
    if len(columns.texts) != len(spoken.texts):
        raise InvalidManifestError(
            f"{spoken.file.name} has {len(spoken.texts)} utterances and {file.name} has "
            f"{len(columns.texts)}; without ids on both sides they are paired line by line."
        )
    return Heard(name=file.path, texts=columns.texts, missing=0, surplus=0)


def _by_id(columns: _Columns, spoken: _Columns) -> Heard:
    heard, wanted = columns.by_id(), spoken.by_id()
    found = sum(id_ in heard for id_ in wanted)
    if not found:
        raise InvalidManifestError(
            f"{spoken.file.name} and {columns.file.name} have no id in common: "
            f"'{spoken.ids[0]}' here, '{columns.ids[0]}' there."
        )
    return Heard(
        name=columns.file.path,
        texts=[columns.texts[heard[id_]] if id_ in heard else "" for id_ in wanted],
        missing=len(wanted) - found,
        surplus=len(heard) - found,
    )


def _has_alternatives(file: TranscriptFile) -> bool:
    return file.format in (Format.TRN, Format.STM)


def _first_of_alternatives(texts: list[str]) -> Iterator[bool]:
    """Replace every `{ a / b }` by its first branch, in place; `@` stands for no word."""
    for number, text in enumerate(texts):
        made = _ALTERNATIVES.sub(lambda found: found[1].replace("@", ""), text)
        texts[number] = " ".join(made.split()) if made != text else text
        yield made != text
