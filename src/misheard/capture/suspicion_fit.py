"""Learn from corrections which signals tell what is wrong; needs scikit-learn.

A fit starts from the defaults: their log-odds are one column, free to be stretched, beside every
input, whose weights are held near 0. With few labels the ranking stays that of the defaults; with
many it is what the labels say. What no label has shown keeps its default weight.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from misheard.capture.suspicion import (
    DEFAULTS,
    FEATURES,
    INPUTS,
    Floats,
    SuspicionModel,
    indicator_of,
    inputs,
)
from misheard.errors import TooFewLabelsError
from misheard.optional import optional

MIN_OF_EACH = 20
"""Wrong transcripts, and right ones, below which nothing is fitted."""
FOLDS = 5
_STRENGTHS = (0.001, 0.01, 0.1, 1.0)
"""How freely weights leave the defaults: scikit-learn's C."""
_CAUTIOUS = 0.01
_FREE = 10.0
"""The defaults' column is so much larger than the others that hardly anything holds its weight."""


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Labelled transcripts, one a row."""

    features: Floats
    """As `suspicion.features` makes them."""
    errors: NDArray[np.bool_]
    weights: Floats
    """How many transcripts of the traffic each stands for."""
    groups: NDArray[Any]
    """What goes right and wrong together."""

    def __len__(self) -> int:
        return len(self.errors)

    def part(self, chosen: NDArray[Any]) -> Examples:
        """Those that an index or a mask chooses."""
        return Examples(
            features=self.features[chosen],
            errors=self.errors[chosen],
            weights=self.weights[chosen],
            groups=self.groups[chosen],
        )

    @property
    def fewest(self) -> int:
        """How many there are of the rarer kind, wrong or right."""
        wrong = int(self.errors.sum())
        return min(wrong, len(self) - wrong)


def require_enough(examples: Examples) -> None:
    """`TooFewLabelsError` where a fit could not be judged."""
    wrong, groups = int(examples.errors.sum()), len(set(examples.groups.tolist()))
    right = len(examples) - wrong
    if min(wrong, right) < MIN_OF_EACH:
        raise TooFewLabelsError(
            f"{wrong} transcripts are corrected and {right} confirmed as right; needed are "
            f"{MIN_OF_EACH} of each. Until then the default weights hold."
        )
    if groups < FOLDS:
        raise TooFewLabelsError(
            f"They come from {groups} speaker groups, and a fit is judged on groups that it has "
            f"not seen: needed are {FOLDS}. Give speaker_group with what you record."
        )


def fit(examples: Examples) -> SuspicionModel:
    """A model of all `examples`, as cautious as does best on groups that it has not seen."""
    require_enough(examples)
    return _fitted(examples, _strength(examples))


def out_of_fold(
    examples: Examples,
    *,
    learn_from: NDArray[np.bool_] | None = None,
    otherwise: SuspicionModel = DEFAULTS,
) -> Floats:
    """Log-odds of each row by a model that saw nothing of the row's group.

    `learn_from` marks the rows that may be learnt from at all. Where too few are left for a fold,
    its rows are scored by `otherwise`.
    """
    allowed = np.ones(len(examples), np.bool_) if learn_from is None else learn_from
    scores = np.empty(len(examples))
    for learnt, judged in _folds(examples):
        known = examples.part(learnt[allowed[learnt]])
        model = otherwise
        if known.fewest >= MIN_OF_EACH // 2:
            model = _fitted(known, _strength(known))
        scores[judged] = model.log_odds(examples.features[judged])
    return scores


def within_folds(scores: Floats, examples: Examples) -> Floats:
    """Each row's place among those of its fold: the share that is less suspicious, 0 to 1.

    Folds are scored by different models, whose scores do not compare: where a fold has fewer errors
    than others its model has seen more of them, and rates it higher (Forman and Scholz,
    "Apples-to-apples in cross-validation studies", SIGKDD Explorations 12, 2010). Rows with equal
    scores share a place.
    """
    places = np.empty(len(examples))
    for _, judged in _folds(examples):
        known, which = np.unique(scores[judged], return_inverse=True)
        weights = np.bincount(which, examples.weights[judged], minlength=len(known))
        above = np.cumsum(weights)
        places[judged] = ((above - weights / 2) / above[-1])[which]
    return places


def log_loss(log_odds: Floats, examples: Examples) -> float:
    """Mean of minus the logarithm of the chance that was given to what came, weighted."""
    signed = np.where(examples.errors, log_odds, -log_odds)
    return float(np.average(np.logaddexp(0.0, -signed), weights=examples.weights))


def _folds(examples: Examples) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    selection = optional("sklearn.model_selection", extra="suspicion")
    folds = selection.StratifiedGroupKFold(n_splits=FOLDS)
    yield from folds.split(examples.features, examples.errors, examples.groups)


def _strength(examples: Examples) -> float:
    if examples.fewest < FOLDS or len(set(examples.groups.tolist())) < FOLDS:
        return _CAUTIOUS
    losses = np.zeros(len(_STRENGTHS))
    for learnt, judged in _folds(examples):
        known, rest = examples.part(learnt), examples.part(judged)
        if not known.fewest or not len(rest):
            continue
        for at, strength in enumerate(_STRENGTHS):
            scores = _fitted(known, strength).log_odds(rest.features)
            losses[at] += log_loss(scores, rest) * rest.weights.sum()
    return _STRENGTHS[int(np.argmin(losses))]


def _fitted(examples: Examples, strength: float) -> SuspicionModel:
    means, scales = _units(examples)
    columns = inputs(examples.features, means, scales)
    prior = _FREE * DEFAULTS.log_odds(examples.features)
    intercept, (stretch, *own) = _regression(
        np.hstack([prior[:, None], columns]), examples, strength
    )
    if stretch < 0:
        # What is least suspicious by the defaults is wrong here: they are no place to start from.
        intercept, own = _regression(columns, examples, strength)
        stretch = 0.0
    weights, prior_intercept = _in_units(means, scales)
    unseen = _unseen(examples)
    return SuspicionModel(
        intercept=intercept + _FREE * stretch * prior_intercept,
        weights={
            name: weights[name] if name in unseen else weight + _FREE * stretch * weights[name]
            for name, weight in zip(INPUTS, own, strict=True)
        },
        means=dict(zip(FEATURES, means.tolist(), strict=True)),
        scales=dict(zip(FEATURES, scales.tolist(), strict=True)),
    )


def _regression(columns: Floats, examples: Examples, strength: float) -> tuple[float, list[float]]:
    """Intercept and weights."""
    linear_model = optional("sklearn.linear_model", extra="suspicion")
    # Weights that differ a lot carry less than their number says (Kish, "Survey sampling", 1965).
    total = examples.weights.sum()
    effective = total**2 / np.square(examples.weights).sum()
    # Made for many rows and few columns, whatever their sizes: no tolerance has to be chosen.
    made = linear_model.LogisticRegression(C=strength, solver="newton-cholesky")
    made.fit(columns, examples.errors, sample_weight=examples.weights * effective / total)
    return float(made.intercept_[0]), made.coef_[0].tolist()


def _unseen(examples: Examples) -> set[str]:
    """Features that are the same in all rows where they are known: they keep their weights.

    There they add nothing, for their mean is what they are.
    """
    columns = (examples.features[:, at] for at in range(len(FEATURES)))
    known = (column[~np.isnan(column)] for column in columns)
    return {
        name
        for name, values in zip(FEATURES, known, strict=True)
        if not len(values) or values.min() == values.max()
    }


def _units(examples: Examples) -> tuple[Floats, Floats]:
    """Mean and spread of each feature where it is known; the defaults' where that says nothing."""
    means, scales = [], []
    for at, name in enumerate(FEATURES):
        column = examples.features[:, at]
        known = ~np.isnan(column)
        mean, scale = DEFAULTS.means[name], DEFAULTS.scales[name]
        if known.any():
            weights = examples.weights[known]
            found = float(np.average(column[known], weights=weights))
            spread = float(np.sqrt(np.average((column[known] - found) ** 2, weights=weights)))
            # A rare flag would otherwise be thousands of spreads away when it comes.
            mean, scale = found, max(spread, DEFAULTS.scales[name] / 4)
        means.append(mean)
        scales.append(scale)
    return np.array(means), np.array(scales)


def _in_units(means: Floats, scales: Floats) -> tuple[dict[str, float], float]:
    """The defaults' weights and intercept for inputs in other units; they score the same.

    What a feature adds where it is known but 0 in the new units goes to the intercept, and is taken
    back by the indicator where it is missing.
    """
    weights = {name: DEFAULTS.weights.get(name, 0.0) for name in INPUTS}
    intercept = DEFAULTS.intercept
    for at, name in enumerate(FEATURES):
        slope = DEFAULTS.weights.get(name, 0.0) / DEFAULTS.scales[name]
        shift = slope * float(means[at] - DEFAULTS.means[name])
        weights[name] = slope * float(scales[at])
        intercept += shift
        if (indicator := indicator_of(name)) is not None:
            weights[indicator] -= shift
    return weights, intercept
