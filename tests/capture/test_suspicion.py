"""The logistic model: what it makes of signals, of missing ones, and of corrections."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from misheard.capture.ranking import average_precision
from misheard.capture.signals import Signals
from misheard.capture.suspicion import DEFAULTS, INPUTS, SuspicionModel, features
from misheard.capture.suspicion_fit import (
    Examples,
    _in_units,
    fit,
    out_of_fold,
    within_folds,
)
from misheard.errors import TooFewLabelsError

NOTHING = Signals(None, None, None, None, 0.0, None, None, 0.0, None, 5)
PLAIN = Signals(-0.2, 0.02, None, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 5)
SIGNALS = st.builds(
    Signals,
    avg_logprob=st.none() | st.floats(-20, 1),
    no_speech_prob=st.none() | st.floats(0, 1),
    compression=st.none() | st.floats(0, 50),
    speed=st.none() | st.floats(-100, 1e4),
    repetition=st.floats(0, 1),
    empty=st.none() | st.sampled_from([0.0, 1.0]),
    lone_word=st.none() | st.sampled_from([0.0, 1.0]),
    phrase=st.sampled_from([0.0, 0.5, 1.0]),
    disagreement=st.none() | st.floats(0, 1),
    words=st.integers(0, 100_000),
)


@given(signals=st.lists(SIGNALS, max_size=20))
def test_a_suspicion_is_a_chance_whatever_is_missing(signals: list[Signals]) -> None:
    scores = DEFAULTS.score(signals)
    assert scores.shape == (len(signals),)
    assert np.all((scores >= 0) & (scores <= 1))


@pytest.mark.parametrize(
    "worse",
    [
        {"avg_logprob": -1.5},
        {"no_speech_prob": 0.9},
        {"compression": 5.0},
        {"speed": 4.0},
        {"speed": -4.0},
        {"repetition": 0.8},
        {"empty": 1.0},
        {"lone_word": 1.0},
        {"phrase": 1.0},
        {"disagreement": 0.5},
        {"words": 60},
    ],
)
def test_each_signal_raises_suspicion_by_default(worse: dict[str, float]) -> None:
    plain, bad = DEFAULTS.score([PLAIN, PLAIN._replace(**worse)])
    assert bad > plain


def test_little_is_suspected_of_what_is_plain_or_unknown_by_default() -> None:
    plain, nothing = DEFAULTS.score([PLAIN, NOTHING])
    assert max(plain, nothing) < 0.3


def test_a_model_is_the_same_after_json() -> None:
    stored = json.loads(json.dumps(DEFAULTS.to_dict()))
    assert SuspicionModel.from_dict(stored) == DEFAULTS
    assert SuspicionModel.from_dict(stored | {"weights": {"of another version": 1.0}}) is None


@given(
    means=st.lists(st.floats(-3, 3), min_size=12, max_size=12),
    scales=st.lists(st.floats(0.1, 5), min_size=12, max_size=12),
    signals=st.lists(SIGNALS, min_size=1, max_size=20),
)
def test_in_other_units_the_defaults_score_the_same(
    means: list[float], scales: list[float], signals: list[Signals]
) -> None:
    """With missing ones, too: an indicator takes back what stands in for them."""
    weights, intercept = _in_units(np.array(means), np.array(scales))
    other = SuspicionModel(
        intercept=intercept,
        weights=weights,
        means=dict(zip(DEFAULTS.means, means, strict=True)),
        scales=dict(zip(DEFAULTS.means, scales, strict=True)),
    )
    made = features(signals)
    assert other.log_odds(made) == pytest.approx(DEFAULTS.log_odds(made), abs=1e-6)


def examples(count: int, *, seed: int = 0, lengths_matter: bool = False) -> Examples:
    """What is wrong shows in the log-probability; or, against the defaults, in short texts."""
    random = np.random.default_rng(seed)
    words = random.integers(1, 30, count)
    doubt = random.gamma(2.0, 0.2, count)
    if lengths_matter:
        chance = 1 / (1 + np.exp(0.4 * (words - 5)))
    else:
        chance = 1 / (1 + np.exp(4 - 5 * doubt))
    made = features(
        [
            PLAIN._replace(avg_logprob=-float(one), words=int(n))
            for one, n in zip(doubt, words, strict=True)
        ]
    )
    return Examples(
        features=made,
        errors=random.random(count) < chance,
        weights=np.ones(count),
        groups=np.array([f"group {n % 20}" for n in range(count)], np.object_),
    )


def test_a_fit_learns_what_the_defaults_get_wrong() -> None:
    learnt, later = examples(400, lengths_matter=True), examples(2_000, seed=1, lengths_matter=True)
    model = fit(learnt)
    assert set(model.weights) == set(INPUTS)
    by_defaults = average_precision(DEFAULTS.log_odds(later.features), later.errors)
    fitted = average_precision(model.log_odds(later.features), later.errors)
    assert fitted > by_defaults + 0.2
    # And what was said of it beforehand, out of fold, is about what comes.
    said = average_precision(out_of_fold(learnt), learnt.errors)
    assert said == pytest.approx(fitted, abs=0.15)


def test_scores_of_folds_that_do_not_compare_are_compared_by_place() -> None:
    given = examples(200)
    places = within_folds(given.features[:, 0], given)
    assert np.all((places > 0) & (places < 1))
    assert average_precision(places, given.errors) > 0.5
    assert within_folds(2 * given.features[:, 0] - 5, given) == pytest.approx(places)
    assert within_folds(np.zeros(200), given) == pytest.approx(0.5)


def test_where_nothing_was_heard_silence_is_no_ground_for_suspicion() -> None:
    """And doubt is of text that was thrown away."""
    empty = PLAIN._replace(words=0, empty=1.0, avg_logprob=-3.0)
    silence, speech = DEFAULTS.score(
        [empty._replace(no_speech_prob=0.95), empty._replace(no_speech_prob=0.05)]
    )
    assert silence < 0.3
    assert speech > 0.5


def test_with_few_labels_a_fit_stays_near_the_defaults() -> None:
    few, later = examples(150, seed=3), examples(2_000, seed=4)
    by_defaults = average_precision(DEFAULTS.log_odds(later.features), later.errors)
    fitted = average_precision(fit(few).log_odds(later.features), later.errors)
    assert fitted > by_defaults - 0.05


def test_chances_are_those_of_the_traffic_where_labels_were_drawn_at_random() -> None:
    """Half of the labels are all errors that people sent in; the audit says how many there are."""
    drawn, later = examples(600, seed=5), examples(4_000, seed=6)
    wrong = later.part(np.flatnonzero(later.errors)[:300])
    both = Examples(
        features=np.vstack([drawn.features, wrong.features]),
        errors=np.append(drawn.errors, wrong.errors),
        weights=np.append(np.full(600, 100.0), np.ones(300)),
        groups=np.append(drawn.groups, wrong.groups),
    )
    scores = 1 / (1 + np.exp(-fit(both).log_odds(later.features)))
    assert scores.mean() == pytest.approx(later.errors.mean(), abs=0.03)


def test_too_few_of_a_kind_or_too_few_groups_are_refused() -> None:
    enough = examples(400)
    wrong, right = np.flatnonzero(enough.errors), np.flatnonzero(~enough.errors)
    with pytest.raises(TooFewLabelsError, match="19 transcripts are corrected"):
        fit(enough.part(np.append(wrong[:19], right)))
    with pytest.raises(TooFewLabelsError, match="5 confirmed as right"):
        fit(enough.part(np.append(wrong, right[:5])))
    one_group = np.array(["one"] * 400, np.object_)
    with pytest.raises(TooFewLabelsError, match="1 speaker groups"):
        fit(
            Examples(
                features=enough.features,
                errors=enough.errors,
                weights=enough.weights,
                groups=one_group,
            )
        )


def test_what_no_label_has_shown_keeps_its_default_weight() -> None:
    """Even where the defaults put right before wrong."""
    sure = examples(200)
    contrary = Examples(
        features=sure.features,
        errors=~sure.errors,
        weights=sure.weights,
        groups=sure.groups,
    )
    for labels in (sure, contrary):
        model = fit(labels)
        plain, looped, disputed = (
            float(model.log_odds(features([one]))[0])
            for one in (
                PLAIN,
                PLAIN._replace(phrase=1.0),
                PLAIN._replace(disagreement=0.5),
            )
        )
        assert looped - plain == pytest.approx(2.5)
        assert disputed - plain == pytest.approx(0.8 / 0.4 + 0.5 * 0.5 / 0.15)
    assert fit(sure).weights["doubt"] > 0 > fit(contrary).weights["doubt"]


def test_a_fit_is_the_same_each_time() -> None:
    assert fit(examples(200)) == fit(examples(200))


def test_scoring_needs_no_scikit_learn() -> None:
    program = (
        "import sys, misheard.capture.suspicions as s\n"
        "from misheard.capture.suspicion import DEFAULTS\n"
        "from misheard.capture.signals import Signals\n"
        "DEFAULTS.score([Signals(-1, 0, None, None, 0, 0, 0, 0, None, 3)])\n"
        "sys.exit(bool([m for m in sys.modules if m.startswith('sklearn')]))"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
