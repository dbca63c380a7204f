"""What goes wrong with a request, and what only looks like it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from misheard import audio
from misheard.rollouts.signals import Signal, wrong_of
from misheard.rollouts.states import RolloutRules, read_tag
from misheard.rollouts.voice import has_voice
from tests.conftest import Prompt
from tests.rollouts.made import canary

RATE_HZ = audio.SAMPLE_RATE_HZ
SILENCE = np.zeros(3 * RATE_HZ, np.float32)
ALL = RolloutRules(min_suspicion=0.5, slow_s=2.0)


def voice(hertz: float = 120.0, seconds: float = 1.0, level: float = 0.1) -> np.ndarray:
    """A pitch with its overtones, as a vowel has it."""
    times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    tones = [np.sin(2 * np.pi * hertz * n * times) / n for n in range(1, 6)]
    return (level * np.sum(tones, axis=0)).astype(np.float32)


def wrong(text: str | None, samples: np.ndarray = SILENCE, **known: Any) -> set[Signal]:
    given = {"suspicion": 0.1, "latency_s": 0.1, "limits": ALL, **known}
    return set(wrong_of(text, samples, **given))


def test_what_is_well_is_well() -> None:
    assert wrong("Press one for sales.", voice()) == set()
    assert wrong("Press one", suspicion=None, latency_s=None) == set()


@pytest.mark.parametrize(
    ("suspicion", "latency_s", "expected"),
    [
        (0.5, 0.1, {Signal.SUSPICIOUS}),
        (0.49, 2.0, set()),
        (0.1, 2.01, {Signal.SLOW}),
        (0.9, 9.0, {Signal.SUSPICIOUS, Signal.SLOW}),
    ],
)
def test_suspicion_and_latency_at_their_limits(
    suspicion: float, latency_s: float, expected: set[Signal]
) -> None:
    assert wrong("Press one", suspicion=suspicion, latency_s=latency_s) == expected


@pytest.mark.parametrize("text", ["Thanks for watching!", "Thank you.", "you"])
def test_known_hallucinations(text: str) -> None:
    assert Signal.PHRASE in wrong(text)


@pytest.mark.parametrize("text", ["", "  ", "…", "[ ]"])
def test_nothing_is_the_right_answer_to_silence_and_the_wrong_one_to_a_voice(text: str) -> None:
    assert wrong(text, SILENCE) == set()
    hiss = np.random.default_rng(1).normal(0, 0.05, 3 * RATE_HZ).astype(np.float32)
    assert wrong(text, hiss) == set()
    assert wrong(text, voice()) == {Signal.EMPTY}


def test_what_failed_has_no_text_to_judge() -> None:
    assert wrong(None, voice()) == {Signal.FAILED}
    assert wrong(None, voice(), latency_s=30.0) == {Signal.FAILED, Signal.SLOW}


def test_only_what_is_looked_at_counts() -> None:
    few = RolloutRules(signals=(Signal.EMPTY,))
    assert wrong(None, voice(), limits=few, latency_s=30.0) == set()
    assert wrong("", voice(), limits=few, suspicion=1.0) == {Signal.EMPTY}


@pytest.mark.parametrize("hertz", [80.0, 150.0, 300.0])
def test_a_voice_is_heard_by_its_pitch_and_how_long_it_lasts(hertz: float) -> None:
    assert has_voice(voice(hertz))
    assert not has_voice(voice(hertz, seconds=0.2))
    assert not has_voice(voice(hertz, level=1e-4))


@pytest.mark.parametrize("samples", [[], [0.0], [0.5] * 700, [1.0] * 40_000])
def test_a_voice_is_looked_for_in_anything(samples: list[float]) -> None:
    assert not has_voice(np.array(samples, np.float32))


def test_in_real_prompts_there_is_a_voice_and_in_their_silences_none(
    phone_prompts: list[Prompt],
) -> None:
    spoken = [one for one in phone_prompts if one.kind == "speech" and one.duration_s >= 1.0]
    silent = [one for one in phone_prompts if one.id.startswith("silence")]
    assert len(spoken) > 100
    assert len(silent) > 5
    with_voice = [has_voice(audio.decode(one.data).samples) for one in spoken[::4]]
    assert np.mean(with_voice) > 0.99
    assert not any(has_voice(audio.decode(one.data).samples) for one in silent)


def test_an_inference_is_tagged_with_its_rollout_and_step() -> None:
    assert read_tag(canary(step=2).tags) == ("rollout-1", 2)
    for tags in ({}, {"rollout": "x"}, {"rollout": "/1"}, {"rollout": "x/y"}, {"rollout": "a/-1"}):
        assert read_tag(tags) is None


def test_what_it_is_judged_by_is_kept_as_it_was() -> None:
    rules = RolloutRules(alpha=0.02, signals=(Signal.EMPTY, Signal.FAILED), slow_s=3.5)
    assert RolloutRules.from_dict(rules.to_dict()) == rules
