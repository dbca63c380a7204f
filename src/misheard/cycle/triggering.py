"""Asks the rooms for what the trigger decides by, and remembers what it came to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine

from misheard import triggers
from misheard.cases.audited import NEWEST, audited_rate
from misheard.cases.cases import Cases
from misheard.cycle.evaluations import Evaluation, Evaluations
from misheard.cycle.expecting import TRAININGS, Expecting
from misheard.cycle.pace import pace, training_hours
from misheard.cycle.store import CycleStore
from misheard.database.engine import now
from misheard.monitoring.observations import Observations
from misheard.scoring.expected_gain import ExpectedGain
from misheard.settings import TriggerSettings
from misheard.triggers import Circumstances, Drift, TriggerDecision


@dataclass(frozen=True, kw_only=True)
class Triggering:
    """Evaluates the trigger."""

    engine: Engine
    store: CycleStore
    cases: Cases
    observations: Observations
    expecting: Expecting
    rules: TriggerSettings
    drift: Callable[[], Drift | None]
    """The newest test of a drift of suspicion; asked only where the rules name it."""

    def check(self, *, expect: bool = False) -> TriggerDecision:
        """Whether training is worth it now, by what came since the last cycle.

        What training may buy is said with `expect`, or where the answer hangs on it: it takes a
        part of a second, all else a few milliseconds.
        """
        cases, corrected = self.cases.since_cycle(min_suspicion=self.rules.min_error_score)
        errors, inferences = self.observations.traffic_since_cycle()
        metrics = triggers.TriggerMetrics(
            error_cases=cases,
            corrected_cases=corrected,
            inferences=inferences,
            inference_errors=errors,
        )
        decision = triggers.decide(metrics, self.rules, self._circumstances())
        hangs_on_it = self.rules.require_provable and decision.should_trigger
        return self.with_expected(decision) if expect or hangs_on_it else decision

    def with_expected(self, decision: TriggerDecision) -> TriggerDecision:
        """The same decision with what training may buy."""
        if decision.expected is not None:
            return decision
        expected = self._expected(decision)
        return triggers.decide(
            decision.metrics, self.rules, decision.circumstances, expected=expected
        )

    def keep(self, decision: TriggerDecision) -> None:
        """Remember an evaluation that begins nothing."""
        self.kept.keep(decision, expect=lambda: self._expected(decision))

    @property
    def kept(self) -> Evaluations:
        """What it came to before."""
        return Evaluations(self.engine)

    def history(self, *, limit: int, before: int | None = None) -> list[Evaluation]:
        """What it came to before, newest first."""
        return self.kept.listed(limit=limit, before=before)

    def _expected(self, decision: TriggerDecision) -> ExpectedGain:
        newest = self.store.listed(limit=TRAININGS)
        return self.expecting.gain(decision.metrics.corrected_cases, newest)

    def _circumstances(self) -> Circumstances:
        rules, moment = self.rules, now()
        has_budget = rules.max_training_hours_per_month or rules.max_cost_per_month
        with self.engine.connect() as connection:
            before = pace(connection)
            of_audit = None
            if rules.trigger_on_error_rate:
                newest = max(NEWEST, rules.min_audited)
                of_audit = audited_rate(
                    connection, before.began_at, newest=newest, count_drawn=False
                )
            spent_h = training_hours(connection, moment) if has_budget else 0.0
        return Circumstances(
            audited=of_audit.error_rate if of_audit and of_audit.labelled else None,
            drift=self.drift() if rules.trigger_on_drift else None,
            running=before.running,
            hours_since_end=_hours(before.ended_at, moment),
            days_since_begin=_days(before.began_at, moment),
            training_hours=round(spent_h, 4),
        )


def _hours(since: datetime | None, moment: datetime) -> float | None:
    return None if since is None else round((moment - since).total_seconds() / 3600, 4)


def _days(since: datetime | None, moment: datetime) -> float | None:
    return None if since is None else round((moment - since).total_seconds() / 86400, 4)
