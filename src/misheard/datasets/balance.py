"""Show rare types of error more often, and leave none out. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

_MOST = 3.0
"""More repetitions than this teach a clip by heart."""


def balanced_weights(types: Sequence[Sequence[str]]) -> list[float]:
    """How often an epoch shows each utterance, from the types of error of each; never less than 1.

    The square root of how much rarer its rarest type is than the most frequent one: half-way, on a
    log scale, between what came and equal shares (as Mikolov et al. 2013 resample words and Lample
    and Conneau 2019 languages). An utterance without an error has weight 1.

    >>> balanced_weights([["substitution"]] * 9 + [["deletion"], []])[-3:]
    [1.0, 3.0, 1.0]
    """
    counts = Counter(name for names in types for name in set(names))
    most = max(counts.values(), default=0)
    return [
        round(min(_MOST, math.sqrt(most / min(counts[name] for name in names))), 3)
        if names
        else 1.0
        for names in types
    ]
