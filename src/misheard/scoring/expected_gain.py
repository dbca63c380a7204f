"""What a training on new corrections may buy, and whether a test set could show it.

An estimate from few figures, each of which is in the answer; `docs/triggers.md` says how far it is
to be trusted.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist, fmean, variance

from misheard.scoring.alignment import align_words
from misheard.scoring.bootstrap import Interval
from misheard.scoring.normalize import Normalizer
from misheard.scoring.pairs import normalized
from misheard.scoring.power import power, words_needed

REMOVED_AT_FIRST = 0.5
"""Share of the word errors that a first training removes: 49 to 54 % over three seeds, see
`docs/performance.md`, "Over several seeds"."""
SPREAD_AT_FIRST = 3.0
"""Squared standard error of a gain, times words, over the gain: 1 if each error went or stayed by
itself. By the demo's figures: 1,104 words, a gain of 3.7 %, p = 0.001 over whole menus."""
ENOUGH_POWER = 0.8

ErrorKind = tuple[str, str]
"""("misheard", the word that was spoken), or ("inserted", the word that was not)."""


class Provable(StrEnum):
    """Whether a test set could show an expected gain."""

    PROVABLE = "provable"
    NOT_PROVABLE = "not provable"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class WordErrors:
    """The word errors of some transcripts."""

    utterances: int
    words: int
    """Words that were spoken."""
    kinds: Counter[ErrorKind]

    @property
    def errors(self) -> int:
        """All of them."""
        return self.kinds.total()

    @property
    def repeated_share(self) -> float:
        """The chance that the next error is of a kind that was seen: Good and Turing's estimate.

        One minus the kinds seen once over all errors; I. J. Good, "The population frequencies of
        species and the estimation of population parameters", Biometrika 40 (1953). NaN without an
        error.
        """
        once = sum(count == 1 for count in self.kinds.values())
        return 1 - once / self.errors if self.errors else math.nan

    def share_of(self, kinds: Iterable[ErrorKind]) -> float:
        """The share of the errors that are of one of `kinds`; NaN without an error."""
        covered = sum(self.kinds[kind] for kind in set(kinds))
        return covered / self.errors if self.errors else math.nan


def word_errors(
    references: Iterable[str], hypotheses: Iterable[str], *, normalizer: Normalizer
) -> WordErrors:
    """Count the errors of transcripts by the word that they concern.

    >>> from misheard.scoring.normalize import normalizer
    >>> made = word_errors(["Press pound"], ["press a pond"], normalizer=normalizer("basic"))
    >>> made.words, dict(made.kinds)
    (2, {('inserted', 'a'): 1, ('misheard', 'pound'): 1})
    """
    kinds: Counter[ErrorKind] = Counter()
    utterances = words = 0
    for _, _, spoken, heard in normalized(references, hypotheses, normalizer):
        utterances += 1
        said = spoken.split()
        words += len(said)
        if spoken == heard:
            continue
        for step in align_words(said, heard.split()):
            if step.kind == "insert":
                kinds["inserted", step.hypothesis] += 1
            elif step.kind != "equal":
                kinds["misheard", step.reference] += 1
    return WordErrors(utterances=utterances, words=words, kinds=kinds)


@dataclass(frozen=True, kw_only=True)
class PastGain:
    """What an earlier training came to on its test set."""

    words: int
    errors_before: int
    errors_after: int
    standard_error: float
    """Of the difference of the two WERs, over groups; NaN where it is not known."""

    @property
    def removed(self) -> float:
        """Share of the word errors that it removed; below 0 where it made more."""
        return 1 - self.errors_after / self.errors_before

    @property
    def gain(self) -> float:
        """The difference of the two WERs."""
        return (self.errors_before - self.errors_after) / self.words


@dataclass(frozen=True, kw_only=True)
class GateSet:
    """The set that will decide."""

    name: str
    words: int
    groups: int
    """Speakers or calls: what moves together in a test."""


@dataclass(frozen=True, kw_only=True)
class Live:
    """How often the live version errs, as far as that is known."""

    wer: float | None = None
    source: str = ""
    """Where it is known from."""
    heard: WordErrors | None = None
    """What it made of the set that will decide; None where it was not heard there."""


@dataclass(frozen=True, kw_only=True)
class ExpectedGain:
    """What the new corrections may buy; rates of WER are absolute."""

    answer: Provable
    told: str
    """The answer with its reason, in words."""
    cases: int
    """Corrected cases that were looked at: the newest since the last cycle."""
    word_errors: int
    """Word errors in them."""
    errors_per_hour: float | None
    """Corrected word errors in an hour of traffic since the last cycle; None without traffic."""
    wer: float | None
    """What the live version does; None where nobody knows."""
    wer_from: str
    """Where that is known from."""
    covered: float | None
    """Share of the live version's word errors that are of a kind that was corrected."""
    bound: float | None
    """The gain if every error of these kinds went away, and no other."""
    removed: float
    """Share of all word errors that a training removes."""
    removed_interval: Interval | None
    """Its 95 % interval over earlier trainings; None before the first one."""
    trainings: int
    """Earlier trainings that it rests on."""
    gain: float | None
    """The expected gain: what a training removes, at most `bound`."""
    gain_interval: Interval | None
    power: float | None
    """The chance that the test set shows that gain."""
    words: int
    groups: int
    """Of the test set."""
    words_needed: int | None
    """How many more words of audited speech the test set needs; None where no number would do, or
    nobody knows."""


def expect(
    corrected: WordErrors,
    *,
    traffic_h: float | None,
    corrected_cases: int,
    live: Live,
    gate_set: GateSet | None,
    past: Sequence[PastGain],
    alpha: float = 0.05,
    min_gain: float = 0.0,
) -> ExpectedGain:
    """Estimate what training on `corrected` buys, and whether `gate_set` can show it.

    `corrected_cases` is how many cases were corrected since the last cycle, of which `corrected`
    may be a part; `traffic_h` is the audio that was heard since then, in hours. `past` are earlier
    trainings. `alpha` and `min_gain` are those of the gate.

    The gain is WER times the share of errors that earlier trainings removed (`REMOVED_AT_FIRST`
    before the first), or the bound, whichever is less. Its standard error at n words is taken as
    √(spread · gain / n), with the spread of earlier trainings.
    """
    removed, interval = _removed(past)
    covered = _covered(corrected, live.heard)
    wer = live.wer
    bound = gain = None
    if wer is not None and covered is not None:
        bound = wer * covered
        gain = min(bound, wer * removed)
    between = None
    if wer is not None and bound is not None and interval is not None:
        between = (min(bound, wer * interval[0]), min(bound, wer * interval[1]))
    answer, told, chance, needed = _answer(
        corrected, gain, wer, gate_set, past, alpha=alpha, min_gain=min_gain
    )
    per_case = corrected.errors / corrected.utterances if corrected.utterances else 0.0
    return ExpectedGain(
        answer=answer,
        told=told,
        cases=corrected.utterances,
        word_errors=corrected.errors,
        errors_per_hour=per_case * corrected_cases / traffic_h if traffic_h else None,
        wer=wer,
        wer_from=live.source,
        covered=covered,
        bound=bound,
        removed=removed,
        removed_interval=interval,
        trainings=len(past),
        gain=gain,
        gain_interval=between,
        power=chance,
        words=gate_set.words if gate_set else 0,
        groups=gate_set.groups if gate_set else 0,
        words_needed=needed,
    )


def _removed(past: Sequence[PastGain]) -> tuple[float, Interval | None]:
    """The mean share that was removed; its error is that between trainings, or within them."""
    if not past:
        return REMOVED_AT_FIRST, None
    shares = [one.removed for one in past]
    within = [
        (one.standard_error * one.words / one.errors_before) ** 2
        for one in past
        if math.isfinite(one.standard_error)
    ]
    squared = fmean(within) / len(past) if within else math.nan
    if len(past) > 1:
        squared = max(variance(shares) / len(past), squared if within else 0.0)
    mean, margin = fmean(shares), NormalDist().inv_cdf(0.975) * math.sqrt(squared)
    return mean, None if math.isnan(margin) else (mean - margin, min(1.0, mean + margin))


def _spread(past: Sequence[PastGain]) -> float:
    known = [one for one in past if math.isfinite(one.standard_error) and one.gain]
    if not known:
        return SPREAD_AT_FIRST
    squares = sum(one.standard_error**2 * one.words for one in known)
    return squares / sum(abs(one.gain) for one in known) or SPREAD_AT_FIRST


def _covered(corrected: WordErrors, heard: WordErrors | None) -> float | None:
    found = corrected.repeated_share
    if heard is not None:
        found = heard.share_of(corrected.kinds)
    return None if math.isnan(found) else found


_Answer = tuple[Provable, str, float | None, int | None]
"""The answer, why, the power of the test, and the words that are missing."""


def _answer(
    corrected: WordErrors,
    gain: float | None,
    wer: float | None,
    gate_set: GateSet | None,
    past: Sequence[PastGain],
    *,
    alpha: float,
    min_gain: float,
) -> _Answer:
    if not corrected.errors:
        return Provable.UNKNOWN, "unknown: no new correction to learn from", None, None
    if gate_set is None or not gate_set.words:
        return Provable.UNKNOWN, "unknown: there is no test set yet to show it on", None, None
    if wer is None:
        told = "unknown: how often the live version errs is not known; label what the audit draws"
        return Provable.UNKNOWN, told, None, None
    if gain is None:
        told = f"not provable: the live version makes no error on '{gate_set.name}'"
        return Provable.NOT_PROVABLE, told, None, None
    return _judged(gain, gate_set, _spread(past), alpha=alpha, min_gain=min_gain)


def _judged(
    gain: float, gate_set: GateSet, spread: float, *, alpha: float, min_gain: float
) -> _Answer:
    no = Provable.NOT_PROVABLE
    on = f"'{gate_set.name}', {gate_set.words:,} words"
    if gain <= max(0.0, min_gain):
        told = f"not provable: a gain of {gain:.2%} is not more than the {min_gain:.2%} wanted"
        return no, told, alpha / 2, None
    error = math.sqrt(spread * gain / gate_set.words)
    chance = power(gain, error, alpha=alpha)
    needed = words_needed(gate_set.words, gain, error, alpha=alpha, power=ENOUGH_POWER)
    if gate_set.groups and 2.0 ** (1 - gate_set.groups) >= alpha:
        told = (
            f"not provable with this test set ({on}): {gate_set.groups} groups are too few to show "
            "anything; speakers or calls are needed, not words of the same ones"
        )
        return no, told, alpha / 2, needed or None
    if needed:
        told = (
            f"not provable with this test set ({on}; it would show {gain:.2%} with a chance of "
            f"{chance:.0%}): about {needed:,} more words of audited speech are needed"
        )
        return no, told, chance, needed
    told = f"provable: {on}, show {gain:.2%} with a chance of {chance:.0%}"
    return Provable.PROVABLE, told, chance, 0
