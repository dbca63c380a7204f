"""The page that a server shows first; it takes over by itself what changes."""

from __future__ import annotations

import math
from collections.abc import Callable

from markupsafe import Markup

from misheard.monitoring.trends import TrendPoint
from misheard.reports import figures
from misheard.reports.columns import Column, columns
from misheard.reports.loop_reports import REPORTS
from misheard.reports.overview import HOURS, Traffic, overview
from misheard.reports.page import drawn, render, script
from misheard.workspace import Workspace

_TICK_HOURS = 6


def overview_page(workspace: Workspace) -> str:
    """The page on the whole loop as it stands now; its links are those of the server."""
    found = overview(workspace)
    return render(
        "overview.html.j2",
        overview=found,
        status=found.status,
        traffic=found.traffic,
        headline=found.headline,
        requests=_requests(found.traffic),
        latency=_latency(found.traffic),
        hours=HOURS,
        reports=list(REPORTS),
        script=script("overview.js"),
    )


def _requests(traffic: Traffic) -> Markup:
    points = traffic.transcripts.points
    shown = [
        _column(point, [(point.value, "")], figures.plural(round(point.value), "transcript"))
        for point in points
    ]
    return _drawn(shown, f"Transcripts by hour, {figures.count(traffic.total)} in all", "{:,.0f}")


def _latency(traffic: Traffic) -> Markup:
    shown = []
    for median, most in zip(traffic.p50.points, traffic.p95.points, strict=True):
        told = "nobody waited"
        if math.isfinite(median.value):
            told = (
                f"median {figures.latency(median.value)}, 95% within {figures.latency(most.value)}"
            )
        shown.append(_column(median, [(most.value, "baseline"), (median.value, "")], told))
    return _drawn(shown, "How long callers waited by hour: median, and 95% within", "{:g} s")


def _column(point: TrendPoint, values: list[tuple[float, str]], told: str) -> Column:
    return Column(
        name=f"{point.start:%H:%M} UTC: {told}",
        values=values,
        tick=f"{point.start:%H:%M}" if point.start.hour % _TICK_HOURS == 0 else "",
    )


def _drawn(shown: list[Column], label: str, tick: str) -> Markup:
    tick_text: Callable[[float], str] = tick.format
    return drawn(columns(shown, label=label, tick_text=tick_text))
