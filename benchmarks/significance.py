"""Are the tests honest, and how much speech do they need? By simulation, seeded.

    python -m benchmarks.significance [--quick]

Tables in Markdown; the last line is JSON with the main figures. docs/significance.md has them.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from misheard.gates.slices import holm
from misheard.scoring.alignment import count_errors
from misheard.scoring.normalize import normalizer
from misheard.scoring.significance import permutation_test

if TYPE_CHECKING:
    from numpy.typing import NDArray

TRANSCRIPTS = Path(__file__).parent / "data" / "phone_transcripts.jsonl"
ALPHA = 0.05
REPLICATES = 2_000
WER = 0.1
SHARED = 0.55
"""Share of the errors that both models make for the same reason."""
UTTERANCES_A_GROUP = 40
WORDS_A_MINUTE = 150
WORDS_AN_UTTERANCE = 9
LUCK = 0.5
"""Standard deviation over groups of how much better one model is on a group: its logarithm."""
AT_ONCE = 500_000
"""Utterances that are held at the same time."""
TESTS = (
    "new WER < old WER",
    "t-test of utterances' WER",
    "matched pairs of utterances",
    "matched pairs, those with errors",
    "blocked bootstrap",
    "blocked permutation",
)


@dataclass(frozen=True, kw_only=True)
class Trials:
    """Errors of both models in many trials; arrays of shape (trials, groups, utterances)."""

    before: NDArray[np.int64]
    after: NDArray[np.int64]
    words: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class MadeUp:
    """Errors that cluster in hard utterances, more than half of them shared by both models.

    Words of an utterance: 1 + a negative binomial of shape 2. Difficulty of an utterance: a gamma
    of shape 2, times another of shape 1 for each model's own errors. `luck` makes one model
    better on a group and the other on another, equally good on the whole.
    """

    luck: float
    gain: float = 0.0
    """Share of the baseline's errors that the candidate does not make."""

    def draw(
        self, random: np.random.Generator, trials: int, groups: int, utterances: int
    ) -> Trials:
        """Fresh utterances in every trial."""
        shape = trials, groups, utterances
        words = 1 + random.negative_binomial(2, 2 / (WORDS_AN_UTTERANCE + 1), shape)
        expected = words * WER * random.gamma(2.0, 1 / 2.0, shape)
        tilt = np.exp(random.normal(0, self.luck, (trials, groups, 1)) / 2)
        shared = random.poisson(SHARED * expected)
        # A log-normal's mean, so that luck adds no errors.
        own = (1 - SHARED) * expected / math.exp(self.luck**2 / 8)
        left = 1 - self.gain / (1 - SHARED)
        one, other = random.gamma(1.0, 1.0, (2, *shape))
        return Trials(
            before=shared + random.poisson(own * tilt * one),
            after=shared + random.poisson(own * left / tilt * other),
            words=words,
        )


@dataclass(frozen=True, kw_only=True)
class Real:
    """Utterances of the phone prompts, drawn with replacement; a coin says which model is which.

    `luck`: 0 tosses it for every utterance. Otherwise a group's coin is a loaded one, as often
    this way as that.
    """

    counts: NDArray[np.int64]
    """Errors before, errors after, words; shape (3, utterances)."""
    luck: float

    def draw(
        self, random: np.random.Generator, trials: int, groups: int, utterances: int
    ) -> Trials:
        """The same utterances in every trial, in another order and number."""
        shape = trials, groups, utterances
        before, after, words = self.counts[:, random.integers(0, self.counts.shape[1], shape)]
        heads = random.beta(0.5, 0.5, (trials, groups, 1)) if self.luck else 0.5
        swapped = random.random(shape) < heads
        return Trials(
            before=np.where(swapped, after, before),
            after=np.where(swapped, before, after),
            words=words,
        )


def read_real() -> NDArray[np.int64]:
    """Errors before and after, and words, of each phone prompt; shape (3, utterances)."""
    normalize = normalizer("whisper-english")
    rows = [json.loads(line) for line in TRANSCRIPTS.read_text(encoding="utf-8").splitlines()]
    spoken, one, other = (
        [normalize(row[key]).split() for row in rows]
        for key in ("reference", "baseline", "candidate")
    )
    before, after = count_errors(spoken, one), count_errors(spoken, other)
    return np.stack([before.errors, after.errors, before.reference_length])[
        :, before.reference_length > 0
    ]


def portions(
    world: MadeUp | Real, seed: int, trials: int, groups: int, utterances: int
) -> Iterator[Trials]:
    """So many trials, a few at a time."""
    random = np.random.default_rng(seed)
    each = max(1, AT_ONCE // (groups * utterances))
    for first in range(0, trials, each):
        yield world.draw(random, min(each, trials - first), groups, utterances)


def p_of_groups(trials: Trials) -> NDArray[np.float64]:
    """The blocked permutation test of each trial; shape (trials,)."""
    before, after = trials.before.sum(axis=2), trials.after.sum(axis=2)
    return np.array(
        [permutation_test(*pair, None).p_value for pair in zip(before, after, strict=True)]
    )


def promotions(trials: Trials, seed: int) -> NDArray[np.bool_]:
    """Which trials each of `TESTS` promotes the candidate in; shape (tests, trials).

    Promoted: better, and by the two-sided test at `ALPHA`.
    """
    difference = (trials.before - trials.after).reshape(len(trials.before), -1)
    better = difference.sum(axis=1) > 0
    own_wer = difference / trials.words.reshape(difference.shape)
    return np.stack(
        [
            better,
            _significant(own_wer, np.full(len(difference), difference.shape[1]), student=True),
            _significant(difference, np.full(len(difference), difference.shape[1])),
            _significant(difference, ((trials.before + trials.after) > 0).sum(axis=(1, 2))),
            bootstrapped(difference.reshape(trials.before.shape).sum(axis=2), seed),
            better & (p_of_groups(trials) < ALPHA),
        ]
    )


def _significant(
    values: NDArray[Any], count: NDArray[np.int64], *, student: bool = False
) -> NDArray[np.bool_]:
    """Whether the mean of `count` values, all others of which are 0, is above 0 by z or t."""
    count = np.maximum(count, 2)
    total, squares = values.sum(axis=1), np.square(values).sum(axis=1)
    error = np.sqrt((squares - total**2 / count) * count / (count - 1))
    limit = NormalDist().inv_cdf(1 - ALPHA / 2)
    # The first term of Student's quantile in 1 / degrees of freedom: right to 0.001 from 100 on.
    limits = limit + student * (limit**3 + limit) / (4 * (count - 1))
    return np.asarray(total > limits * np.maximum(error, 1e-12))


def bootstrapped(reductions: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """Whether the blocked bootstrap's interval is above zero; `reductions` of (trials, groups).

    The end of `paired_bootstrap`'s interval is above zero when less than `ALPHA` / 2 of the
    replicates have no reduction. All trials share their draws, so that it is one product.
    """
    groups = reductions.shape[1]
    drawn = np.random.default_rng(seed).multinomial(
        groups, np.full(groups, 1 / groups), size=REPLICATES
    )
    sums = reductions.astype(np.float32) @ drawn.T.astype(np.float32)
    return np.asarray((sums <= 0).mean(axis=1) < ALPHA / 2)


def false_promotions(trials: int, groups: tuple[int, ...]) -> dict[str, list[float]]:
    """Share of promotions of an equally good model: a row for each world and number of groups."""
    real = read_real()
    worlds: dict[str, MadeUp | Real] = {
        "made up, independent": MadeUp(luck=0.0),
        "made up, groups correlated": MadeUp(luck=2 * LUCK),
        "phone prompts, independent": Real(counts=real, luck=0.0),
        "phone prompts, groups correlated": Real(counts=real, luck=1.0),
    }
    rows = {}
    for name, world in worlds.items():
        for number in groups:
            found = [
                promotions(portion, seed=at)
                for at, portion in enumerate(
                    portions(world, number, trials, number, UTTERANCES_A_GROUP)
                )
            ]
            rows[f"{name}, {number} groups"] = np.concatenate(found, axis=1).mean(axis=1).tolist()
    return rows


def power_table(
    trials: int, minutes: tuple[int, ...], gains: tuple[float, ...], minutes_a_group: int
) -> dict[int, list[float]]:
    """Share of promotions by the permutation test with so many minutes, a column for each gain."""
    utterances = minutes_a_group * WORDS_A_MINUTE // WORDS_AN_UTTERANCE
    table = {}
    for length in minutes:
        row = []
        for gain in gains:
            world = MadeUp(luck=LUCK, gain=gain)
            drawn = portions(world, length, trials, length // minutes_a_group, utterances)
            row.append(float(np.mean(np.concatenate([_promoted(one) for one in drawn]))))
        table[length] = row
    return table


def _promoted(trials: Trials) -> NDArray[np.bool_]:
    better = trials.before.sum(axis=(1, 2)) > trials.after.sum(axis=(1, 2))
    return np.asarray(better & (p_of_groups(trials) < ALPHA))


def slice_errors(trials: int, slices: int = 10) -> dict[str, float]:
    """How often at least one of ten slices is called worse, of equally good models."""
    hits = {"without": 0, "with": 0}
    for portion in portions(MadeUp(luck=LUCK), 1, trials * slices, 30, 20):
        worse = portion.before.sum(axis=(1, 2)) < portion.after.sum(axis=(1, 2))
        # One-sided, as in `gates.slices`: only harm is asked for.
        p_values = np.where(worse, p_of_groups(portion) / 2, 1.0)
        for first in range(0, len(p_values) // slices * slices, slices):
            of_one = slice(first, first + slices)
            hits["without"] += bool((p_values[of_one] < ALPHA).any())
            hits["with"] += any(holm(p_values[of_one].tolist(), ALPHA))
    return {name: found / trials for name, found in hits.items()}


def show(title: str, columns: list[str], rows: dict[str, list[float]]) -> None:
    """A table in Markdown, shares in per cent."""
    print(f"\n{title}\n")
    print("| " + " | ".join(["", *columns]) + " |")
    print("| --- " * (len(columns) + 1) + "|")
    for name, shares in rows.items():
        print("| " + " | ".join([name, *(f"{100 * share:.1f} %" for share in shares)]) + " |")


def main(arguments: list[str] | None = None) -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few trials, for a test")
    quick = parser.parse_args(arguments).quick
    started = time.monotonic()
    groups = (8, 50) if quick else (8, 20, 50, 200)
    equal = false_promotions(200 if quick else 4_000, groups)
    show("Promotions of an equally good model", list(TESTS), equal)
    gains = (0.05, 0.1, 0.2, 0.3)
    minutes = (15, 60) if quick else (15, 30, 60, 120, 300)
    powers = {size: power_table(40 if quick else 1_000, minutes, gains, size) for size in (1, 5)}
    for size, table in powers.items():
        show(
            f"Promotions of a better model, groups of {size} min",
            [f"{gain:.0%} fewer errors" for gain in gains],
            {f"{length} min": row for length, row in table.items()},
        )
    slices = slice_errors(50 if quick else 2_000)
    show("At least one of ten slices called worse", list(slices), {"": list(slices.values())})
    ours, unblocked = (TESTS.index(name) for name in ("blocked permutation", TESTS[2]))
    figures = {
        "worst_false_promotions": max(row[ours] for row in equal.values()),
        "worst_false_promotions_bootstrap": max(row[ours - 1] for row in equal.values()),
        "worst_false_promotions_unblocked": max(row[unblocked] for row in equal.values()),
        "power_20_percent_1_hour": powers[1][60][gains.index(0.2)],
        "slices_without_holm": slices["without"],
        "slices_with_holm": slices["with"],
        "seconds": round(time.monotonic() - started, 1),
    }
    print("\n" + json.dumps(figures))


if __name__ == "__main__":
    main()
