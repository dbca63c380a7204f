"""The second gate: suites of what already works, which must never get worse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Engine, insert, select

from misheard.database.engine import new_id, now, writing
from misheard.database.schema import suite_runs, suites
from misheard.datasets.datasets import Dataset, Datasets
from misheard.gates.comparison import Comparison
from misheard.gates.validation import Validations
from misheard.gates.verdict import Verdict, from_columns, to_columns
from misheard.speech.transcriber import Progress, no_progress


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
    """How much the WER may rise above the live version's, absolute, as configured."""

    max_wer_degradation: float
    max_critical_wer_degradation: float
    max_edge_case_wer_degradation: float

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


def judge(comparison: Comparison, kind: SuiteKind, rules: RegressionRules) -> Verdict:
    """Decide from the figures alone."""
    before, after = comparison.baseline, comparison.candidate
    reasons, passed = [], True
    if comparison.words:
        rise, tolerance = after.wer - before.wer, rules.tolerance(kind)
        # In whole errors, since 0.1 + 0.2 is not 0.3.
        passed = after.errors - before.errors <= tolerance * comparison.words + 1e-9
        reasons.append(
            f"{after.errors} word errors where the live version makes {before.errors}"
            + ("" if passed else f": WER rises by {rise:.2%}, more than {tolerance:.2%}")
        )
    if comparison.silent:
        # Zero is the aim. A live version that fails already must not get worse.
        quiet = after.silent_with_text <= before.silent_with_text
        passed = passed and quiet
        reasons.append(
            f"words on {after.silent_with_text} of {comparison.silent} silent clips "
            f"(live version: {before.silent_with_text})"
        )
    return Verdict(passed=passed, reasons=tuple(reasons))


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
        self._rules = rules

    def add(self, name: str, kind: SuiteKind, dataset: Dataset, *, description: str = "") -> Suite:
        """Keep a suite; one of the same name stays as it is."""
        made = Suite(
            id=new_id("suite"),
            created_at=now(),
            name=name,
            kind=kind,
            dataset_id=dataset.id,
            description=description,
        )
        with writing(self._engine) as connection:
            query = select(suites).where(suites.c.name == name)
            known = connection.execute(query).mappings().one_or_none()
            if known is not None:
                return _suite(dict(known))
            connection.execute(insert(suites).values(**vars(made)))
        return made

    def listed(self) -> list[Suite]:
        """All suites, in the order they were added."""
        with self._engine.connect() as connection:
            query = select(suites).order_by(suites.c.created_at, suites.c.id)
            return [_suite(dict(row)) for row in connection.execute(query).mappings()]

    def run_all(
        self,
        candidate_id: str,
        baseline_id: str,
        *,
        observe: Callable[[str, int], Progress] = lambda _what, _total: no_progress,
    ) -> list[SuiteRun]:
        """The candidate on every suite; `observe` is told of each and gives its progress."""
        made = []
        for suite in self.listed():
            dataset = self._datasets.get(suite.dataset_id)
            progress = observe(f"suite '{suite.name}'", 2 * len(self._datasets.rows(dataset)))
            comparison = self._validations.compare(
                candidate_id, baseline_id, dataset, progress=progress
            )
            made.append(
                SuiteRun(
                    id=new_id("run"),
                    created_at=now(),
                    suite_id=suite.id,
                    candidate_id=candidate_id,
                    baseline_id=baseline_id,
                    verdict=judge(comparison, suite.kind, self._rules),
                    comparison=comparison,
                )
            )
        with writing(self._engine) as connection:
            for run in made:
                connection.execute(insert(suite_runs).values(**to_columns(run)))
        return made

    def runs_of(self, candidate_id: str) -> list[SuiteRun]:
        """The newest run of each suite on a version, in the order of the suites."""
        query = select(suite_runs).where(suite_runs.c.candidate_id == candidate_id)
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(suite_runs.c.created_at)).mappings()
            newest = {row["suite_id"]: SuiteRun(**from_columns(dict(row))) for row in rows}
        return [newest[suite.id] for suite in self.listed() if suite.id in newest]


def _suite(row: dict[str, Any]) -> Suite:
    return Suite(**row | {"kind": SuiteKind(row["kind"])})
