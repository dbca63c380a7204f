"""Is it worth training now? Pure: numbers in, a decision with its reasons out."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TriggerRules:
    """Thresholds, as configured."""

    min_error_cases: int
    min_corrected_cases: int
    trigger_on_error_rate: bool
    error_rate_threshold: float
    min_error_score: float = 0.0
    """An error case that nobody has corrected counts only if its suspicion reaches this."""


@dataclass(frozen=True, kw_only=True)
class TriggerMetrics:
    """What has come since the last cycle."""

    error_cases: int
    corrected_cases: int
    inferences: int
    """All that were logged, right or wrong."""
    inference_errors: int
    """How many of these are known to be wrong. Cases that came without a log are not among them:
    what share of the traffic they are, nobody knows."""

    @property
    def error_rate(self) -> float:
        """Errors over all logged inferences; NaN when nothing was logged."""
        return self.inference_errors / self.inferences if self.inferences else math.nan


@dataclass(frozen=True, kw_only=True)
class TriggerDecision:
    """Whether to train, and why."""

    should_trigger: bool
    reasons: tuple[str, ...]
    """What speaks for it."""
    objections: tuple[str, ...]
    """What speaks against it, or is not reached yet."""
    metrics: TriggerMetrics


def decide(metrics: TriggerMetrics, rules: TriggerRules) -> TriggerDecision:
    """Train when enough is corrected, and errors are either many or frequent.

    >>> rules = TriggerRules(
    ...     min_error_cases=10,
    ...     min_corrected_cases=5,
    ...     trigger_on_error_rate=True,
    ...     error_rate_threshold=0.15,
    ... )
    >>> metrics = TriggerMetrics(
    ...     error_cases=12, corrected_cases=9, inferences=500, inference_errors=12
    ... )
    >>> decide(metrics, rules).should_trigger
    True
    """
    reasons: list[str] = []
    objections: list[str] = []

    def weigh(reached: bool, text: str) -> bool:
        (reasons if reached else objections).append(text)
        return reached

    enough = weigh(
        metrics.corrected_cases >= rules.min_corrected_cases,
        f"{metrics.corrected_cases} corrected cases of {rules.min_corrected_cases} wanted",
    )
    many = weigh(
        metrics.error_cases >= rules.min_error_cases,
        f"{metrics.error_cases} error cases of {rules.min_error_cases} wanted",
    )
    frequent = False
    if rules.trigger_on_error_rate:
        # NaN compares false, so an empty log never triggers.
        frequent = weigh(
            metrics.error_rate >= rules.error_rate_threshold,
            f"error rate {metrics.error_rate:.1%} of {rules.error_rate_threshold:.1%} wanted "
            f"({metrics.inferences} inferences)"
            if metrics.inferences
            else "no inferences recorded, so there is no error rate",
        )
    return TriggerDecision(
        should_trigger=enough and (many or frequent),
        reasons=tuple(reasons),
        objections=tuple(objections),
        metrics=metrics,
    )
