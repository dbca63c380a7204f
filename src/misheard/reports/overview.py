"""How the whole loop stands now, for the page that a server shows first."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta

from misheard.cycle.states import Cycle
from misheard.database.engine import now
from misheard.deployment import Deployment
from misheard.gates.validation import Validation
from misheard.monitoring.trends import Metric, Period, TrendLine
from misheard.reports.headline import Headline, with_mark
from misheard.reports.status import Status, status
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
class Overview:
    """How the whole loop stands."""

    name: str
    """Of the workspace's directory."""
    status: Status
    traffic: Traffic
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
    return Overview(
        name=workspace.root.resolve().name,
        status=found,
        traffic=traffic,
        cycles=tuple((one, _validation(workspace, one)) for one in cycles),
        deployments=tuple(workspace.deployments.history(limit=_DEPLOYMENTS)),
        validations=tuple(workspace.validations.listed(limit=_VALIDATIONS)),
        headline=_headline(found, traffic),
    )


def _validation(workspace: Workspace, cycle: Cycle) -> Validation | None:
    return workspace.validations.get(cycle.validation_id) if cycle.validation_id else None


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


def _headline(found: Status, traffic: Traffic) -> Headline:
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
    if not traffic.total and not traffic.uncounted:
        return with_mark(
            sentence=f"{name} is live",
            reason=f"Nothing was heard in the last {HOURS} hours.",
            tone="calm",
        )
    return with_mark(sentence=f"{name} is live, and all is well", tone="good")
