"""What a regression suite is, what it is held to, and what a run of it came to. Records only."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from misheard.gates.comparison import ROUNDING, Comparison
from misheard.gates.verdict import Verdict


class SuiteKind(StrEnum):
    """How strictly a suite is judged."""

    BENCHMARK = "benchmark"
    """Broad: a little worse is tolerated."""
    CRITICAL = "critical"
    """What must not break: no more errors than its baseline makes."""
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
    """What the suite is held to until its baseline is moved; None: what its first run finds."""
    baseline_cer: float | None = None
    max_wer_degradation: float | None = None
    """None: what the settings allow a suite of this kind."""
    max_cer_degradation: float | None = None

    @property
    def has_given_figures(self) -> bool:
        """Whether whoever added it said what it is held to."""
        return self.baseline_wer is not None or self.baseline_cer is not None


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """What a suite is held to, from when it was set until somebody moves it."""

    version_id: str
    wer: float
    """NaN where no word is spoken."""
    cer: float
    silent_with_text: int
    """Clips in which nobody speaks and that were given words."""
    actor: str
    reason: str
    created_at: datetime
    number: int = 0
    """Counts baselines; set when it is stored."""

    def __str__(self) -> str:
        """For the audit log."""
        rates = "no words" if math.isnan(self.wer) else f"WER {self.wer:.2%}, CER {self.cer:.2%}"
        return f"{self.version_id}: {rates}, {self.silent_with_text} silent clips with words"


@dataclass(frozen=True, kw_only=True)
class HeldTo:
    """The figures that a candidate is measured against on a suite."""

    wer: float
    cer: float
    silent_with_text: int
    version_id: str = ""
    """The baseline's version; empty where figures were given, or the live version's own count."""


def held_to(comparison: Comparison, suite: Suite, baseline: Baseline | None = None) -> HeldTo:
    """A baseline that was set; else the figures given with the suite; else the live version's."""
    if baseline is not None:
        return HeldTo(
            wer=baseline.wer,
            cer=baseline.cer,
            silent_with_text=baseline.silent_with_text,
            version_id=baseline.version_id,
        )
    live = comparison.baseline
    return HeldTo(
        wer=live.wer if suite.baseline_wer is None else suite.baseline_wer,
        cer=live.cer if suite.baseline_cer is None else suite.baseline_cer,
        silent_with_text=live.silent_with_text,
    )


@dataclass(frozen=True, kw_only=True)
class SuiteRun:
    """A candidate on one suite."""

    id: str
    created_at: datetime
    suite_id: str
    candidate_id: str
    baseline_id: str
    """The version that it was compared with utterance by utterance: the live one."""
    verdict: Verdict
    comparison: Comparison
    baseline_wer: float
    """What the candidate was held to."""
    baseline_cer: float
    sample_degradation_threshold: float
    """The rise of its own WER above which an utterance failed."""
    baseline_silent: int = 0
    """Silent clips that may have been given words."""
    held_to_version: str = ""
    """The version whose figures it was held to; empty where they were given, or the live one's."""
    flaky: tuple[str, ...] = ()
    """Audio of the utterances that are known to be now right, now wrong."""
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
        return max_rise(self.wer_degradation, self.cer_degradation) > ROUNDING

    @property
    def failed_utterances(self) -> tuple[dict[str, Any], ...]:
        """The spoken utterances that failed, as in `Comparison.changed`."""
        return spoken(self.comparison.worse_by(self.sample_degradation_threshold))

    @property
    def fixed(self) -> tuple[dict[str, Any], ...]:
        """The utterances that the live version gets wrong and the candidate right."""
        return self.comparison.fixed

    @property
    def broken(self) -> tuple[dict[str, Any], ...]:
        """The utterances that the live version gets right and the candidate wrong."""
        return self.comparison.broken


def max_rise(wer: float, cer: float) -> float:
    """The greater of two rises; 0 where neither is a number."""
    return max([rise for rise in (wer, cer) if not math.isnan(rise)], default=0.0)


def spoken(rows: Iterable[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Those with words: silence is judged by itself."""
    return tuple(row for row in rows if row["words"])
