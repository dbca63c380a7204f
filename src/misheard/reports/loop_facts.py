"""What the pages on the loop show, put in order: versions by set, stays, results by suite. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from misheard.deployment import Deployment
from misheard.gates.comparison import Side
from misheard.gates.slices import Slice
from misheard.gates.suites import Suite, SuiteRun
from misheard.gates.validation import Validation
from misheard.reports import charts, figures

VALIDATIONS = 200
DEPLOYMENTS = 50
"""Rows that a page looks at, the newest ones."""
_VERSIONS = 12
"""Versions of a set that are drawn, the newest ones."""


@dataclass(frozen=True, kw_only=True)
class SetRates:
    """Versions that were measured on the same utterances, in the same way."""

    name: str
    utterances: int
    words: int
    normalizer: str
    sides: tuple[tuple[str, Side], ...]
    """Version and figures, in order of registration; what is not registered comes last."""
    left_out: int
    """Older versions for which there was no room."""


@dataclass(frozen=True, kw_only=True)
class Stay:
    """A deployment, and how long its version was live for it."""

    deployment: Deployment
    live_s: float
    """Seconds up to the next deployment, or up to now."""
    share: float
    """Of the time since the oldest deployment shown, in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class SuiteResult:
    """A suite, its runs over time, and the newest of them."""

    suite: Suite
    newest: SuiteRun | None
    passed: tuple[bool, ...]
    """Of every run of a suite of this name, oldest first."""

    @property
    def row(self) -> charts.OutcomeRow:
        """For the chart."""
        note = f"{sum(self.passed)} of {figures.plural(len(self.passed), 'run')} passed"
        return charts.OutcomeRow(name=self.suite.name, passed=self.passed, note=note)


def by_set(validations: Sequence[Validation], registered: Sequence[str]) -> list[SetRates]:
    """The newest figures of each version on each set, from `validations`, newest first.

    Sets stand in the order of their newest validation. Only what was measured on the same
    utterances with the same normaliser stands together.
    """
    place = {version: number for number, version in enumerate(registered)}
    found: dict[tuple[str, str], dict[str, Side]] = {}
    newest: dict[tuple[str, str], Validation] = {}
    for one in validations:
        key = (one.dataset_id, one.comparison.normalizer)
        newest.setdefault(key, one)
        sides = found.setdefault(key, {})
        sides.setdefault(one.candidate_id, one.comparison.candidate)
        sides.setdefault(one.baseline_id, one.comparison.baseline)
    made = []
    for key, one in newest.items():
        # Sorting keeps the order of equals, and those were found newest first.
        oldest_first = list(found[key].items())[::-1]
        ordered = sorted(oldest_first, key=lambda side: place.get(side[0], len(place)))
        made.append(
            SetRates(
                name=one.set_name,
                utterances=one.comparison.utterances,
                words=one.comparison.words,
                normalizer=key[1],
                sides=tuple(ordered[-_VERSIONS:]),
                left_out=max(0, len(ordered) - _VERSIONS),
            )
        )
    return made


def largest(slices: Sequence[Slice], kind: str, amount: int) -> list[Slice]:
    """The slices of a kind with the most words, those that got worse before all, as they stood."""
    of_kind = [one for one in slices if one.kind == kind and one.words]
    kept = sorted(of_kind, key=lambda one: (not one.worse, -one.words))[:amount]
    return [one for one in of_kind if one in kept]


def stays(history: Sequence[Deployment], at: datetime) -> list[Stay]:
    """Each row of `history`, newest first, with how long it lasted; the newest lasts until `at`."""
    if not history:
        return []
    ends = [at, *(one.created_at for one in history)]
    total_s = (at - history[-1].created_at).total_seconds()
    made = []
    for one, end in zip(history, ends, strict=False):
        live_s = (end - one.created_at).total_seconds()
        share = live_s / total_s if total_s > 0 else 0.0
        made.append(Stay(deployment=one, live_s=live_s, share=share))
    return made


def results(
    suites: Sequence[Suite], runs: Sequence[SuiteRun], find: Callable[[str], Suite]
) -> list[SuiteResult]:
    """The suites that count, each with the runs (newest first) of all suites of its name."""
    names = {suite.id: suite.name for suite in suites}
    for run in runs:
        if run.suite_id not in names:
            names[run.suite_id] = find(run.suite_id).name
    return [
        SuiteResult(
            suite=suite,
            newest=next((run for run in runs if run.suite_id == suite.id), None),
            passed=tuple(
                run.verdict.passed for run in reversed(runs) if names[run.suite_id] == suite.name
            ),
        )
        for suite in suites
    ]
