"""What the first gate decides from figures alone: criterion by criterion. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from misheard.gates.comparison import DEGRADATION, ROUNDING, Comparison
from misheard.gates.verdict import Answer, Criterion, Verdict
from misheard.scoring.significance import words_needed

# With fewer groups a bootstrap interval is far too narrow: docs/significance.md.
_FEWEST_GROUPS = 8
# A live version that fails on so many utterances is no measure of anything.
_MOST_FAILED = 0.1
# Utterances that a reason names; the comparison has all of them.
_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class ValidationRules:
    """What a candidate must show, as configured; rates are absolute. See `ValidationSettings`."""

    min_wer_improvement: float
    """Baseline WER minus candidate WER must be above it."""
    min_cer_improvement: float
    """Baseline CER minus candidate CER must not be below it."""
    require_significance: bool
    alpha: float
    """Level of the test of the whole set, and of those of all slices together."""
    max_wer_degradation_rate: float
    """Share of utterances whose own WER may rise by more than `comparison.DEGRADATION`."""
    require_no_major_degradation: bool
    """No slice may be worse by more than its limit and chance."""
    slice_limits: Mapping[str, float] = field(default_factory=dict)
    general_set: str = "general"
    general_margin: float = 0.01
    max_hallucination_rate: float = 1.0
    max_real_time_factor: float = 1.0
    max_slowdown: float = 1.5


def judge(
    comparison: Comparison, rules: ValidationRules, *, general: Comparison | None = None
) -> Verdict:
    """Decide from the figures alone; `general` is the comparison on the general set."""
    criteria = [
        *_of_words(comparison, rules),
        *_of_utterances(comparison, rules),
        *_of_slices(comparison, rules),
        *_of_silence(comparison, rules),
        *_of_speed(comparison, rules),
    ]
    if general is not None:
        criteria.append(_of_general(general, rules))
    return Verdict.of(criteria, unjudged=_unjudged(comparison, general, rules))


def _of_words(comparison: Comparison, rules: ValidationRules) -> Iterable[Criterion]:
    before, after = comparison.baseline, comparison.candidate
    if before.failed > _MOST_FAILED * comparison.utterances:
        yield Criterion(
            name="baseline",
            answer=Answer.INCONCLUSIVE,
            reason=f"the live version fails on {before.failed} of {comparison.utterances} "
            "utterances, so being better than it says little: see why it fails",
            figure=before.failed / comparison.utterances,
            limit=_MOST_FAILED,
        )
    gain = _of_gain(comparison, rules)
    yield gain
    # A loss that is no chance would be significant, too.
    if rules.require_significance and gain.answer is Answer.PASS:
        yield _of_chance(comparison, rules)
    if not comparison.words:
        return
    enough = before.cer - after.cer >= rules.min_cer_improvement - ROUNDING
    short = "" if enough else f", no improvement of at least {rules.min_cer_improvement:.2%}"
    yield Criterion.of(
        "cer",
        enough,
        f"CER {before.cer:.2%} → {after.cer:.2%}{short}",
        figure=before.cer - after.cer,
        limit=rules.min_cer_improvement,
    )


def _of_gain(comparison: Comparison, rules: ValidationRules) -> Criterion:
    gain, limit = comparison.gain, rules.min_wer_improvement
    if not comparison.words:
        return Criterion.of("wer", False, "the set holds no word, so there is no WER")
    rates = (
        f"WER {comparison.baseline.wer:.2%} → {comparison.candidate.wer:.2%} "
        f"on {comparison.words} words, "
    )
    figures: dict[str, Any] = {"figure": gain, "limit": limit}
    if gain > limit + ROUNDING:
        return Criterion.of("wer", True, f"{rates}an improvement of {gain:.2%}", **figures)
    reason = f"{rates}no improvement of more than {limit:.2%}"
    if not rules.require_significance or not comparison.reduction_interval[1] > limit:
        return Criterion.of("wer", False, reason, **figures)
    needed, told = _settling(comparison, gain - limit, rules)
    reason += f", which may be chance{told}"
    return Criterion(
        name="wer", answer=Answer.INCONCLUSIVE, reason=reason, words_needed=needed, **figures
    )


def _of_chance(comparison: Comparison, rules: ValidationRules) -> Criterion:
    figures: dict[str, Any] = {"figure": comparison.p_value, "limit": rules.alpha}
    if comparison.p_value < rules.alpha:
        reason = f"p = {comparison.p_value:.2g} is below {rules.alpha:g}"
        return Criterion.of("significance", True, reason, **figures)
    reason = f"p = {comparison.p_value:.2g} is not below {rules.alpha:g}"
    # The smallest two-sided p that groups which all point one way can have.
    if comparison.blocks > 0 and 2.0 ** (1 - comparison.blocks) >= rules.alpha:
        reason += (
            f": {comparison.blocks} groups are too few to show anything; "
            "add speakers or calls, not words of the same ones"
        )
        return Criterion(name="significance", answer=Answer.INCONCLUSIVE, reason=reason, **figures)
    needed, told = _settling(comparison, comparison.gain, rules)
    return Criterion(
        name="significance",
        answer=Answer.INCONCLUSIVE,
        reason=reason + told,
        words_needed=needed,
        **figures,
    )


def _settling(
    comparison: Comparison, effect: float, rules: ValidationRules
) -> tuple[int | None, str]:
    """How many more words would settle it if `effect` is the truth, and that in words."""
    if not math.isfinite(comparison.reduction_se):
        return None, ""
    needed = words_needed(comparison.words, effect, comparison.reduction_se, alpha=rules.alpha)
    if needed is None:
        return None, "; no number of test words would settle a difference of nothing"
    # With few groups the exact test asks for more than the normal approximation says.
    needed = max(needed, comparison.words // 10)
    return needed, f"; about {needed:,} more test words would settle it"


def _of_utterances(comparison: Comparison, rules: ValidationRules) -> Iterable[Criterion]:
    degraded, count = comparison.degraded, comparison.utterances
    few = degraded <= rules.max_wer_degradation_rate * count + ROUNDING
    yield Criterion.of(
        "utterances",
        few,
        f"WER rises by more than {DEGRADATION:g} on {degraded} of {count} utterances"
        + ("" if few else f", more than {rules.max_wer_degradation_rate:.2%}"),
        figure=degraded / count if count else math.nan,
        limit=rules.max_wer_degradation_rate,
    )
    if comparison.must_pass:
        yield of_must_pass(comparison)


def of_must_pass(comparison: Comparison, among_missed: str = "") -> Criterion:
    """Whether every word of the must-pass utterances is right; `among_missed` is told with those
    that are not."""
    held, missed = comparison.must_pass, comparison.missed
    text = f"{held - len(missed)} of {held} must-pass utterances are right"
    if missed:
        named = ", ".join(f"“{row['reference']}”" for row in missed[:_NAMED])
        text += f"; not {named}{' …' if len(missed) > _NAMED else ''}{among_missed}"
    return Criterion.of("must_pass", not missed, text, figure=float(len(missed)), limit=0.0)


def _of_slices(comparison: Comparison, rules: ValidationRules) -> Iterable[Criterion]:
    tested = [one for one in comparison.slices if one.p_value is not None]
    if not rules.require_no_major_degradation or not tested:
        return
    worse = [
        f"{one.name} ({one.baseline_errors} → {one.candidate_errors} word errors "
        f"in {one.words} words)"
        for one in comparison.slices
        if one.worse
    ]
    yield Criterion.of(
        "slices",
        not worse,
        f"worse by more than chance on {', '.join(worse)}"
        if worse
        else f"none of {len(tested)} slices is worse by more than chance",
        figure=len(worse),
        limit=0,
    )


def _of_silence(comparison: Comparison, rules: ValidationRules) -> Iterable[Criterion]:
    if not comparison.silent:
        return
    before, after = comparison.baseline.silent_with_text, comparison.candidate.silent_with_text
    allowed = min(before, rules.max_hallucination_rate * comparison.silent)
    yield Criterion.of(
        "hallucination",
        after <= allowed + ROUNDING,
        f"words on {after} of {comparison.silent} clips without speech (live version: {before})",
        figure=after / comparison.silent,
        limit=allowed / comparison.silent,
    )


def _of_speed(comparison: Comparison, rules: ValidationRules) -> Iterable[Criterion]:
    factor = comparison.real_time_factor
    if not comparison.candidate.compute_s or math.isnan(factor):
        return
    yield Criterion.of(
        "real_time_factor",
        factor <= rules.max_real_time_factor,
        f"{factor:.3f} s of compute for a second of audio",
        figure=factor,
        limit=rules.max_real_time_factor,
    )
    if comparison.baseline.compute_s and comparison.baseline.failed == 0:
        slower = comparison.slowdown
        in_turn = "" if math.isnan(comparison.timed_in_turn) else ", timed in turn"
        yield Criterion.of(
            "slowdown",
            not comparison.is_slower_than(rules.max_slowdown),
            f"takes {slower:.2f} times as long as the live version{in_turn}",
            figure=slower,
            limit=rules.max_slowdown,
        )


def _of_general(general: Comparison, rules: ValidationRules) -> Criterion:
    """Non-inferiority: the upper end of the interval of the rise stays within the margin."""
    low, high = (-end for end in reversed(general.reduction_interval))
    margin = rules.general_margin
    figures: dict[str, Any] = {"figure": high, "limit": margin}
    reason = (
        f"on the general set WER {general.baseline.wer:.2%} → {general.candidate.wer:.2%}, "
        f"a rise of at most {high:.2%} (95 %)"
    )
    if 0 < general.blocks < _FEWEST_GROUPS:
        reason += f", by {general.blocks} groups, too few for that to be relied on"
        return Criterion(name="general", answer=Answer.INCONCLUSIVE, reason=reason, **figures)
    if high <= margin + ROUNDING:
        return Criterion.of("general", True, reason, **figures)
    if not low <= margin:
        return Criterion.of("general", False, f"{reason}, more than {margin:.2%}", **figures)
    needed, told = _settling(general, margin + general.gain, rules)
    return Criterion(
        name="general",
        answer=Answer.INCONCLUSIVE,
        reason=f"{reason}, which may be more than {margin:.2%}{told}",
        words_needed=needed,
        **figures,
    )


def _unjudged(
    comparison: Comparison, general: Comparison | None, rules: ValidationRules
) -> Iterable[str]:
    if general is None and rules.general_set:
        yield (
            f"no set '{rules.general_set}', so nobody looked at speech that is not of this task: "
            f"misheard dataset hold-out general.jsonl --name {rules.general_set}"
        )
    if not comparison.silent:
        yield "no clip without speech, so nobody looked for words where there are none"
    if not comparison.must_pass:
        yield 'no utterance is tagged {"must_pass": "true"}'
