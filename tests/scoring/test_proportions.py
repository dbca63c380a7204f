from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from misheard.errors import BadInputError
from misheard.monitoring.rollback import wilson_lower
from misheard.scoring.proportions import Proportion, weighted_proportion


def of_draws(hits: list[bool], probabilities: list[float]) -> Proportion:
    weights = [1 / one for one in probabilities]
    made = weighted_proportion(
        trials=len(hits),
        weight=sum(weights),
        hits=sum(weight for hit, weight in zip(hits, weights, strict=True) if hit),
        squared_weight=sum(weight**2 for weight in weights),
    )
    assert made is not None
    return made


@given(st.integers(1, 300), st.data(), st.floats(0.001, 1.0))
def test_with_one_probability_it_is_wilsons_interval(
    trials: int, data: st.DataObject, probability: float
) -> None:
    hits = data.draw(st.integers(0, trials))
    made = of_draws([at < hits for at in range(trials)], [probability] * trials)
    assert made.share == pytest.approx(hits / trials)
    assert made.low == pytest.approx(wilson_lower(hits, trials), abs=1e-9)
    assert made.low <= made.share <= made.high
    # The other end is that of what did not hit.
    assert made.high == pytest.approx(1 - wilson_lower(trials - hits, trials), abs=1e-9)


def test_nothing_drawn_is_no_share() -> None:
    assert weighted_proportion(trials=0, weight=0.0, hits=0.0, squared_weight=0.0) is None
    with pytest.raises(BadInputError):
        weighted_proportion(trials=3, weight=3.0, hits=4.0, squared_weight=3.0)


def test_it_covers_the_truth_when_the_probability_was_changed_in_between() -> None:
    """Half of the traffic is drawn at 1 %, half at 10 %, and they differ in their errors."""
    random = np.random.default_rng(3)
    is_error = np.concatenate([random.random(20_000) < 0.3, random.random(20_000) < 0.1])
    probability = np.repeat([0.01, 0.1], 20_000)
    truth, plain, covered = is_error.mean(), [], 0
    for _ in range(400):
        drawn = random.random(40_000) < probability
        made = of_draws(list(is_error[drawn]), list(probability[drawn]))
        covered += made.low <= truth <= made.high
        plain.append(is_error[drawn].mean())
    assert covered / 400 >= 0.92
    # Without the weights it would be far off.
    assert np.mean(plain) < truth - 0.05
