"""The second gate: suites of what already works, which must never get worse."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, Select, func, insert, select

from misheard.database import audit
from misheard.database.engine import new_id, now, writing
from misheard.database.schema import suite_runs, suites
from misheard.datasets.datasets import Dataset, Datasets
from misheard.errors import InvalidSuiteError, UnknownIdError
from misheard.gates.comparison import DEGRADATION
from misheard.gates.contender import Contender
from misheard.gates.suites import RegressionRules, Suite, SuiteKind, SuiteRun, judge
from misheard.gates.validation import Validations, id_of
from misheard.gates.verdict import from_columns, to_columns
from misheard.speech.transcriber import Progress, no_progress

ALERT_ACTOR = "misheard"
"""Who the audit log says has raised an alert."""

_alerts = logging.getLogger("misheard.alerts")
# What a run has beyond the columns of its table; kept in `figures`.
_HELD_TO = ("baseline_wer", "baseline_cer", "sample_degradation_threshold")


class RegressionSuites:
    """Keeps suites and runs them."""

    def __init__(
        self,
        engine: Engine,
        datasets: Datasets,
        validations: Validations,
        *,
        rules: RegressionRules,
    ) -> None:
        self._engine = engine
        self._datasets = datasets
        self._validations = validations
        self.rules = rules

    def add(
        self,
        name: str,
        kind: SuiteKind,
        dataset: Dataset,
        *,
        description: str = "",
        baseline_version: str = "",
        baseline_wer: float | None = None,
        baseline_cer: float | None = None,
        max_wer_degradation: float | None = None,
        max_cer_degradation: float | None = None,
    ) -> Suite:
        """Keep a suite.

        One of the same name and content is the one that is there; with other content the new one
        replaces it. Raises `InvalidSuiteError` for figures that no error rate can have.
        """
        figures = {
            "baseline_wer": baseline_wer,
            "baseline_cer": baseline_cer,
            "max_wer_degradation": max_wer_degradation,
            "max_cer_degradation": max_cer_degradation,
        }
        for key, value in figures.items():
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise InvalidSuiteError(f"'{name}', {key} = {value}: it must be 0 or more.")
        made = Suite(
            id=new_id("suite"),
            created_at=now(),
            name=name,
            kind=kind,
            dataset_id=dataset.id,
            description=description,
            baseline_version=baseline_version,
            **figures,
        )
        with writing(self._engine) as connection:
            query = select(suites).where(suites.c.name == name)
            query = query.order_by(suites.c.created_at.desc(), suites.c.id.desc()).limit(1)
            row = connection.execute(query).mappings().one_or_none()
            if row is not None:
                known = _suite(dict(row))
                if replace(made, id=known.id, created_at=known.created_at) == known:
                    return known
            connection.execute(insert(suites).values(**vars(made)))
        return made

    def get(self, suite_id: str) -> Suite:
        """A suite by its id, also one that was replaced."""
        with self._engine.connect() as connection:
            query = select(suites).where(suites.c.id == suite_id)
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            raise UnknownIdError(f"There is no suite '{suite_id}'. See: misheard suite list")
        return _suite(dict(row))

    def listed(self) -> list[Suite]:
        """The newest suite of each name, in the order the names were first added."""
        return list({suite.name: suite for suite in self._every()}.values())

    def run(
        self,
        suite: Suite,
        candidate: str | Contender,
        baseline: str | Contender,
        *,
        cycle_id: str | None = None,
        progress: Progress = no_progress,
    ) -> SuiteRun:
        """The candidate on one suite, judged and kept; alerts as the rules say.

        What a cycle has run on this suite already, with the same two sides, is given again.
        """
        wanted = _newest_first().where(
            suite_runs.c.suite_id == suite.id,
            suite_runs.c.cycle_id == cycle_id,
            suite_runs.c.candidate_id == id_of(candidate),
            suite_runs.c.baseline_id == id_of(baseline),
        )
        if cycle_id is not None and (known := self._first(wanted)) is not None:
            return known
        dataset = self._datasets.get(suite.dataset_id)
        comparison = self._validations.compare(candidate, baseline, dataset, progress=progress)
        wer, cer = suite.held_to(comparison)
        made = SuiteRun(
            id=new_id("run"),
            created_at=now(),
            suite_id=suite.id,
            candidate_id=id_of(candidate),
            baseline_id=id_of(baseline),
            verdict=judge(comparison, suite, self.rules),
            comparison=comparison,
            baseline_wer=wer,
            baseline_cer=cer,
            sample_degradation_threshold=self.rules.sample_degradation_threshold,
            cycle_id=cycle_id,
        )
        with writing(self._engine) as connection:
            # Another process may have run the same for this cycle in the meantime.
            row = connection.execute(wanted.limit(1)).mappings().one_or_none()
            if cycle_id is not None and row is not None:
                return _run(dict(row))
            connection.execute(insert(suite_runs).values(**_columns(made)))
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
        cycle_id: str | None = None,
        observe: Callable[[str, int], Progress] = lambda _what, _total: no_progress,
    ) -> list[SuiteRun]:
        """The candidate on every suite, or those of some kinds; each run is kept when it is done.

        `observe` is told of each suite and gives its progress.
        """
        made = []
        for suite in self.listed():
            if kinds is None or suite.kind in kinds:
                rows = self._datasets.rows(self._datasets.get(suite.dataset_id))
                progress = observe(f"suite '{suite.name}'", 2 * len(rows))
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
        query = _newest_first()
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
            return [_run(dict(row)) for row in rows]

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

    def due(self, at: datetime) -> bool:
        """Whether the schedule asks for a run: the newest one outside of cycles is too old."""
        if not self.rules.run_on_schedule or not self.listed():
            return False
        query = select(func.max(suite_runs.c.created_at)).where(suite_runs.c.cycle_id.is_(None))
        with self._engine.connect() as connection:
            newest: datetime | None = connection.execute(query).scalar()
        interval = timedelta(hours=self.rules.schedule_interval_hours)
        return newest is None or at - newest >= interval

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
            "wer_degradation": _number(run.wer_degradation),
            "cer_degradation": _number(run.cer_degradation),
            "failed_utterances": len(run.failed_utterances),
        }
        entry = audit.AuditEntry(
            actor=ALERT_ACTOR, action="alert", subject=suite.id, reason=text, evidence=evidence
        )
        audit.record(connection, entry)
        return text

    def _every(self) -> list[Suite]:
        """Replaced ones, too, oldest first."""
        with self._engine.connect() as connection:
            query = select(suites).order_by(suites.c.created_at, suites.c.id)
            return [_suite(dict(row)) for row in connection.execute(query).mappings()]

    def _first(self, query: Select[Any]) -> SuiteRun | None:
        with self._engine.connect() as connection:
            row = connection.execute(query.limit(1)).mappings().one_or_none()
        return _run(dict(row)) if row is not None else None


def _newest_first() -> Select[Any]:
    return select(suite_runs).order_by(suite_runs.c.created_at.desc(), suite_runs.c.id.desc())


def _number(value: float) -> float | None:
    """JSON has no word for not-a-number."""
    return value if math.isfinite(value) else None


def _columns(run: SuiteRun) -> dict[str, Any]:
    values = to_columns(run)
    held_to = {key: _number(values.pop(key)) for key in _HELD_TO}
    return values | {"figures": values["figures"] | {"held_to": held_to}}


def _run(row: dict[str, Any]) -> SuiteRun:
    figures = dict(row["figures"])
    held_to = figures.pop("held_to", None)
    fields = from_columns(row | {"figures": figures})
    if held_to is None:
        # Kept when every suite was held to the live version.
        live = fields["comparison"].baseline
        held_to = dict(zip(_HELD_TO, (live.wer, live.cer, DEGRADATION), strict=True))
    fields |= {key: math.nan if value is None else value for key, value in held_to.items()}
    return SuiteRun(**fields)


def _suite(row: dict[str, Any]) -> Suite:
    return Suite(**row | {"kind": SuiteKind(row["kind"])})
