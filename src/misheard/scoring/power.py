"""How much test speech it takes to tell a difference from chance."""

from __future__ import annotations

import math
from statistics import NormalDist

from misheard.errors import BadInputError

_NORMAL = NormalDist()


def power(effect: float, standard_error: float, *, alpha: float = 0.05) -> float:
    """Chance that a two-sided test at level `alpha` finds a true effect, and its direction.

    `effect` and `standard_error` are in the same unit, such as a difference of WER, and the error
    is that of the mean over blocks (`BootstrapIntervals.standard_error`): Φ(|effect| / error - z),
    with z the quantile of 1 - alpha / 2. By the normal approximation: with few groups the true
    power is lower. Without any effect it is alpha / 2.
    """
    _check(effect, standard_error, alpha)
    if not standard_error:
        return 1.0 if effect else alpha / 2
    return _NORMAL.cdf(abs(effect) / standard_error - _NORMAL.inv_cdf(1 - alpha / 2))


def words_needed(
    words: int, effect: float, standard_error: float, *, alpha: float = 0.05, power: float = 0.8
) -> int | None:
    """How many more words of the same kind would settle a comparison of `words` words.

    `effect` is how far the observed difference lies from the limit that it is held to (zero for
    "better at all"), `standard_error` its error over blocks at `words` words. The error falls with
    the square root of the words, so n · ((z₁₋α/₂ + z_power) / z_observed)² - n are missing, if the
    effect is as large as it looks. 0 where there are enough; None where no number would do, since
    there is no effect. More words means more groups, not longer ones.

    >>> words_needed(1000, 0.01, 0.005)
    963
    """
    _check(effect, standard_error, alpha)
    if words < 0 or not 0 < power < 1:
        raise BadInputError(f"{words} words and a power of {power} make no plan.")
    if not effect:
        return None
    wanted = _NORMAL.inv_cdf(1 - alpha / 2) + _NORMAL.inv_cdf(power)
    return max(0, math.ceil(words * ((wanted * standard_error / effect) ** 2 - 1)))


def _check(effect: float, standard_error: float, alpha: float) -> None:
    if not (math.isfinite(effect) and math.isfinite(standard_error) and standard_error >= 0):
        raise BadInputError(f"An effect of {effect} with a standard error of {standard_error}.")
    if not 0 < alpha < 1:
        raise BadInputError(f"A level lies between 0 and 1, not at {alpha}.")
