"""The second gate: suites of what already works, which must never get worse."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, Engine, Select, insert, select

from misheard.database import audit
from misheard.database.engine import new_id, now, writing
from misheard.database.schema import suite_results, suite_runs
from misheard.datasets.datasets import Datasets
from misheard.gates import suite_baselines
from misheard.gates.contender import Contender
from misheard.gates.suite_baselines import SuiteBaselines
from misheard.gates.suite_cases import ListedUtterance
from misheard.gates.suite_history import CaseResult, SuiteHistory
from misheard.gates.suite_judging import judge
from misheard.gates.suite_rows import (
    newest_runs_first,
    number_or_none,
    result_rows,
    run_columns,
    run_of,
)
from misheard.gates.suite_store import SuiteStore
from misheard.gates.suites import Baseline, RegressionRules, Suite, SuiteKind, SuiteRun, held_to
from misheard.gates.validation import Validations, id_of
from misheard.speech.transcriber import Progress, no_progress

ALERT_ACTOR = suite_baselines.ACTOR
"""Who the audit log says has raised an alert."""

_alerts = logging.getLogger("misheard.alerts")


class RegressionSuites(SuiteStore):
    """Keeps suites, runs them, and remembers what every run came to."""

    def __init__(
        self,
        engine: Engine,
        datasets: Datasets,
        validations: Validations,
        *,
        rules: RegressionRules,
        contender: Callable[[str], str | Contender] = lambda version_id: version_id,
    ) -> None:
        """`contender` says how a version is heard: by its files, or by a function of its owner."""
        super().__init__(engine, datasets)
        self._validations = validations
        self._contender = contender
        self.rules = rules

    @cached_property
    def history(self) -> SuiteHistory:
        """Earlier runs, by suite and by case."""
        return SuiteHistory(self._engine)

    @cached_property
    def baselines(self) -> SuiteBaselines:
        """What the suites are held to."""
        return SuiteBaselines(self._engine, self._datasets, self._validations, self._contender)

    def utterances(self, suite: Suite) -> list[ListedUtterance]:
        """What a suite holds, each with where it comes from, and whether it is flaky."""
        cases = {one.audio_sha256: one for one in self.cases.of_suite(suite.name)}
        flaky = self.history.flaky(suite.name)
        return [
            ListedUtterance(
                row=row, case=cases.get(row.audio_sha256), is_flaky=row.audio_sha256 in flaky
            )
            for row in self._datasets.test_rows(self._datasets.get(suite.dataset_id))
        ]

    def run(
        self,
        suite: Suite,
        candidate: str | Contender,
        baseline: str | Contender,
        *,
        cycle_id: str | None = None,
        unless_since: datetime | None = None,
        progress: Progress = no_progress,
    ) -> SuiteRun:
        """The candidate on one suite, judged and kept; alerts as the rules say.

        What a cycle has run on this suite already, with the same two sides, is given again; with
        `unless_since` any run of it outside of cycles that is newer.
        """
        wanted = _same_run(suite, id_of(candidate), id_of(baseline), cycle_id, unless_since)
        if wanted is not None and (known := self._first(wanted)) is not None:
            return known
        dataset = self._datasets.get(suite.dataset_id)
        paired, comparison = self._validations.listen(
            candidate, baseline, dataset, progress=progress
        )
        made = SuiteRun(
            id=new_id("run"),
            created_at=now(),
            suite_id=suite.id,
            candidate_id=id_of(candidate),
            baseline_id=id_of(baseline),
            verdict=judge(comparison, suite, self.rules),
            comparison=comparison,
            baseline_wer=math.nan,
            baseline_cer=math.nan,
            sample_degradation_threshold=self.rules.sample_degradation_threshold,
            cycle_id=cycle_id,
        )
        results = result_rows(made.id, paired.utterances())
        flaky = self.history.flaky(suite.name, [_case_result(made, row) for row in results])
        first = self.baselines.first(suite, comparison, made.baseline_id)
        with writing(self._engine) as connection:
            # Another process may have run the same in the meantime.
            if wanted is not None:
                row = connection.execute(wanted.limit(1)).mappings().one_or_none()
                if row is not None:
                    return run_of(dict(row))
            against = suite_baselines.newest(connection, suite.id)
            if against is None and first is not None:
                against = suite_baselines.record(connection, suite, first)
            made = _judged(made, suite, self.rules, against, flaky)
            connection.execute(insert(suite_runs).values(**run_columns(made)))
            if results:
                connection.execute(insert(suite_results), results)
            alert = self._alert(connection, suite, made)
        if alert:
            _alerts.warning("Suite '%s', candidate %s: %s", suite.name, made.candidate_id, alert)
        return made

    def run_all(
        self,
        candidate: str | Contender,
        baseline: str | Contender,
        *,
        kinds: Collection[SuiteKind] | None = None,
        names: Collection[str] | None = None,
        cycle_id: str | None = None,
        observe: Callable[[str, int], Progress] = lambda _what, _total: no_progress,
    ) -> list[SuiteRun]:
        """The candidate on every suite, or those of some kinds or names; each run is kept at once.

        `observe` is told of each suite and gives its progress.
        """
        made = []
        for suite in self.listed():
            if (kinds is None or suite.kind in kinds) and (names is None or suite.name in names):
                progress = observe(f"suite '{suite.name}'", 2 * self._clips(suite))
                made.append(
                    self.run(suite, candidate, baseline, cycle_id=cycle_id, progress=progress)
                )
        return made

    def runs(
        self,
        *,
        suite_id: str | None = None,
        candidate_id: str | None = None,
        cycle_id: str | None = None,
        since: datetime | None = None,
        limit: int | None = None,
    ) -> list[SuiteRun]:
        """The runs, newest first; all of them without a limit."""
        query = newest_runs_first()
        if suite_id is not None:
            query = query.where(suite_runs.c.suite_id == suite_id)
        if candidate_id is not None:
            query = query.where(suite_runs.c.candidate_id == candidate_id)
        if cycle_id is not None:
            query = query.where(suite_runs.c.cycle_id == cycle_id)
        if since is not None:
            query = query.where(suite_runs.c.created_at >= since)
        with self._engine.connect() as connection:
            rows = connection.execute(query.limit(limit)).mappings()
            return [run_of(dict(row)) for row in rows]

    def runs_of(self, candidate_id: str, *, cycle_id: str | None = None) -> list[SuiteRun]:
        """The newest run of each suite on a version, in the order of the suites.

        Without a cycle: of the suites that count now. With one: what that cycle ran, also on
        suites that were replaced since.
        """
        newest: dict[str, SuiteRun] = {}
        for run in self.runs(candidate_id=candidate_id, cycle_id=cycle_id):
            newest.setdefault(run.suite_id, run)
        chosen = self.listed() if cycle_id is None else self._every()
        return [newest[suite.id] for suite in chosen if suite.id in newest]

    def due(self, at: datetime) -> list[Suite]:
        """The suites that the schedule asks for: no run outside of cycles is new enough."""
        if not self.rules.run_on_schedule:
            return []
        query = select(suite_runs.c.suite_id).where(
            suite_runs.c.cycle_id.is_(None), suite_runs.c.created_at > at - self._interval
        )
        with self._engine.connect() as connection:
            fresh = set(connection.scalars(query))
        return [suite for suite in self.listed() if suite.id not in fresh]

    def run_due(
        self,
        live: str | Contender,
        at: datetime,
        *,
        observe: Callable[[str, int], Progress] = lambda _what, _total: no_progress,
    ) -> list[SuiteRun]:
        """What is live on the suites that are due; of several processes one keeps the run."""
        made = []
        for suite in self.due(at):
            progress = observe(f"suite '{suite.name}'", 2 * self._clips(suite))
            since = at - self._interval
            run = self.run(suite, live, live, unless_since=since, progress=progress)
            if run.created_at >= at:
                made.append(run)
        return made

    @property
    def _interval(self) -> timedelta:
        return timedelta(hours=self.rules.schedule_interval_hours)

    def _clips(self, suite: Suite) -> int:
        return len(self._datasets.rows(self._datasets.get(suite.dataset_id)))

    def _alert(self, connection: Connection, suite: Suite, run: SuiteRun) -> str:
        """Write an alert where the rules want one; gives its text, empty where there is none."""
        failed = not run.verdict.passed
        if failed and self.rules.alert_on_failure:
            text = "; ".join(run.verdict.failures)
        elif not failed and self.rules.alert_on_warning and run.has_degraded:
            text = "passed, but worse: " + "; ".join(run.verdict.reasons)
        else:
            return ""
        evidence = {
            "run_id": run.id,
            "suite": suite.name,
            "candidate_id": run.candidate_id,
            "baseline_id": run.baseline_id,
            "cycle_id": run.cycle_id,
            "passed": run.verdict.passed,
            "wer_degradation": number_or_none(run.wer_degradation),
            "cer_degradation": number_or_none(run.cer_degradation),
            "failed_utterances": len(run.failed_utterances),
        }
        entry = audit.AuditEntry(
            actor=ALERT_ACTOR, action="alert", subject=suite.id, reason=text, evidence=evidence
        )
        audit.record(connection, entry)
        return text

    def _first(self, query: Select[Any]) -> SuiteRun | None:
        with self._engine.connect() as connection:
            row = connection.execute(query.limit(1)).mappings().one_or_none()
        return run_of(dict(row)) if row is not None else None


def _same_run(
    suite: Suite,
    candidate_id: str,
    baseline_id: str,
    cycle_id: str | None,
    unless_since: datetime | None,
) -> Select[Any] | None:
    """Finds the run that another one would only repeat; None where each counts."""
    runs = newest_runs_first().where(suite_runs.c.suite_id == suite.id)
    if cycle_id is not None:
        return runs.where(
            suite_runs.c.cycle_id == cycle_id,
            suite_runs.c.candidate_id == candidate_id,
            suite_runs.c.baseline_id == baseline_id,
        )
    if unless_since is not None:
        return runs.where(suite_runs.c.cycle_id.is_(None), suite_runs.c.created_at > unless_since)
    return None


def _case_result(run: SuiteRun, row: dict[str, Any]) -> CaseResult:
    return CaseResult(
        **row,
        created_at=run.created_at,
        candidate_id=run.candidate_id,
        baseline_id=run.baseline_id,
    )


def _judged(
    run: SuiteRun,
    suite: Suite,
    rules: RegressionRules,
    baseline: Baseline | None,
    flaky: Collection[str],
) -> SuiteRun:
    held = held_to(run.comparison, suite, baseline)
    worse = {row["audio_sha256"] for row in (*run.comparison.changed, *run.comparison.missed)}
    return replace(
        run,
        verdict=judge(run.comparison, suite, rules, baseline=baseline, flaky=flaky),
        baseline_wer=held.wer,
        baseline_cer=held.cer,
        baseline_silent=held.silent_with_text,
        held_to_version=held.version_id,
        flaky=tuple(sorted(worse & set(flaky))),
    )
