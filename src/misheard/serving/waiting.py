"""What waits for an engine, and which of it makes the next batch: no clock and no threads."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

from misheard.speech.decoding import DecodingOptions
from misheard.speech.long_audio import Stretch


class Lane(Enum):
    """Who goes before whom."""

    SHORT = auto()
    """Clips that are heard in one piece: first."""
    LONG = auto()
    """Pieces of longer ones: after them, with a share of their own."""
    BACKGROUND = auto()
    """What nobody waits for: when there is nothing else."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Piece:
    """What is heard in one go: a clip, or a stretch of a long one."""

    owner: int
    """Whose it is; the pieces of one owner are heard in order."""
    number: int
    """Which of its owner's pieces, from 0."""
    stretch: Stretch
    options: DecodingOptions | None
    window: int
    """Only pieces with the same are heard together."""
    lane: Lane
    arrived_s: float
    """On a monotonic clock."""
    is_alone: bool = False
    """Heard by itself, since a batch that it was in has failed."""

    @property
    def duration_s(self) -> float:
        """Seconds of audio."""
        return self.stretch.duration_s


@dataclass(frozen=True, kw_only=True)
class BatchingRules:
    """How waiting clips become batches, and how many may wait."""

    max_wait_ms: float = 5.0
    """A clip waits so long for company, when the engine has time for it; else until it has."""
    max_batch: int = 16
    """Pieces heard together."""
    max_batch_s: float = 60.0
    """Seconds of audio heard together, each piece counted as the longest: short clips wait for a
    batch that has begun, so none may take long."""
    max_long_batch_s: float = 30.0
    """The same for pieces of clips that are heard in several."""
    long_share: float = 0.25
    """Of the engine, for pieces of long clips while short ones wait."""
    patience_ms: float = 250.0
    """The largest batch goes first, unless a clip has waited so long."""
    max_waiting: int = 128
    """Clips that may wait or be under way; the next one is refused."""
    max_waiting_audio_s: float = 14_400.0
    """Seconds of audio that may wait or be under way; a longer clip is taken when it is alone."""
    max_background: int = 4
    """Clips that nobody waits for which may wait or be under way."""


class Waiting:
    """Pieces in the order of their arrival, by lane."""

    def __init__(self, rules: BatchingRules) -> None:
        self._rules = rules
        self._lanes: dict[Lane, list[Piece]] = {lane: [] for lane in Lane}
        self._spent = dict.fromkeys(Lane, 0.0)

    def __len__(self) -> int:
        return sum(len(pieces) for pieces in self._lanes.values())

    def __iter__(self) -> Iterator[Piece]:
        for pieces in self._lanes.values():
            yield from pieces

    def add(self, pieces: Sequence[Piece]) -> None:
        """They wait from now on."""
        for piece in pieces:
            self._lanes[piece.lane].append(piece)

    def put_back(self, batch: Sequence[Piece]) -> None:
        """Those of a batch that failed: next, each alone."""
        for piece in reversed(batch):
            self._lanes[piece.lane].insert(0, replace(piece, is_alone=True))

    def drop(self, owner: int) -> None:
        """Nothing of this owner waits any longer."""
        for lane, pieces in self._lanes.items():
            self._lanes[lane] = [piece for piece in pieces if piece.owner != owner]

    def ripe_in_s(self, now_s: float) -> float | None:
        """In how many seconds a batch should begin at the latest; None where nothing waits."""
        oldest_s = [pieces[0].arrived_s for pieces in self._lanes.values() if pieces]
        if not oldest_s:
            return None
        if any(len(pieces) >= self._rules.max_batch for pieces in self._lanes.values()):
            return 0.0
        return max(0.0, min(oldest_s) + self._rules.max_wait_ms / 1_000 - now_s)

    def take(self, now_s: float, *, idle: int, is_background_allowed: bool = True) -> list[Piece]:
        """The next batch, shortest piece first; they wait no longer.

        `idle` threads are there to share what waits. Empty where nothing may go.
        """
        lane = self._next_lane()
        if lane is None or (lane is Lane.BACKGROUND and not is_background_allowed):
            return []
        group = self._next_group(lane, now_s)
        batch = self._cut(group, lane, idle)
        left = [piece for piece in self._lanes[lane] if piece not in batch]
        served = {piece.owner for piece in batch}
        # Those who had a turn go to the back, so that long clips take turns.
        self._lanes[lane] = sorted(left, key=lambda piece: piece.owner in served)
        self._spent[lane] += len(batch) * batch[-1].duration_s
        return batch

    def _next_lane(self) -> Lane | None:
        """Long pieces go when they have had less than their share since both wait."""
        short, long = self._lanes[Lane.SHORT], self._lanes[Lane.LONG]
        if short and long:
            share = self._rules.long_share
            spent_long_s, spent_short_s = self._spent[Lane.LONG], self._spent[Lane.SHORT]
            is_owed = spent_long_s * (1 - share) < spent_short_s * share
            return Lane.LONG if is_owed else Lane.SHORT
        self._spent = dict.fromkeys(Lane, 0.0)
        return next((lane for lane in Lane if self._lanes[lane]), None)

    def _next_group(self, lane: Lane, now_s: float) -> list[Piece]:
        """Pieces that may be heard together, in the order in which they came."""
        pieces = self._lanes[lane]
        oldest = pieces[0]
        if oldest.is_alone:
            return [oldest]
        groups: dict[Hashable, list[Piece]] = defaultdict(list)
        for piece in pieces:
            if not piece.is_alone:
                groups[piece.options, piece.window].append(piece)
        if now_s - oldest.arrived_s >= self._rules.patience_ms / 1_000:
            return groups[oldest.options, oldest.window]
        return max(groups.values(), key=len)

    def _cut(self, group: list[Piece], lane: Lane, idle: int) -> list[Piece]:
        """The neighbours by length of the oldest, as many as make a batch."""
        oldest = group[0]
        most = self._rules.max_batch
        if idle > 1:
            most = min(most, math.ceil(len(self._lanes[lane]) / idle))
        is_long = lane is Lane.LONG
        most_s = self._rules.max_long_batch_s if is_long else self._rules.max_batch_s
        batch = [oldest]
        by_nearness = sorted(group[1:], key=lambda one: abs(one.duration_s - oldest.duration_s))
        for piece in by_nearness[: most - 1]:
            longest_s = max(batch[-1].duration_s, piece.duration_s)
            if (len(batch) + 1) * longest_s > most_s:
                break
            batch = sorted([*batch, piece], key=lambda one: one.duration_s)
        return batch
