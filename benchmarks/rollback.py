"""How often is a good canary taken back, and how soon a bad one? Simulated, and with real speech.

    python -m benchmarks.rollback [--quick] [--speech [--tuned DIRECTORY]]

Simulated are whole rollouts of a million requests, looked at after each, with the decisions of
`misheard.rollouts.judging`. With `--speech` a damaged and a sound copy of the bundled model hear
real telephone prompts beside it, and a better one where it is given; see
`benchmarks/rollback_speech.py`. Tables in Markdown; the last
line is JSON with the main figures. docs/rollouts.md has them.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from misheard.rollouts.judging import HARMLESS
from misheard.scoring.risk_ratio import MULTIPLES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

REQUESTS = 1_000_000
ALPHA, TOLERANCE, STEP_SESSIONS = 0.01, 1.5, 200
SHARES = (0.01, 0.1, 0.5)
"""Of the false alarms; smaller than the default, so that there is more to go wrong with."""
DEFAULT_SHARES = (0.05, 0.25, 0.5)
RATES = (0.02, 0.003, 0.001, 0.01, 0.0005, 0.002)
"""Of a request to go wrong, by signal: suspicious, empty, phrase, slow, failed, corrected."""
DAYS = 10
_TIMES = np.array(MULTIPLES)
_NAIVE_Z = 2.326
"""One-sided 1 %."""
_ENOUGH_FOR_NAIVE = 20
_BEFORE = -1.0
"""A time before the first request."""


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What comes in one rollout, in the order in which sessions begin; times in requests."""

    starts: Floats
    places: Floats
    """In [0, 1): a session is the candidate's in a step whose share is larger."""
    live_at: tuple[Floats, ...]
    """By signal, when each session goes wrong first if the live version has it; infinity: never."""
    candidate_at: tuple[Floats, ...]
    """The same if the candidate has it."""


def sessions_of_many(random: np.random.Generator, requests: int) -> Traffic:
    """Sessions of four requests on average, one after the other for a while, on equal arms.

    Some sessions are ten times as likely to go wrong as others (a bad line, a strong accent), in
    every signal at once: a gamma variable of shape 0.5. The rates move with the hour, from a third
    to five thirds of their mean, and double in the last half.
    """
    count = requests // 4
    lengths = random.geometric(0.25, count)
    starts = np.sort(random.random(count)) * requests
    hours = 1 + 0.67 * np.cos(2 * np.pi * starts * DAYS / requests)
    moved = hours * np.where(starts > requests / 2, 2.0, 1.0)
    luck = random.gamma(0.5, 2.0, count) * moved
    # Two requests of a session are a hundredth of a day apart: many sessions see a step change.
    gap = requests / DAYS / 100
    at = []
    for rate in RATES:
        chance = np.minimum(rate * luck, 0.9)
        first = np.ceil(np.log1p(-random.random(count)) / np.log1p(-chance))
        at.append(np.where(first <= lengths, starts + (first - 1) * gap, np.inf))
    return Traffic(
        starts=starts, places=random.random(count), live_at=tuple(at), candidate_at=tuple(at)
    )


def requests_alone(
    random: np.random.Generator, requests: int, ratios: Sequence[float], rates: Sequence[float]
) -> Traffic:
    """Requests without a session; the candidate's go wrong `ratios` times as often, by signal."""
    starts = np.arange(requests, dtype=np.float64)
    live, candidate = [], []
    for ratio, rate in zip(ratios, rates, strict=True):
        drawn = random.random(requests)
        live.append(np.where(drawn < rate, starts, np.inf))
        candidate.append(np.where(drawn < min(rate * ratio, 1.0), starts, np.inf))
    return Traffic(
        starts=starts,
        places=random.random(requests),
        live_at=tuple(live),
        candidate_at=tuple(candidate),
    )


@dataclass(frozen=True, kw_only=True)
class Played:
    """How one rollout went; times in requests, infinity where that did not come."""

    alarm_at: float
    naive_at: float
    """When a z-test at 1 %, repeated after each session that went wrong, would have called."""
    live_at: float
    heard: int
    """Sessions that the candidate had until the alarm, or until it went live."""


def play(traffic: Traffic, shares: Sequence[float], *, endless: bool) -> Played:
    """One rollout, looked at after each request.

    `endless`: after the last step it goes on for as long as there is traffic, and does not go live.
    """
    limit = -math.log(ALPHA / len(RATES))
    bets = [np.zeros(len(_TIMES)) for _ in RATES]
    began, heard, naive_at = _BEFORE, 0, math.inf
    for number, share in enumerate(shares):
        hers = traffic.places < share
        own = traffic.starts[hers & (traffic.starts > began)]
        enough = own[STEP_SESSIONS - 1] if len(own) >= STEP_SESSIONS else math.inf
        is_last = number + 1 == len(shares)
        # What comes long after the step is over need not be looked at.
        for horizon in (math.inf,) if is_last else (2 * enough - began, math.inf):
            paths = [
                _path(hers, live, candidate, share, (began, horizon), bet)
                for live, candidate, bet in zip(
                    traffic.live_at, traffic.candidate_at, bets, strict=True
                )
            ]
            ends = math.inf if is_last and endless else _harmless_at(paths, enough, limit)
            if math.isfinite(ends):
                break
        alarms = [path.first_at(limit) for path in paths]
        called = [path.naive_at for path in paths if path.naive_at < ends]
        naive_at = min([naive_at, *called])
        alarm_at = min(alarms)
        if alarm_at < ends or is_last:
            until = min(alarm_at, ends)
            heard += int(np.searchsorted(own, until, side="right"))
            return Played(
                alarm_at=alarm_at if alarm_at < ends else math.inf,
                naive_at=naive_at,
                live_at=ends if ends <= alarm_at else math.inf,
                heard=heard,
            )
        bets = [path.bets_at(ends, bet) for path, bet in zip(paths, bets, strict=True)]
        heard += int(np.searchsorted(own, ends, side="right"))
        began = ends
    raise AssertionError("the last step has returned")


@dataclass(frozen=True, kw_only=True)
class _Path:
    """How the evidence of one signal goes in a step, if that lasted for ever."""

    times: Floats
    bets: Floats
    evidence: Floats
    naive_at: float

    def first_at(self, limit: float) -> float:
        over = np.flatnonzero(self.evidence >= limit)
        return float(self.times[over[0]]) if len(over) else math.inf

    def bets_at(self, moment: float, before: Floats) -> Floats:
        count = int(np.searchsorted(self.times, moment, side="right"))
        made: Floats = self.bets[count - 1] if count else before
        return made

    def at(self, moments: Floats) -> Floats:
        known = np.r_[-math.inf, self.evidence]
        made: Floats = known[np.searchsorted(self.times, moments, side="right")]
        return made


def _path(
    hers: NDArray[np.bool_],
    live: Floats,
    candidate: Floats,
    share: float,
    within: tuple[float, float],
    bet: Floats,
) -> _Path:
    at = np.where(hers, candidate, live)
    # What comes at a step's very end has been counted in it.
    these = np.flatnonzero((at > within[0]) & (at < within[1]))
    these = these[np.argsort(at[these], kind="stable")]
    growth = np.log1p(share * TOLERANCE * (_TIMES - 1) / (1 + share * (TOLERANCE - 1)))
    steps = hers[these][:, None] * np.log(_TIMES) - growth
    bets = bet + np.cumsum(steps, axis=0)
    most = bets.max(axis=1, initial=-math.inf)
    evidence = most + np.log(np.exp(bets - most[:, None]).mean(axis=1))
    counted, n = np.cumsum(hers[these]), np.arange(1, len(these) + 1)
    z = (counted - n * share) / np.sqrt(n * share * (1 - share))
    called = np.flatnonzero((z > _NAIVE_Z) & (n >= _ENOUGH_FOR_NAIVE))
    return _Path(
        times=at[these],
        bets=bets,
        evidence=evidence,
        naive_at=float(at[these][called[0]]) if len(called) else math.inf,
    )


def _harmless_at(paths: Sequence[_Path], enough: float, limit: float) -> float:
    """When the step is over: `enough`, or the first moment after that with little sign of harm."""
    if not math.isfinite(enough):
        return math.inf
    later = np.concatenate([path.times[path.times > enough] for path in paths])
    moments = np.r_[enough, np.sort(later)]
    calm = np.all([path.at(moments) <= HARMLESS * limit for path in paths], axis=0)
    found = np.flatnonzero(calm)
    return float(moments[found[0]]) if len(found) else math.inf


def share_of(hits: int, trials: int) -> tuple[float, float, float]:
    """A share with its 95 % interval, after Wilson (JASA 22, 1927)."""
    z = 1.96
    middle = (hits + z * z / 2) / (trials + z * z)
    half = z * math.sqrt(hits * (trials - hits) / trials + z * z / 4) / (trials + z * z)
    return hits / trials, max(0.0, middle - half), middle + half


def false_alarms(
    draw: Callable[[np.random.Generator], Traffic], rollouts: int
) -> dict[str, tuple[float, float, float]]:
    """How many rollouts are taken back, with an interval; ours, and by the naive test."""
    played = [
        play(draw(np.random.default_rng(seed)), SHARES, endless=True) for seed in range(rollouts)
    ]
    return {
        "ours": share_of(sum(math.isfinite(one.alarm_at) for one in played), rollouts),
        "naive": share_of(sum(math.isfinite(one.naive_at) for one in played), rollouts),
    }


def delays(rate: float, ratio: float, rollouts: int) -> tuple[float, float, float, float]:
    """Of a candidate that is worse in one signal: share taken back before it goes live; requests
    until then, in the median and in nine of ten; its own among them, in the median."""
    rates = (rate, *(0.0 for _ in RATES[1:]))
    ratios = (ratio, *(1.0 for _ in RATES[1:]))
    played = []
    for seed in range(rollouts):
        random = np.random.default_rng(seed)
        traffic = requests_alone(random, 20_000, ratios, rates)
        played.append(play(traffic, DEFAULT_SHARES, endless=False))
    found = [one for one in played if math.isfinite(one.alarm_at)]
    if not found:
        return 0.0, math.inf, math.inf, math.inf
    at = np.array([one.alarm_at + 1 for one in found])
    return (
        len(found) / rollouts,
        float(np.median(at)),
        float(np.quantile(at, 0.9)),
        float(np.median([one.heard for one in found])),
    )


def main(arguments: list[str] | None = None) -> None:
    """Simulate, print tables, and end with the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="few and short rollouts")
    parser.add_argument("--speech", action="store_true", help="with real models and prompts, too")
    parser.add_argument("--tuned", type=Path, help="a fine-tuned model that is better")
    given = parser.parse_args(arguments)
    rollouts, requests, trials = (40, 20_000, 20) if given.quick else (1_000, REQUESTS, 400)
    started = time.perf_counter()
    figures: dict[str, object] = {
        "alpha": ALPHA,
        "rollouts": rollouts,
        "requests_each": requests,
        "false_alarms": _false_alarm_table(rollouts, requests),
        "median_requests_until_rollback": _delay_table(trials),
    }
    if given.speech:
        from benchmarks import rollback_speech  # noqa: PLC0415 - loads models

        figures["speech"] = rollback_speech.run(quick=given.quick, tuned=given.tuned)
    print(json.dumps({**figures, "seconds": round(time.perf_counter() - started)}))


def _false_alarm_table(rollouts: int, requests: int) -> dict[str, dict[str, list[float]]]:
    kinds: dict[str, Callable[[np.random.Generator], Traffic]] = {
        "equally good, sessions": lambda random: sessions_of_many(random, requests),
        "equally good, requests alone": lambda random: requests_alone(
            random, requests, [1.0] * len(RATES), RATES
        ),
        "worse by the tolerance in every signal": lambda random: requests_alone(
            random, requests, [TOLERANCE] * len(RATES), RATES
        ),
    }
    print(f"Taken back, of {rollouts:,} rollouts of {requests:,} requests (95 % interval)\n")
    print("| candidate | sequential test | z-test at 1 %, each time something goes wrong |")
    print("| --- | ---: | ---: |")
    made = {}
    for name, draw in kinds.items():
        found = false_alarms(draw, rollouts)
        made[name] = {which: [round(one, 4) for one in told] for which, told in found.items()}
        shown = [f"{one:.1%} ({low:.1%} to {high:.1%})" for one, low, high in found.values()]
        print(f"| {name} | {shown[0]} | {shown[1]} |", flush=True)
    return made


def _delay_table(rollouts: int) -> dict[str, float | None]:
    print(f"\nA candidate that is worse in one signal ({rollouts} rollouts each, default shares)\n")
    print(
        "| live version goes wrong in | candidate, times as often | taken back before it goes live "
        "| requests until then, median | nine of ten within | its own of them, median |"
    )
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    medians: dict[str, float | None] = {}
    for rate in (0.0, 0.001, 0.01, 0.05, 0.2):
        for ratio in (2.0, 3.0, 5.0, 10.0, 50.0):
            if rate * ratio > 1.0 or (rate == 0.0 and ratio < 50.0):
                continue
            # Where the live version never does, the candidate does in half of its sessions.
            drawn = (1e-9, 0.5e9) if rate == 0.0 else (rate, ratio)
            share, middle, late, own = delays(*drawn, rollouts)
            told = "in half of its sessions" if rate == 0.0 else f"{ratio:.0f}"
            medians[f"{rate:g}, {told}"] = middle if math.isfinite(middle) else None
            print(
                f"| {rate:.1%} | {told} | {share:.0%} | {_shown(middle)} | {_shown(late)} "
                f"| {_shown(own)} |",
                flush=True,
            )
    return medians


def _shown(value: float) -> str:
    return f"{value:,.0f}" if math.isfinite(value) else "–"


if __name__ == "__main__":
    main()
