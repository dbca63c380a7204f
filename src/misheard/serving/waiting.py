"""What waits for an engine, and which of it makes the next batch: no clock and no threads."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
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
    """Whose it is."""
    number: int
    """Which of its owner's pieces, from 0."""
    stretch: Stretch
    options: DecodingOptions | None
    """None where the engine knows none."""
    window: int
    """Only pieces with the same, and the same options, are heard together."""
    lane: Lane
    arrived_s: float
    """On a monotonic clock."""
    is_alone: bool = False
    """Heard by itself, since a batch that it was in has failed."""

    @property
    def duration_s(self) -> float:
        """Seconds of audio."""
        return self.stretch.duration_s

    def fits(self, other: Piece) -> bool:
        """Whether both may be heard together."""
        return (
            (self.window, self.options) == (other.window, other.options)
            and not self.is_alone
            and not other.is_alone
        )


@dataclass(frozen=True, kw_only=True)
class BatchingRules:
    """How waiting clips become batches, and how many may wait."""

    max_wait_ms: float = 5.0
    """A clip waits so long for company when the engine has time for it."""
    max_batch: int = 16
    """Pieces heard together."""
    max_batch_s: float = 60.0
    """Seconds of audio heard together, each piece counted as the longest of them: whoever comes
    later waits for a batch that has begun."""
    max_long_batch_s: float = 30.0
    """The same for pieces of long clips, and for those that nobody waits for."""
    long_share: float = 0.25
    """Of what is heard while short clips wait, so much is of long ones, by seconds of audio."""
    max_waiting: int = 128
    """Clips that may wait or be under way; the next one is refused."""
    max_waiting_audio_s: float = 14_400.0
    """Seconds of audio that may wait or be under way; one clip may be longer, by itself."""
    max_background: int = 4
    """Of clips that nobody waits for."""


class Waiting:
    """Pieces in the order in which they are due, by lane."""

    def __init__(self, rules: BatchingRules) -> None:
        self._rules = rules
        self._lanes: dict[Lane, list[Piece]] = {lane: [] for lane in Lane}
        self._spent_s = dict.fromkeys(Lane, 0.0)

    def __iter__(self) -> Iterator[Piece]:
        for pieces in self._lanes.values():
            yield from pieces

    @property
    def is_urgent(self) -> bool:
        """Whether any of it is waited for."""
        return bool(self._lanes[Lane.SHORT] or self._lanes[Lane.LONG])

    def add(self, pieces: Sequence[Piece]) -> None:
        """They wait from now on."""
        for piece in pieces:
            self._lanes[piece.lane].append(piece)

    def put_back(self, batch: Sequence[Piece]) -> None:
        """Those of a batch that failed are due next, each alone."""
        for piece in reversed(batch):
            self._lanes[piece.lane].insert(0, replace(piece, is_alone=True))

    def drop(self, owner: int) -> None:
        """Nothing of this owner waits any longer."""
        for lane, pieces in self._lanes.items():
            self._lanes[lane] = [piece for piece in pieces if piece.owner != owner]

    def ripe_in_s(self, now_s: float) -> float | None:
        """In how many seconds a batch is to begin; None where nothing waits."""
        lanes = [pieces for pieces in self._lanes.values() if pieces]
        if not lanes:
            return None
        if any(len(pieces) >= self._rules.max_batch for pieces in lanes):
            return 0.0
        oldest_s = min(pieces[0].arrived_s for pieces in lanes)
        return max(0.0, oldest_s + self._rules.max_wait_ms / 1_000 - now_s)

    def take(self, *, idle: int, is_background_allowed: bool = True) -> list[Piece]:
        """The next batch, shortest piece first; its pieces wait no longer.

        It is the piece that is due, and those that are heard with it, nearest in length: as many
        as leave their share for each of the `idle` threads. Empty where nothing may go.
        """
        lane = self._next_lane()
        if lane is None or (lane is Lane.BACKGROUND and not is_background_allowed):
            return []
        batch = self._batch(lane, math.ceil(len(self._lanes[lane]) / idle))
        left = [piece for piece in self._lanes[lane] if piece not in batch]
        served = {piece.owner for piece in batch}
        # Whoever had a turn goes to the back, so that long clips take turns.
        self._lanes[lane] = sorted(left, key=lambda piece: piece.owner in served)
        self._spent_s[lane] += len(batch) * batch[-1].duration_s
        return batch

    def _next_lane(self) -> Lane | None:
        """Short clips go first, unless long ones have had less than their share beside them."""
        if not (self._lanes[Lane.SHORT] and self._lanes[Lane.LONG]):
            self._spent_s = dict.fromkeys(Lane, 0.0)
            return next((lane for lane in Lane if self._lanes[lane]), None)
        spent_s = self._spent_s[Lane.SHORT] + self._spent_s[Lane.LONG]
        is_owed = self._spent_s[Lane.LONG] < spent_s * self._rules.long_share
        return Lane.LONG if is_owed else Lane.SHORT

    def _batch(self, lane: Lane, share: int) -> list[Piece]:
        rules = self._rules
        due, *others = self._lanes[lane]
        most = min(rules.max_batch, share)
        most_s = rules.max_batch_s if lane is Lane.SHORT else rules.max_long_batch_s
        batch = [due]
        near = sorted(
            (piece for piece in others if piece.fits(due)),
            key=lambda piece: abs(piece.duration_s - due.duration_s),
        )
        for piece in near:
            longest_s = max(one.duration_s for one in [*batch, piece])
            if len(batch) < most and (len(batch) + 1) * longest_s <= most_s:
                batch.append(piece)
        return sorted(batch, key=lambda piece: piece.duration_s)
