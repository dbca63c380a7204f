"""How well a ranking puts what is wrong first: precision and recall at a reviewing budget. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHARES = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Shares of all transcripts that somebody might review."""

_Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What reviewing the first so many comes to."""

    share: float
    """Of all transcripts, 0 to 1."""
    precision: float
    """Share of the reviewed that are wrong; NaN where there are none."""
    recall: float
    """Share of the wrong that are reviewed; NaN where nothing is wrong."""


def at_budgets(
    scores: _Array,
    errors: _Array,
    weights: _Array | None = None,
    *,
    shares: Sequence[float] = SHARES,
) -> list[Budget]:
    """Precision and recall when the highest `scores` are reviewed, up to each share.

    Equal scores stand in random order, so what is given is the mean over all orders of them; a
    transcript that is only partly within the budget counts in part. `weights` say how many
    transcripts of the traffic each stands for.
    """
    reached, wrong = _curve(scores, errors, weights)
    made = []
    for share in shares:
        reviewed, total = share * float(reached[-1]), float(wrong[-1])
        found = float(np.interp(reviewed, reached, wrong))
        made.append(
            Budget(
                share=share,
                precision=found / reviewed if reviewed else float("nan"),
                recall=found / total if total else float("nan"),
            )
        )
    return made


def average_precision(scores: _Array, errors: _Array, weights: _Array | None = None) -> float:
    """The mean of the precision over the recall; equal scores are one step.

    Sum over steps of (recall gained) · (precision there): Zhu, "Recall, precision and average
    precision" (University of Waterloo, 2004), as scikit-learn has it. Chance gives the share of
    errors. NaN where nothing is wrong.

    >>> average_precision(np.array([0.9, 0.8, 0.1]), np.array([True, False, True]))
    0.8333333333333333
    """
    reached, wrong = _curve(scores, errors, weights)
    if not wrong[-1]:
        return float("nan")
    return float(np.sum(np.diff(wrong) * wrong[1:] / reached[1:]) / wrong[-1])


def _curve(scores: _Array, errors: _Array, weights: _Array | None) -> tuple[_Array, _Array]:
    """Weight reviewed and weight of the wrong among it, after each run of equal scores, from 0."""
    given = np.ones(len(scores)) if weights is None else np.asarray(weights, np.float64)
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    order = order[given[order] > 0]
    sorted_scores = np.asarray(scores, np.float64)[order]
    ends = np.append(np.flatnonzero(np.diff(sorted_scores)), len(order) - 1)
    reached = np.cumsum(given[order])
    wrong = np.cumsum(given[order] * np.asarray(errors, np.float64)[order])
    if not len(order):
        return np.zeros(1), np.zeros(1)
    return np.append(0.0, reached[ends]), np.append(0.0, wrong[ends])
