"""Has a mean moved? A chart over blocks of hours, to be looked at as often as one likes. Pure.

Traffic has its hours and its weekends, and what is odd now is still odd in an hour. So the units
are blocks of several hours, each is compared only with earlier blocks of the same time of day and
the same kind of day, and what follows from the block before is taken out.

The comparison is by rank among the earlier ones ("sequential ranks"): whatever the distribution of
the blocks is, the ranks of an undisturbed series are independent and known, so nothing has to be
estimated and no reference period has to be long enough. Their normal scores are added up in Page's
cumulative sum, which is compared with a limit that is chosen by how often it may be reached by
chance. A chart does not change between two blocks: looking at it each minute costs no more false
alarms than once a day.

    E. S. Page, "Continuous inspection schemes", Biometrika 41 (1954), 100-115.
    D. McDonald, "A cusum procedure based on sequential ranks", Naval Research Logistics 37 (1990),
    627-646. F. Lombard and C. Van Zyl, "Signed sequential rank CUSUMs", Computational Statistics &
    Data Analysis 118 (2018), 30-39.
    D. Siegmund, "Sequential Analysis", Springer (1985): the limit.

docs/monitoring.md has the false-alarm rates and delays that `python -m benchmarks.drift` measures.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from statistics import NormalDist

from misheard.errors import BadInputError

_NORMAL = NormalDist()
_HOURS_A_MONTH = 720
_ALLOWANCE = 0.5
"""Of the sum, in standard deviations a block: changes of twice that are found soonest."""
_OVERSHOOT = 1.166
"""By how much a sum of normal scores passes its limit and stays above zero (Siegmund)."""
_EARLIER = 4
"""So many earlier blocks of the same kind, at least; before that a block is only remembered."""
_PERSISTENCE = 0.3
_PERSISTENCE_BLOCKS = 20
"""What is taken for the correlation of neighbours until the blocks say, and for how many it counts.
"""
_MOST_PERSISTENT = 0.8


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """The traffic of some hours."""

    start: datetime
    total: float
    """Sum over transcripts: of suspicions, of latencies, of empty ones."""
    count: int
    """Of how many transcripts."""

    @property
    def mean(self) -> float:
        """Of its transcripts."""
        return self.total / self.count


@dataclass(frozen=True, kw_only=True)
class DriftRules:
    """How a mean is watched."""

    false_alarms_a_month: float = 0.01
    """Of one chart in one direction, while nothing changes: 0.01 is one in eight years."""
    block_hours: int = 6
    min_count: int = 30
    """A block of fewer transcripts is left out."""


class Direction(StrEnum):
    """Where a mean has gone."""

    NONE = "none"
    RISE = "rise"
    FALL = "fall"


@dataclass(frozen=True, kw_only=True)
class Drift:
    """What the chart says at its last block."""

    direction: Direction
    since: datetime | None
    """When the change began, about; None where there is none."""
    before: float
    """What the blocks since then would have had before, at their times of day; NaN without any."""
    after: float
    """What they have."""
    judged: int
    """Blocks that could be compared with earlier ones."""
    rise: float
    fall: float
    """The two sums, from 0 to the limit."""
    limit: float

    @property
    def change(self) -> float:
        """Of the mean, as a share of what it was; NaN where it has not moved."""
        if not self.before:
            return math.inf if self.after else math.nan
        return self.after / self.before - 1


def detect(blocks: Iterable[Block], rules: DriftRules) -> Drift:
    """Look through `blocks`, oldest first.

    A sum that has reached the limit means a change, and is over when it has fallen to half of it;
    meanwhile nothing is learnt, and what was learnt since the change began is forgotten.
    """
    chart = _Chart(rules)
    for block in blocks:
        chart.add(block)
    return chart.told()


def follow(blocks: Iterable[Block], rules: DriftRules) -> Iterator[Drift]:
    """What the chart says after each block, as `detect` does after the last."""
    chart = _Chart(rules)
    for block in blocks:
        chart.add(block)
        yield chart.told()


@dataclass
class _Kind:
    """The blocks of one time of day and kind of day."""

    means: list[float] = field(default_factory=list)
    """In order of size."""
    total: float = 0.0
    count: int = 0

    def add(self, block: Block) -> None:
        bisect.insort(self.means, block.mean)
        self.total += block.total
        self.count += block.count

    def remove(self, block: Block) -> None:
        self.means.pop(bisect.bisect_left(self.means, block.mean))
        self.total -= block.total
        self.count -= block.count

    def score(self, block: Block) -> float:
        """Normal score of the block's rank among these and itself, of variance 1 by chance."""
        known, mean = len(self.means), block.mean
        below = bisect.bisect_left(self.means, mean)
        equal = bisect.bisect_right(self.means, mean) - below
        share = (below + equal / 2 + 0.5) / (known + 1)
        return _NORMAL.inv_cdf(share) / _spread(known + 1)


@lru_cache(maxsize=4096)
def _spread(count: int) -> float:
    """Standard deviation of the normal scores of `count` ranks."""
    scores = [_NORMAL.inv_cdf((rank + 0.5) / count) for rank in range(count)]
    return math.sqrt(sum(score * score for score in scores) / count)


@dataclass
class _Sum:
    """Page's sum in one direction."""

    value: float = 0.0
    begin: int = 0
    """Place of the first block since it was last zero."""


class _Chart:
    def __init__(self, rules: DriftRules) -> None:
        self._rules = rules
        self._limit = limit_for(rules.false_alarms_a_month, block_hours=rules.block_hours)
        self._kinds: dict[tuple[int, bool], _Kind] = {}
        self._learnt: list[Block] = []
        """Those that are in `_kinds`, in order of time."""
        self._sums = {Direction.RISE: _Sum(), Direction.FALL: _Sum()}
        self._alarm = Direction.NONE
        self._since: list[Block] = []
        self._last: tuple[datetime, float] | None = None
        self._products, self._squares = (
            _PERSISTENCE * _PERSISTENCE_BLOCKS,
            float(_PERSISTENCE_BLOCKS),
        )
        self._judged = 0

    def add(self, block: Block) -> None:
        if block.count < self._rules.min_count:
            return
        kind = self._kind_of(block)
        if len(kind.means) >= _EARLIER:
            self._judge(block, kind)
        if self._alarm is Direction.NONE:
            kind.add(block)
            self._learnt.append(block)
        else:
            self._since.append(block)
            if self._sums[self._alarm].value <= self._limit / 2:
                self._begin_anew()

    def told(self) -> Drift:
        before = after = math.nan
        if self._since:
            count = sum(block.count for block in self._since)
            after = sum(block.total for block in self._since) / count
            before = self._expected(self._since)
        return Drift(
            direction=self._alarm,
            since=self._since[0].start if self._since else None,
            before=before,
            after=after,
            judged=self._judged,
            rise=self._sums[Direction.RISE].value,
            fall=self._sums[Direction.FALL].value,
            limit=self._limit,
        )

    def _kind_of(self, block: Block) -> _Kind:
        key = (block.start.hour // self._rules.block_hours, block.start.weekday() >= 5)
        return self._kinds.setdefault(key, _Kind())

    def _judge(self, block: Block, kind: _Kind) -> None:
        news = self._news(block.start, kind.score(block))
        self._judged += 1
        for direction, sign in ((Direction.RISE, 1.0), (Direction.FALL, -1.0)):
            one = self._sums[direction]
            if not one.value:
                one.begin = len(self._learnt)
            one.value = min(self._limit, max(0.0, one.value + sign * news - _ALLOWANCE))
            if self._alarm is Direction.NONE and one.value >= self._limit:
                self._alarm = direction
        if self._alarm is not Direction.NONE and not self._since:
            self._forget_from(self._sums[self._alarm].begin)

    def _news(self, start: datetime, score: float) -> float:
        """What of a score does not follow from the block before, of variance 1 by chance."""
        last, self._last = self._last, (start, score)
        adjacent = timedelta(hours=self._rules.block_hours)
        if last is None or start - last[0] != adjacent:
            return score
        follows = min(_MOST_PERSISTENT, max(0.0, self._products / self._squares))
        if self._alarm is Direction.NONE:
            self._products += score * last[1]
            self._squares += (score * score + last[1] * last[1]) / 2
        return (score - follows * last[1]) / math.sqrt(1 - follows * follows)

    def _forget_from(self, place: int) -> None:
        self._since = self._learnt[place:]
        del self._learnt[place:]
        for block in self._since:
            self._kind_of(block).remove(block)

    def _begin_anew(self) -> None:
        self._alarm = Direction.NONE
        self._since = []
        for one in self._sums.values():
            one.value = 0.0

    def _expected(self, blocks: Sequence[Block]) -> float:
        """The mean that `blocks` would have, did each have what its kind had before."""
        total, count = 0.0, 0
        for block in blocks:
            kind = self._kind_of(block)
            if kind.count:
                total += block.count * kind.total / kind.count
                count += block.count
        return total / count if count else math.nan


def limit_for(false_alarms_a_month: float, *, block_hours: int) -> float:
    """The limit that a sum reaches so often by chance.

    Siegmund's approximation of the mean number of blocks between two false alarms,
    (exp(2kb) - 2kb - 1) / 2k², with the allowance k and the limit b - 1.166, solved for b.

    >>> round(limit_for(0.01, block_hours=6), 2)
    7.54
    """
    if not 0 < false_alarms_a_month < 10:
        raise BadInputError(f"{false_alarms_a_month} false alarms a month cannot be asked for.")
    wanted = _HOURS_A_MONTH / block_hours / false_alarms_a_month
    low, high = _OVERSHOOT, 60.0
    for _ in range(60):
        middle = (low + high) / 2
        twice = 2 * _ALLOWANCE * middle
        if (math.exp(twice) - twice - 1) / (2 * _ALLOWANCE**2) < wanted:
            low = middle
        else:
            high = middle
    return max(0.5, high - _OVERSHOOT)
