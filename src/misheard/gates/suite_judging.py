"""What the second gate decides of a suite from figures alone: criterion by criterion. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from misheard.gates.comparison import ROUNDING, Comparison
from misheard.gates.judging import of_must_pass
from misheard.gates.suites import (
    Baseline,
    HeldTo,
    RegressionRules,
    Suite,
    SuiteKind,
    held_to,
    max_rise,
    spoken,
)
from misheard.gates.verdict import Criterion, Verdict

_NAMED = 3
"""Utterances that a reason names; the run has all of them."""


def judge(
    comparison: Comparison,
    suite: Suite,
    rules: RegressionRules,
    *,
    baseline: Baseline | None = None,
    flaky: Collection[str] = (),
) -> Verdict:
    """Decide from the figures alone; each rule that is not kept is a failure of its own.

    `baseline` is what the suite is held to, see `held_to`; single utterances are always compared
    with the live version. `flaky` has the audio of utterances that are named as such where they
    fail: they count like any other.
    """
    held = held_to(comparison, suite, baseline)
    criteria: list[Criterion] = []
    if comparison.words:
        criteria += [
            _of_wer(comparison, suite, rules, held),
            *_of_cer(comparison, suite, rules, held),
            *_of_degradation(comparison, rules, held),
            _of_utterances(comparison, rules, flaky),
        ]
    if comparison.must_pass:
        criteria.append(of_must_pass(comparison, _flaky_among(comparison.missed, flaky)))
    if comparison.silent:
        criteria.append(_of_silence(comparison, held))
    return Verdict.of(criteria)


def _of_wer(
    comparison: Comparison, suite: Suite, rules: RegressionRules, held: HeldTo
) -> Criterion:
    after, rise = comparison.candidate, comparison.candidate.wer - held.wer
    limit = _wer_limit(suite, rules)
    kept = rise <= limit + ROUNDING
    if held.version_id:
        # The words are the same, so the rate tells the number of errors.
        errors = round(held.wer * comparison.words)
        text = f"{after.errors} word errors where the baseline {held.version_id} makes {errors}"
    elif suite.baseline_wer is not None:
        text = f"WER {after.wer:.2%} where {held.wer:.2%} was given"
    else:
        before = comparison.baseline.errors
        text = f"{after.errors} word errors where the live version makes {before}"
    text += "" if kept else f": WER rises by {rise:.2%}, more than {limit:.2%}"
    return Criterion.of("wer", kept, text, figure=rise, limit=limit)


def _wer_limit(suite: Suite, rules: RegressionRules) -> float:
    own = suite.max_wer_degradation
    return rules.tolerance(suite.kind) if own is None else own


def _of_cer(
    comparison: Comparison, suite: Suite, rules: RegressionRules, held: HeldTo
) -> Iterable[Criterion]:
    limit = suite.max_cer_degradation
    if limit is None and suite.baseline_cer is None and not held.version_id:
        return
    if limit is None and suite.baseline_cer is not None:
        limit = rules.tolerance(suite.kind)
    if limit is None:
        # Nobody asked for it: a word that was wrong already may be wrong in some more letters.
        limit = max(_wer_limit(suite, rules), rules.tolerance(SuiteKind.BENCHMARK))
    rise = comparison.candidate.cer - held.cer
    kept = rise <= limit + ROUNDING
    wanted = f"{held.cer:.2%} is held to"
    if held.version_id:
        wanted = f"the baseline {held.version_id} has {held.cer:.2%}"
    text = f"CER {comparison.candidate.cer:.2%} where {wanted}"
    text += "" if kept else f": CER rises by {rise:.2%}, more than {limit:.2%}"
    yield Criterion.of("cer", kept, text, figure=rise, limit=limit)


def _of_degradation(
    comparison: Comparison, rules: RegressionRules, held: HeldTo
) -> Iterable[Criterion]:
    rise, cer_rise = comparison.candidate.wer - held.wer, comparison.candidate.cer - held.cer
    worst = max_rise(rise, cer_rise)
    rises = f"WER changes by {rise:+.2%}, CER by {cer_rise:+.2%}"
    if rules.fail_on_any_degradation:
        kept = worst <= ROUNDING
        text = f"{rises}" if kept else f"{rises}; no degradation is tolerated"
        yield Criterion.of("any_degradation", kept, text, figure=worst, limit=0.0)
    if rules.fail_on_critical_degradation:
        threshold = rules.critical_degradation_threshold
        kept = worst <= threshold + ROUNDING
        text = f"{rises}; " + ("up to" if kept else "more than")
        text += f" {threshold:.2%} is " + ("not critical" if kept else "critical")
        yield Criterion.of("critical_degradation", kept, text, figure=worst, limit=threshold)


def _of_utterances(
    comparison: Comparison, rules: RegressionRules, flaky: Collection[str]
) -> Criterion:
    """Whether more utterances fail than may.

    Two equally good models differ on many short utterances, as often one way as the other. So an
    utterance that recovers as far makes up for one that fails. One may always fail, unless the
    rate is 0: on a suite of 14, one is already 7 %.
    """
    threshold = rules.sample_degradation_threshold
    failed = spoken(comparison.worse_by(threshold))
    recovered = len(spoken(comparison.better_by(threshold)))
    count, rate = comparison.utterances - comparison.silent, rules.max_failed_samples_rate
    allowed = max(1.0, rate * count) if rate else 0.0
    # What recovers makes up for what fails; where nothing fails there is nothing to make up for.
    lost = len(failed) - recovered if failed else 0
    kept = lost <= allowed + ROUNDING
    text = (
        f"{len(failed)} of {count} utterances fail, with WER up by more than {threshold:g}, "
        f"and {recovered} recover{_flaky_among(failed, flaky)}"
    )
    text += "" if kept else f": more than {rate:.2%} are lost"
    return Criterion.of("utterances", kept, text, figure=float(lost), limit=allowed)


def _of_silence(comparison: Comparison, held: HeldTo) -> Criterion:
    """Zero is the aim. A baseline that fails already must not get worse."""
    after, allowed = comparison.candidate.silent_with_text, held.silent_with_text
    who = f"the baseline {held.version_id}" if held.version_id else "live version"
    return Criterion.of(
        "hallucination",
        after <= allowed,
        f"words on {after} of {comparison.silent} silent clips ({who}: {allowed})",
        figure=float(after),
        limit=float(allowed),
    )


def _flaky_among(rows: Sequence[dict[str, Any]], flaky: Collection[str]) -> str:
    found = [row["audio_sha256"] for row in rows if row.get("audio_sha256") in flaky]
    if not found:
        return ""
    named = ", ".join(key[:12] for key in found[:_NAMED])
    return f" (of them {len(found)} flaky: {named}{' …' if len(found) > _NAMED else ''})"
