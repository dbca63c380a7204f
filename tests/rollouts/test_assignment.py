"""Who answers is a matter of chance, the same for a whole session, and the same everywhere."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from misheard.rollouts.assignment import arm_of, is_shadowed, place_of
from misheard.rollouts.states import Arm, Kind
from tests.rollouts.made import canary, shadow

MANY = 100_000


def places(rollout_id: str, many: int = MANY) -> np.ndarray:
    return np.array([place_of(rollout_id, f"call-{number}", "") for number in range(many)])


def test_places_are_uniform() -> None:
    counts, _ = np.histogram(places("rollout-1"), bins=100, range=(0.0, 1.0))
    assert counts.sum() == MANY
    # Chi-square with 99 degrees of freedom: 149 is exceeded once in a thousand.
    assert np.sum((counts - MANY / 100) ** 2) / (MANY / 100) < 149


def test_places_in_two_rollouts_have_nothing_to_do_with_each_other() -> None:
    correlation = np.corrcoef(places("rollout-1"), places("rollout-2"))[0, 1]
    assert abs(correlation) < 4 / np.sqrt(MANY)
    first, second = (places(name) < 0.05 for name in ("rollout-1", "rollout-2"))
    assert (first & second).mean() == pytest.approx(0.0025, abs=0.0008)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.5])
def test_a_canary_answers_its_share(share: float) -> None:
    rollout = canary(shares=(share,))
    hers = [arm_of(rollout, f"call-{number}", "") is Arm.CANDIDATE for number in range(MANY)]
    assert np.mean(hers) == pytest.approx(share, abs=4 * np.sqrt(share / MANY))


@given(st.text(), st.text(), st.text())
def test_a_session_stays_with_who_has_it_and_goes_over_once(
    session: str, one: str, other: str
) -> None:
    rollout = canary(shares=(0.05, 0.25, 0.5))
    arms = [arm_of(replace(rollout, step=step), session, one) for step in range(3)]
    assert arms == [arm_of(replace(rollout, step=step), session, other) for step in range(3)]
    assert arms == sorted(arms, key=[Arm.LIVE, Arm.CANDIDATE].index)


def test_a_request_without_a_session_is_one_by_itself() -> None:
    rollout = canary(shares=(0.5,))
    arms = {arm_of(rollout, None, f"request-{number}") for number in range(50)}
    assert arms == {Arm.LIVE, Arm.CANDIDATE}
    assert place_of("rollout-1", None, "a") != place_of("rollout-1", "a", "a")


def test_a_shadow_answers_nobody_and_hears_its_share_of_whole_sessions() -> None:
    one = shadow(share=0.2)
    heard = [is_shadowed(one, f"call-{number}", "x") for number in range(MANY)]
    assert np.mean(heard) == pytest.approx(0.2, abs=0.006)
    assert heard == [is_shadowed(one, f"call-{number}", "y") for number in range(MANY)]
    assert {arm_of(one, f"call-{number}", "x") for number in range(100)} == {Arm.LIVE}
    assert all(is_shadowed(shadow(share=1.0), f"{number}", "") for number in range(1_000))
    assert not is_shadowed(canary(shares=(0.9,)), "call-1", "")


def test_every_process_says_the_same() -> None:
    code = "from misheard.rollouts.assignment import place_of; print(place_of('r', 'é🙂', ''))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) == place_of("r", "é🙂", "")


def test_kinds_are_told_apart() -> None:
    assert {one.kind for one in (canary(), shadow())} == set(Kind)
