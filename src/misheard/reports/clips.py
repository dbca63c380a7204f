"""What a candidate fixed and what it broke, clip by clip, with the recordings. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from itertools import zip_longest
from typing import Any

from misheard.errors import BlobNotFoundError, MisheardError
from misheard.gates.slices import GROUP, LENGTH, LENGTHS, length_band
from misheard.reports.word_columns import Column, columns

LISTED = 1_000
"""Clips on a page that is not asked for all of them."""
WITH_AUDIO = 200
MOST_AUDIO_BYTES = 5_000_000
"""Recordings on such a page: their number, and what they add to the file."""

Part = tuple[str, str]
"""Kind and name of a slice that a clip is in."""


class Turn(StrEnum):
    """What became of an utterance, the worst first."""

    BROKEN = "broken"
    """It was right and is wrong now."""
    WORSE = "worse"
    BETTER = "better"
    FIXED = "fixed"
    """It was wrong and is right now."""

    @property
    def is_loss(self) -> bool:
        """Whether the candidate makes more errors."""
        return self in {Turn.BROKEN, Turn.WORSE}


@dataclass(frozen=True, kw_only=True)
class Clip:
    """An utterance on which the two versions make different numbers of word errors."""

    turn: Turn
    audio_sha256: str
    reference: str
    baseline: str
    candidate: str
    """The three texts as they were given."""
    words: tuple[Column, ...] = field(repr=False)
    """The three texts as they were compared."""
    errors_before: int
    errors_after: int
    duration_s: float | None
    """None where the workspace no longer says."""
    parts: tuple[Part, ...]
    """The slices that it is in: group, length, tags."""
    failures: tuple[tuple[str, str], ...] = ()
    """Side and reason, where a transcriber gave nothing."""

    @cached_property
    def change(self) -> int:
        """Word errors of the candidate minus those of the baseline."""
        return self.errors_after - self.errors_before


@dataclass(frozen=True, kw_only=True)
class Sound:
    """The recording of a clip as the page has it."""

    uri: str = ""
    """Empty where it is not on the page."""
    reason: str = ""
    """Why not; empty where there was no room for it."""


@dataclass(frozen=True, kw_only=True)
class Clips:
    """The clips of a page, and what was left out."""

    turns: tuple[tuple[Turn, tuple[tuple[Clip, Sound], ...]], ...]
    """Those that are shown by turn, the greatest change first."""
    totals: Mapping[Turn, int]
    parts: tuple[tuple[str, tuple[str, ...]], ...]
    """Every slice that a shown clip is in: kinds, and the names of each."""
    with_audio: int

    @property
    def total(self) -> int:
        """All clips that there are."""
        return sum(self.totals.values())

    @property
    def shown(self) -> int:
        """Those of them that are on the page."""
        return sum(len(clips) for _, clips in self.turns)

    @cached_property
    def places(self) -> dict[Part, int]:
        """A number for each slice, for the filter."""
        named = [(kind, name) for kind, names in self.parts for name in names]
        return {part: place for place, part in enumerate(named)}


def clip(row: Mapping[str, Any], details: Mapping[str, Any]) -> Clip:
    """From a row of `Comparison.changed`, and of what is known of its recording.

    `details` has the keys of `Validations.utterances` that the row has not: speaker_group,
    duration_s, tags, baseline_error, candidate_error; any may be missing.
    """
    failed = {"live": details.get("baseline_error"), "candidate": details.get("candidate_error")}
    return Clip(
        turn=_turn(row["baseline_errors"], row["candidate_errors"]),
        audio_sha256=row["audio_sha256"],
        reference=row["reference"],
        baseline=row["baseline"],
        candidate=row["candidate"],
        words=columns(row["reference_words"], row["baseline_words"], row["candidate_words"]),
        errors_before=row["baseline_errors"],
        errors_after=row["candidate_errors"],
        duration_s=details.get("duration_s"),
        parts=tuple(_parts(details)),
        failures=tuple((side, reason) for side, reason in failed.items() if reason is not None),
    )


def on_page(clips: Sequence[Clip], sound: Callable[[Clip], str], *, every: bool) -> Clips:
    """Choose what stands on a page, and fetch its recordings by `sound`, as data URIs.

    Losses and gains take turns, the greatest change first, up to `LISTED` and, with their audio,
    `WITH_AUDIO` and `MOST_AUDIO_BYTES`; `every` lifts all three.
    """
    losses = sorted((one for one in clips if one.turn.is_loss), key=lambda one: -one.change)
    gains = sorted((one for one in clips if not one.turn.is_loss), key=lambda one: one.change)
    ordered = [one for both in zip_longest(losses, gains) for one in both if one is not None]
    chosen = ordered if every else ordered[:LISTED]
    heard = list(zip(chosen, _sounds(chosen, sound, every=every), strict=True))
    by_turn = [(turn, tuple(pair for pair in heard if pair[0].turn is turn)) for turn in Turn]
    return Clips(
        turns=tuple((turn, found) for turn, found in by_turn if found),
        totals={turn: sum(one.turn is turn for one in clips) for turn in Turn},
        parts=_named(one.parts for one in chosen),
        with_audio=sum(bool(one.uri) for _, one in heard),
    )


def _turn(before: int, after: int) -> Turn:
    if after > before:
        return Turn.WORSE if before else Turn.BROKEN
    return Turn.BETTER if after else Turn.FIXED


def _parts(details: Mapping[str, Any]) -> Iterator[Part]:
    if details.get("speaker_group"):
        yield GROUP, details["speaker_group"]
    if details.get("duration_s") is not None:
        yield LENGTH, length_band(details["duration_s"])
    yield from sorted((kind, name) for kind, name in details.get("tags", {}).items() if name)


def _sounds(
    chosen: Sequence[Clip], sound: Callable[[Clip], str], *, every: bool
) -> Iterator[Sound]:
    left, room = WITH_AUDIO, MOST_AUDIO_BYTES
    for one in chosen:
        if not every and not left:
            yield Sound()
            continue
        try:
            uri = sound(one)
        except BlobNotFoundError:
            yield Sound(reason="The recording is no longer kept.")
            continue
        except MisheardError:
            # What is wrong with it names files of this machine, and a page goes anywhere.
            yield Sound(reason="The recording cannot be read.")
            continue
        if every or len(uri) <= room:
            left, room = left - 1, room - len(uri)
            yield Sound(uri=uri)
        else:
            yield Sound()


def _named(found: Iterable[Sequence[Part]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    names: dict[str, set[str]] = {}
    for parts in found:
        for kind, name in parts:
            names.setdefault(kind, set()).add(name)
    first = [kind for kind in (GROUP, LENGTH) if kind in names]
    kinds = [*first, *sorted(set(names) - set(first))]
    places = {name: place for place, name in enumerate(LENGTHS)}
    return tuple(
        (kind, tuple(sorted(names[kind], key=lambda name: (places.get(name, 0), name))))
        for kind in kinds
    )
