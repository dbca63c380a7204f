"""What a regression suite is, and what the second gate decides of a run. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from misheard.gates.comparison import Comparison
from misheard.gates.verdict import Verdict

# Far below what one error changes in any rate, far above what floats lose.
_ROUNDING = 1e-12


class SuiteKind(StrEnum):
    """How strictly a suite is judged."""

    BENCHMARK = "benchmark"
    """Broad: a little worse is tolerated."""
    CRITICAL = "critical"
    """What must not break: no more errors than the live version makes."""
    EDGE_CASE = "edge_case"
    """Rare and awkward clips, few of each: more tolerance for words, none for silence."""


@dataclass(frozen=True, kw_only=True)
class RegressionRules:
    """How much may be lost, as configured; all rates are absolute."""

    max_wer_degradation: float
    max_critical_wer_degradation: float
    max_edge_case_wer_degradation: float
    run_on_deploy: bool
    """Whoever deploys runs all suites first."""
    run_on_schedule: bool
    schedule_interval_hours: float
    fail_on_any_degradation: bool
    fail_on_critical_degradation: bool
    critical_degradation_threshold: float
    """A rise of WER or CER above it is critical."""
    max_failed_samples_rate: float
    """Share of the spoken utterances that may fail beyond those that recover as far."""
    sample_degradation_threshold: float
    """An utterance fails when its own WER rises by more than this."""
    alert_on_failure: bool
    alert_on_warning: bool

    def tolerance(self, kind: SuiteKind) -> float:
        """What a suite of this kind is allowed."""
        return {
            SuiteKind.BENCHMARK: self.max_wer_degradation,
            SuiteKind.CRITICAL: self.max_critical_wer_degradation,
            SuiteKind.EDGE_CASE: self.max_edge_case_wer_degradation,
        }[kind]


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A set of utterances that every candidate has to pass."""

    id: str
    created_at: datetime
    name: str
    kind: SuiteKind
    dataset_id: str
    description: str
    baseline_version: str = ""
    """The version that the given figures were measured with."""
    baseline_wer: float | None = None
    """What the suite is held to; None: what the live version reaches."""
    baseline_cer: float | None = None
    max_wer_degradation: float | None = None
    """None: what the settings allow a suite of this kind."""
    max_cer_degradation: float | None = None

    def held_to(self, comparison: Comparison) -> tuple[float, float]:
        """The WER and CER that a candidate is held to: as given, else the baseline's own."""
        given, live = (self.baseline_wer, self.baseline_cer), comparison.baseline
        return (
            live.wer if given[0] is None else given[0],
            live.cer if given[1] is None else given[1],
        )


@dataclass(frozen=True, kw_only=True)
class SuiteRun:
    """A candidate on one suite."""

    id: str
    created_at: datetime
    suite_id: str
    candidate_id: str
    baseline_id: str
    verdict: Verdict
    comparison: Comparison
    baseline_wer: float
    """What the candidate was held to."""
    baseline_cer: float
    sample_degradation_threshold: float
    """The rise of its own WER above which an utterance failed."""
    cycle_id: str | None = None
    """The cycle that it was a gate of; None for a run by hand or by the clock."""

    @property
    def wer_degradation(self) -> float:
        """How much the WER rose, absolute; negative where it fell, NaN where nobody speaks."""
        return self.comparison.candidate.wer - self.baseline_wer

    @property
    def cer_degradation(self) -> float:
        """How much the CER rose, absolute."""
        return self.comparison.candidate.cer - self.baseline_cer

    @property
    def has_degraded(self) -> bool:
        """Whether WER or CER rose at all."""
        return max_rise(self.wer_degradation, self.cer_degradation) > _ROUNDING

    @property
    def failed_utterances(self) -> tuple[dict[str, Any], ...]:
        """The spoken utterances that failed, as in `Comparison.changed`."""
        return _spoken(self.comparison.worse_by(self.sample_degradation_threshold))


def max_rise(wer: float, cer: float) -> float:
    """The greater of two rises; 0 where neither is a number."""
    return max([rise for rise in (wer, cer) if not math.isnan(rise)], default=0.0)


def judge(comparison: Comparison, suite: Suite, rules: RegressionRules) -> Verdict:
    """Decide from the figures alone; each rule that is not kept is a failure of its own."""
    findings: list[tuple[bool, str]] = []
    if comparison.words:
        findings += _of_rates(comparison, suite, rules)
        findings += _of_utterances(comparison, rules)
    if comparison.silent:
        # Zero is the aim. A live version that fails already must not get worse.
        before, after = comparison.baseline, comparison.candidate
        findings.append(
            (
                after.silent_with_text <= before.silent_with_text,
                f"words on {after.silent_with_text} of {comparison.silent} silent clips "
                f"(live version: {before.silent_with_text})",
            )
        )
    return Verdict.of(findings or [(False, "there is nothing to judge by")])


def _of_rates(
    comparison: Comparison, suite: Suite, rules: RegressionRules
) -> Iterable[tuple[bool, str]]:
    before, after = comparison.baseline, comparison.candidate
    wer, cer = suite.held_to(comparison)
    rise, tolerance = after.wer - wer, rules.tolerance(suite.kind)
    limit = tolerance if suite.max_wer_degradation is None else suite.max_wer_degradation
    kept = rise <= limit + _ROUNDING
    text = (
        f"{after.errors} word errors where the live version makes {before.errors}"
        if suite.baseline_wer is None
        else f"WER {after.wer:.2%} where {wer:.2%} was given"
    )
    yield kept, text + ("" if kept else f": WER rises by {rise:.2%}, more than {limit:.2%}")
    cer_rise = after.cer - cer
    if suite.baseline_cer is not None or suite.max_cer_degradation is not None:
        limit = tolerance if suite.max_cer_degradation is None else suite.max_cer_degradation
        kept = cer_rise <= limit + _ROUNDING
        text = f"CER {after.cer:.2%} where {cer:.2%} is held to"
        yield kept, text + ("" if kept else f": CER rises by {cer_rise:.2%}, more than {limit:.2%}")
    worst = max_rise(rise, cer_rise)
    rises = f"WER changes by {rise:+.2%}, CER by {cer_rise:+.2%}"
    if rules.fail_on_any_degradation and worst > _ROUNDING:
        yield False, f"{rises}; no degradation is tolerated"
    threshold = rules.critical_degradation_threshold
    if rules.fail_on_critical_degradation and worst > threshold + _ROUNDING:
        yield False, f"{rises}; more than {threshold:.2%} is critical"


def _of_utterances(comparison: Comparison, rules: RegressionRules) -> Iterable[tuple[bool, str]]:
    """Whether more utterances fail than may.

    Two equally good models differ on many short utterances, as often one way as the other. So an
    utterance that recovers as far makes up for one that fails. One may always fail, unless the
    rate is 0: on a suite of 14, one is already 7 %.
    """
    threshold = rules.sample_degradation_threshold
    failed = len(_spoken(comparison.worse_by(threshold)))
    if not failed:
        return
    recovered = len(_spoken(comparison.better_by(threshold)))
    spoken, rate = comparison.utterances - comparison.silent, rules.max_failed_samples_rate
    allowed = max(1.0, rate * spoken) if rate else 0.0
    kept = failed - recovered <= allowed + _ROUNDING
    yield (
        kept,
        f"{failed} of {spoken} utterances fail, with WER up by more than {threshold:g}, "
        f"and {recovered} recover" + ("" if kept else f": more than {rate:.2%} are lost"),
    )


def _spoken(rows: Iterable[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Silence is judged by itself."""
    return tuple(row for row in rows if row["words"])
