"""How the whole loop stands now, for the page that a server shows first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from misheard.cycle.states import Cycle
from misheard.database.engine import now
from misheard.deployment import Deployment
from misheard.fleet import ServerState
from misheard.gates.validation import Validation
from misheard.monitoring.trends import Metric, Period, TrendLine
from misheard.reports.figures import percent
from misheard.reports.headline import Headline, with_mark
from misheard.reports.status import Status, status
from misheard.rollouts.judging import Evidence
from misheard.rollouts.states import Kind, Rollout
from misheard.workspace import Workspace

HOURS = 24
_CYCLES, _DEPLOYMENTS, _VALIDATIONS = 6, 6, 6


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What was heard in the last hours, by the hour; what is not counted yet is left out."""

    transcripts: TrendLine
    p50: TrendLine
    p95: TrendLine
    empty: float
    """Share of the transcripts without a word; NaN where there was none."""
    uncounted: int
    """Transcripts that came since, about."""

    @property
    def total(self) -> int:
        """Transcripts, all told."""
        return round(sum(point.value for point in self.transcripts.points))


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A version that is tried on live traffic now."""

    rollout: Rollout
    evidence: Evidence
    next: str
    """What it waits for."""


@dataclass(frozen=True, kw_only=True)
class Overview:
    """How the whole loop stands."""

    name: str
    """Of the workspace's directory."""
    status: Status
    traffic: Traffic
    servers: tuple[ServerState, ...]
    """Those that answer in any slot, the oldest first."""
    newest: dict[str, int]
    """Slot of a server → the newest row of the log there."""
    trials: tuple[Trial, ...]
    cycles: tuple[tuple[Cycle, Validation | None], ...]
    """The newest, each with what the first gate said of its candidate."""
    deployments: tuple[Deployment, ...]
    """The newest of the slot that is shown."""
    validations: tuple[Validation, ...]
    headline: Headline


def overview(workspace: Workspace) -> Overview:
    """Ask the rooms."""
    found = status(workspace)
    traffic = _traffic(workspace)
    cycles = workspace.cycles.listed(limit=_CYCLES)
    servers = tuple(workspace.fleet.alive())
    trials = tuple(_trial(workspace, one) for one in workspace.rollouts.all_running())
    return Overview(
        name=workspace.root.resolve().name,
        status=found,
        traffic=traffic,
        servers=servers,
        newest={one.slot: _newest(workspace, one.slot) for one in servers},
        trials=trials,
        cycles=tuple((one, _validation(workspace, one)) for one in cycles),
        deployments=tuple(workspace.deployments.history(limit=_DEPLOYMENTS)),
        validations=tuple(workspace.validations.listed(limit=_VALIDATIONS)),
        headline=_headline(found, traffic, trials),
    )


def _validation(workspace: Workspace, cycle: Cycle) -> Validation | None:
    return workspace.validations.get(cycle.validation_id) if cycle.validation_id else None


def _newest(workspace: Workspace, slot: str) -> int:
    newest = workspace.deployments.newest(slot)
    return newest.number if newest is not None else 0


def _trial(workspace: Workspace, rollout: Rollout) -> Trial:
    decision = workspace.rollouts.decision(rollout.slot)
    return Trial(
        rollout=rollout,
        evidence=workspace.rollouts.evidence(rollout.id),
        next=decision.reason if decision is not None else "",
    )


def _traffic(workspace: Workspace) -> Traffic:
    until = now()
    since = until - timedelta(hours=HOURS - 1)

    def line(metric: Metric) -> TrendLine:
        return workspace.trends.of(metric, since=since, until=until, period=Period.HOUR)

    return Traffic(
        transcripts=line(Metric.INFERENCES),
        p50=line(Metric.LATENCY_P50),
        p95=line(Metric.LATENCY_P95),
        empty=_mean(line(Metric.EMPTY_SHARE)),
        uncounted=workspace.digest.behind(),
    )


def _mean(line: TrendLine) -> float:
    known = [point for point in line.points if point.count and math.isfinite(point.value)]
    count = sum(point.count for point in known)
    return sum(point.value * point.count for point in known) / count if count else math.nan


def _headline(found: Status, traffic: Traffic, trials: Sequence[Trial]) -> Headline:
    """What somebody has to know first: what is wrong, then who is asked, then that all is well."""
    name = found.live_version.name
    if found.alerts:
        first, more = found.alerts[0], len(found.alerts) - 1
        also = f" And {more} more, below." if more else ""
        return with_mark(
            sentence="One thing is wrong" if not more else f"{more + 1} things are wrong",
            reason=f"{first.detail[:1].upper()}{first.detail[1:]}.{also}",
            tone="bad",
        )
    for one in found.waiting:
        if one.who == "a person" and " approve " in one.command:
            sentence = f"{one.what[:1].upper()}{one.what[1:]}"
            return with_mark(
                sentence=sentence, reason="A person decides:", command=one.command, tone="wait"
            )
    if trials:
        tried = trials[0].rollout
        verb = "answers" if tried.kind is Kind.CANARY else "hears"
        return with_mark(
            sentence=f"{tried.version_id} {verb} {percent(tried.share, 0)} of the sessions",
            reason=f"A {tried.kind}, beside {tried.live_version_id}.",
            tone="calm",
        )
    if not traffic.total and not traffic.uncounted:
        return with_mark(
            sentence=f"{name} is live",
            reason=f"Nothing was heard in the last {HOURS} hours.",
            tone="calm",
        )
    return with_mark(sentence=f"{name} is live, and all is well", tone="good")
