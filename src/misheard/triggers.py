"""Is it worth training now? Pure: numbers in, a decision with its reasons out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from misheard.scoring.expected_gain import ExpectedGain, Provable
from misheard.scoring.survey import Estimate
from misheard.settings import TriggerSettings


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
class Drift:
    """Whether suspicion has moved, by a test that is made elsewhere."""

    detail: str
    """Its figures, in words."""
    has_drifted: bool


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """What else speaks for a training, or against one now."""

    audited: Estimate | None = None
    """Share of the traffic that is wrong, by the random audit since the last cycle."""
    drift: Drift | None = None
    running: str = ""
    """The cycle that still works or waits for a person, and its state; empty where none does."""
    hours_since_end: float | None = None
    """Since the last cycle came to its end; None where there was none yet."""
    days_since_begin: float | None = None
    """Since the last cycle began; None where there was none yet."""
    training_hours: float = 0.0
    """Spent on training in this calendar month (UTC)."""


class Name(StrEnum):
    """The conditions."""

    CORRECTED = "corrected cases"
    ERRORS = "error cases"
    CORRECTED_ALONE = "corrected cases alone"
    ERROR_RATE = "error rate"
    AUDITED_RATE = "audited error rate"
    DRIFT = "drift of suspicion"
    SCHEDULE = "schedule"
    COOLDOWN = "cooldown"
    HOURS = "training hours"
    COST = "training cost"
    RUNNING = "no other cycle"
    PROVABLE = "provable gain"


_CAUSES = frozenset(
    {
        Name.ERRORS,
        Name.CORRECTED_ALONE,
        Name.ERROR_RATE,
        Name.AUDITED_RATE,
        Name.DRIFT,
        Name.SCHEDULE,
    }
)
"""One of these has to be met, and all of the others."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One thing that was looked at."""

    name: Name
    is_met: bool
    text: str
    """Its figures."""

    @property
    def is_cause(self) -> bool:
        """Whether it is one of several that may be the cause; else it has to be met."""
        return self.name in _CAUSES


@dataclass(frozen=True, kw_only=True)
class TriggerDecision:
    """Whether to train, and why."""

    should_trigger: bool
    reasons: tuple[str, ...]
    """What speaks for it."""
    objections: tuple[str, ...]
    """What speaks against it, or is not reached yet."""
    metrics: TriggerMetrics
    conditions: tuple[Condition, ...]
    """All that was looked at: `reasons` are the texts of those that are met."""
    circumstances: Circumstances
    expected: ExpectedGain | None = None
    """What a training may buy; None where nobody asked."""


def decide(
    metrics: TriggerMetrics,
    rules: TriggerSettings,
    circumstances: Circumstances | None = None,
    *,
    expected: ExpectedGain | None = None,
) -> TriggerDecision:
    """Train when enough is corrected, there is a cause, and nothing forbids it now.

    Causes are many errors or frequent ones; and, where the rules name them, many corrections, a
    drift of suspicion, or time that has passed. A cooldown, a budget that is spent and another
    cycle forbid it; so does a gain that cannot be proven, where `require_provable` is on.

    >>> rules = TriggerSettings(min_error_cases=10, min_corrected_cases=5)
    >>> metrics = TriggerMetrics(
    ...     error_cases=12, corrected_cases=9, inferences=500, inference_errors=12
    ... )
    >>> decide(metrics, rules).should_trigger
    True
    >>> decide(metrics, rules, Circumstances(running="c-1 is training")).objections
    ('error rate 2.4% of 15.0% wanted (500 inferences)', 'c-1 is training')
    """
    found = circumstances or Circumstances()
    conditions = [*_of_traffic(metrics, rules, found), *_of_time(rules, found)]
    if rules.require_provable and expected is not None:
        is_met = expected.answer is Provable.PROVABLE
        conditions.append(Condition(name=Name.PROVABLE, is_met=is_met, text=expected.told))
    has_cause = any(one.is_met for one in conditions if one.is_cause)
    return TriggerDecision(
        should_trigger=has_cause and all(one.is_met for one in conditions if not one.is_cause),
        reasons=tuple(one.text for one in conditions if one.is_met),
        objections=tuple(one.text for one in conditions if not one.is_met),
        metrics=metrics,
        conditions=tuple(conditions),
        circumstances=found,
        expected=expected,
    )


def _of_traffic(
    metrics: TriggerMetrics, rules: TriggerSettings, found: Circumstances
) -> Iterator[Condition]:
    corrected = metrics.corrected_cases
    yield Condition(
        name=Name.CORRECTED,
        is_met=corrected >= rules.min_corrected_cases,
        text=f"{corrected} corrected cases of {rules.min_corrected_cases} wanted",
    )
    yield Condition(
        name=Name.ERRORS,
        is_met=metrics.error_cases >= rules.min_error_cases,
        text=f"{metrics.error_cases} error cases of {rules.min_error_cases} wanted",
    )
    if alone := rules.corrected_cases_alone:
        yield Condition(
            name=Name.CORRECTED_ALONE,
            is_met=corrected >= alone,
            text=f"{corrected} corrected cases of {alone} that are a cause by themselves",
        )
    if rules.trigger_on_error_rate:
        yield _of_rate(metrics, rules, found.audited)
    if rules.trigger_on_drift:
        yield _of_drift(found.drift)


def _of_rate(
    metrics: TriggerMetrics, rules: TriggerSettings, audited: Estimate | None
) -> Condition:
    """By the audit where it has enough labels: it alone is no matter of who reports what."""
    wanted = rules.error_rate_threshold
    if audited is not None and audited.n >= rules.min_audited:
        return Condition(
            name=Name.AUDITED_RATE,
            is_met=audited.low >= wanted,
            text=f"audited error rate at least {audited.low:.1%} of {wanted:.1%} wanted "
            f"({audited.estimate:.1%} to the best of our knowledge, {audited.n} labels drawn at "
            f"random, of {audited.groups} speakers, calls or sessions)",
        )
    return Condition(
        name=Name.ERROR_RATE,
        # NaN compares false, so an empty log never triggers.
        is_met=metrics.error_rate >= wanted,
        text=f"error rate {metrics.error_rate:.1%} of {wanted:.1%} wanted "
        f"({metrics.inferences} inferences)"
        if metrics.inferences
        else "no inferences recorded, so there is no error rate",
    )


def _of_drift(drift: Drift | None) -> Condition:
    has_drifted, text = False, "no test of a drift of suspicion was made yet"
    if drift is not None:
        has_drifted, text = drift.has_drifted, f"drift of suspicion: {drift.detail}"
    return Condition(name=Name.DRIFT, is_met=has_drifted, text=text)


def _of_time(rules: TriggerSettings, found: Circumstances) -> Iterator[Condition]:
    if every := rules.every_days:
        passed = found.days_since_begin
        since = "no cycle yet" if passed is None else f"{passed:.1f} days since the last cycle"
        yield Condition(
            name=Name.SCHEDULE,
            is_met=passed is None or passed >= every,
            text=f"{since}, one every {every:g} days is scheduled",
        )
    ended = found.hours_since_end
    if (pause := rules.cooldown_hours) and ended is not None:
        yield Condition(
            name=Name.COOLDOWN,
            is_met=ended >= pause,
            text=f"{ended:.1f} h since the last cycle ended, of {pause:g} h between two",
        )
    hours = found.training_hours
    if most := rules.max_training_hours_per_month:
        yield Condition(
            name=Name.HOURS,
            is_met=hours < most,
            text=f"{hours:.1f} of {most:g} training hours of this month are spent",
        )
    if most := rules.max_cost_per_month:
        yield Condition(
            name=Name.COST,
            is_met=hours * rules.price_per_hour < most,
            text=f"{hours * rules.price_per_hour:.2f} of this month's {most:g} for training "
            "are spent",
        )
    if found.running and rules.one_at_a_time:
        yield Condition(name=Name.RUNNING, is_met=False, text=found.running)
