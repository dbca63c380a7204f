"""How long callers waited, counted in buckets from which any quantile can be told after years.

DDSketch's mapping: bucket i holds what is above γ^(i-1) and at most γ^i, so a bucket's middle is
within (γ-1)/(γ+1) of all that is in it, whatever its size. Counts of hours, versions and slices add
up to just those of all of it, which quantiles themselves never do.

Masson, Rim and Lee, "DDSketch: A Fast and Fully-Mergeable Quantile Sketch with Relative-Error
Guarantees", VLDB 2019, https://arxiv.org/abs/1908.10693
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from misheard.database.schema import latency_totals

# 23 would be enough for 5 %, but then a second would be no bound.
_PER_DECADE = 24
_GAMMA = 10 ** (1 / _PER_DECADE)
ACCURACY = (_GAMMA - 1) / (_GAMMA + 1)
"""How far a quantile may be off, as a share of it: 0.048."""
_LEAST_S, _MOST_S = 1e-4, 1e5
FIRST, LAST = -4 * _PER_DECADE, 5 * _PER_DECADE + 1
"""The buckets of what is too short to matter (a tenth of a millisecond at most, and nothing at
all), told as 0, and of what nobody waits for (more than a day), told as 100,000 s."""


def bucket_of(latency_s: float) -> int:
    """The bucket that a latency falls into; any number has one.

    >>> bucket_of(1.0), bucket_of(1.05), bucket_of(0.0), bucket_of(math.inf)
    (0, 1, -96, 121)
    """
    # NaN compares false.
    if not latency_s > _LEAST_S:
        return FIRST
    return LAST if latency_s > _MOST_S else math.ceil(math.log10(latency_s) * _PER_DECADE)


def upper_bound_s(bucket: int) -> float:
    """The longest latency of a bucket that is not the last."""
    return float(10 ** (bucket / _PER_DECADE))


def value_s(bucket: int) -> float:
    """What a latency of this bucket is told as: at most `ACCURACY` away from each of them."""
    if bucket == FIRST:
        return 0.0
    return _MOST_S if bucket == LAST else upper_bound_s(bucket) * 2 / (_GAMMA + 1)


def quantile_s(counts: Mapping[int, int], share: float) -> float:
    """The latency that `share` of the callers waited at most, by bucket → count; NaN where none is.

    That of rank ⌊1 + share · (n - 1)⌋ of n, the shortest first.

    >>> round(quantile_s({bucket_of(0.2): 95, bucket_of(3.0): 5}, 0.95), 1)
    0.2
    """
    total = sum(counts.values())
    if not total:
        return math.nan
    rank, buckets = share * (total - 1), sorted(counts)
    seen = accumulate(counts[bucket] for bucket in buckets)
    return value_s(next(one for one, so_far in zip(buckets, seen, strict=True) if so_far > rank))


def add(to: Counter[int], counts: Mapping[Any, int]) -> None:
    """Add what another hour, version or slice counted; keys may be texts, as JSON has them.

    >>> counts = Counter({-7: 5})
    >>> add(counts, {"-7": 2, "3": 1})
    >>> counts
    Counter({-7: 7, 3: 1})
    """
    for bucket, count in counts.items():
        to[int(bucket)] += count


def add_to_totals(connection: Connection, counts: Mapping[tuple[str, int], int]) -> None:
    """Version and bucket → count, on top of what was counted since ever."""
    # In one order, so that two who add to the same rows do not wait for each other.
    rows = [
        {"version_id": version_id, "bucket": bucket, "count": count}
        for (version_id, bucket), count in sorted(counts.items())
    ]
    if not rows:
        return
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    insert = dialect.insert(latency_totals)
    more = {"count": latency_totals.c["count"] + insert.excluded["count"]}
    keys = ["version_id", "bucket"]
    connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=more), rows)
