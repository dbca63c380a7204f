"""The committed simulation of canaries, in its quick mode, and that it bets as the house does."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from benchmarks import rollback
from misheard.rollouts.signals import Signal
from misheard.scoring.risk_ratio import Wrong, log_evidence
from misheard.settings import RolloutSettings


def test_the_quick_simulation_ends_with_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    rollback.main(["--quick"])
    printed = capsys.readouterr().out
    figures = json.loads(printed.splitlines()[-1])
    found = figures["false_alarms"]
    assert len(found) == 3
    # 40 rollouts of each at 1 %: three or more are chance once in a hundred.
    assert all(one["ours"][0] <= 2 / 40 for one in found.values())
    assert all(one["naive"][0] > 0.2 for one in found.values())
    medians = figures["median_requests_until_rollback"]
    assert medians["0, in half of its sessions"] < 300
    assert medians["0.05, 10"] < 1_000
    for name in found:
        assert f"| {name} |" in printed


def test_it_simulates_what_is_set_by_default() -> None:
    rules = RolloutSettings()
    assert rules.shares == rollback.DEFAULT_SHARES
    assert (rules.alpha, rules.tolerance) == (rollback.ALPHA, rollback.TOLERANCE)
    assert rules.step_sessions == rollback.STEP_SESSIONS
    assert len(rollback.RATES) == len(Signal)


def test_its_evidence_is_that_of_the_test_in_use() -> None:
    random = np.random.default_rng(1)
    traffic = rollback.sessions_of_many(random, 40_000)
    hers = traffic.places < 0.1
    at = traffic.live_at[0]
    path = rollback._path(hers, at, at, 0.1, (-1.0, math.inf), np.zeros(len(rollback._TIMES)))
    assert len(path.times) == np.isfinite(at).sum() > 200
    for moment in (5_000.0, 20_000.0, 50_000.0):
        wrong = Wrong(
            share=0.1, candidate=int((hers & (at <= moment)).sum()),
            live=int((~hers & (at <= moment)).sum()),
        )  # fmt: skip
        expected = log_evidence([wrong], rollback.TOLERANCE)
        assert path.at(np.array([moment]))[0] == pytest.approx(expected, abs=1e-9)


def test_what_happens_at_the_very_end_of_a_step_is_bet_on_once() -> None:
    """Two steps, of which the first ends with the session that goes wrong, against one."""
    at, hers, ends = np.array([0.0, 1.0, 2.0, 3.0]), np.array([True, False, True, True]), 2.0
    bet = np.zeros(len(rollback._TIMES))

    def path(began: float, bet: Any) -> rollback._Path:
        return rollback._path(hers, at, at, 0.5, (began, math.inf), bet)

    whole = path(rollback._BEFORE, bet)
    second = path(ends, whole.bets_at(ends, bet))
    assert second.times.tolist() == [3.0]
    assert second.evidence[-1] == pytest.approx(whole.evidence[-1])


def test_sessions_of_the_simulation_go_wrong_together() -> None:
    traffic = rollback.sessions_of_many(np.random.default_rng(1), 200_000)
    first, second = (np.isfinite(traffic.live_at[number]) for number in (0, 3))
    both = (first & second).mean()
    assert both > 1.5 * first.mean() * second.mean()


def test_a_bad_one_is_found_and_a_good_one_goes_live() -> None:
    random = np.random.default_rng(3)
    bad = rollback.requests_alone(random, 20_000, [20.0] * 6, rollback.RATES)
    found = rollback.play(bad, rollback.DEFAULT_SHARES, endless=False)
    assert found.alarm_at < 2_000
    assert math.isinf(found.live_at)
    good = rollback.requests_alone(random, 20_000, [1.0] * 6, rollback.RATES)
    went = rollback.play(good, rollback.DEFAULT_SHARES, endless=False)
    assert math.isinf(went.alarm_at)
    assert 4_500 < went.live_at < 7_000
    assert 550 < went.heard < 800


def test_the_interval_of_a_share() -> None:
    share, low, high = rollback.share_of(5, 100)
    assert (share, round(low, 4), round(high, 4)) == (0.05, 0.0215, 0.1118)
    assert rollback.share_of(0, 100)[1] == 0.0
