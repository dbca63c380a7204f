"""`misheard trend`."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING

import click
from rich.text import Text

from misheard.cli.output import (
    FiniteRange,
    err,
    json_option,
    open_workspace,
    out,
    print_json,
    table,
)

if TYPE_CHECKING:
    from misheard.monitoring.trends import TrendLine, TrendPoint

_METRICS = (
    "inferences",
    "suspicion",
    "empty_share",
    "latency",
    "latency_p50",
    "latency_p95",
    "latency_p99",
    "real_time_factor",
    "errors",
    "corrections",
    "audited_wer",
    "audited_error_rate",
)
_PERIODS = ("hour", "day", "week")
# What is left of 80 columns beside the longest name.
_WIDTH, _WIDTH_BESIDE_INTERVAL = 20, 8
_FORMATS = {"hour": "%Y-%m-%d %H:%M", "day": "%a %Y-%m-%d", "week": "week of %Y-%m-%d"}


@click.command(
    epilog="""\b
Examples:
  misheard -w calls trend suspicion
  misheard -w calls trend latency_p95 --by hour --days 2
  misheard -w calls trend audited_wer --by week --days 180 --each-version
  misheard -w calls trend empty_share --slice channel=mobile
"""
)
@click.argument("metric", metavar="METRIC", type=click.Choice(_METRICS))
@click.option("--days", default=28.0, show_default=True, type=FiniteRange(0.0, 36_500.0))
@click.option("--by", "period", default="day", show_default=True, type=click.Choice(_PERIODS))
@click.option("--version", "version_id", default="", help="Only of this version or recogniser.")
@click.option("--each-version", is_flag=True, help="One chart for each version.")
@click.option(
    "--slice", "slice_name", default="", metavar="TAG=VALUE", help="Only of transcripts so tagged."
)
@json_option
@click.pass_obj
def command(
    directory: str | None,
    metric: str,
    days: float,
    period: str,
    version_id: str,
    each_version: bool,
    slice_name: str,
    as_json: bool,
) -> None:
    """How suspicion, latency, errors and the like went, by hour, day or week.

    METRIC is inferences, suspicion, empty_share, latency, latency_p50, latency_p95, latency_p99,
    real_time_factor, errors, corrections, audited_wer or audited_error_rate.
    """
    from misheard.database.engine import now  # noqa: PLC0415 - SQLAlchemy
    from misheard.monitoring.trends import Metric, Period  # noqa: PLC0415 - as above

    workspace = open_workspace(directory)
    until = now()
    since = until - timedelta(days=days)
    names = workspace.trends.versions(since) if each_version else [version_id]
    lines = [
        workspace.trends.of(
            Metric(metric),
            since=since,
            until=until,
            period=Period(period),
            version_id=name,
            slice_name=slice_name,
        )
        for name in names
    ]
    if as_json:
        print_json(lines)
        return
    for line in lines:
        out.print(_chart(line))
    if not lines:
        out.print(f"Nothing was heard in the last {days:g} days.", style="dim")
    if behind := workspace.digest.behind():
        err.print(f"{behind:,} transcripts are not counted yet.", style="yellow")


def _chart(line: TrendLine) -> object:
    most = max((point.value for point in line.points if point.value > 0), default=0.0)
    is_audited = line.metric in ("audited_wer", "audited_error_rate")
    width = _WIDTH_BESIDE_INTERVAL if is_audited else _WIDTH
    rows = [
        (
            point.start.strftime(_FORMATS[line.period]),
            _shown(line.metric, point.value),
            *([_interval(point)] if is_audited else []),
            f"{point.count:,}" if point.count else "",
            _bar(point, most, width),
        )
        for point in line.points
    ]
    told = [line.metric.replace("_", " "), line.version_id or "all versions", line.slice]
    title = ", ".join(part for part in told if part)
    over = "words " if line.metric == "audited_wer" else "transcripts "
    columns = [
        line.period,
        f"{line.metric} ",
        *(["95 % interval "] if is_audited else []),
        over,
        "",
    ]
    return table(f"{title} (UTC)", columns, rows)


def _interval(point: TrendPoint) -> str:
    if math.isnan(point.low):
        return ""
    high = "?" if math.isinf(point.high) else f"{point.high:.1%}"
    return f"{point.low:.1%} – {high}"


def _bar(point: TrendPoint, most: float, width: int) -> Text:
    full = round(width * point.value / most) if most and point.value > 0 else 0
    return Text("━" * full, style="cyan")


def _shown(metric: str, value: float) -> str:
    if math.isnan(value):
        return "–"
    if metric in ("inferences", "errors", "corrections"):
        return f"{value:,.0f}"
    if metric in ("empty_share", "audited_wer", "audited_error_rate"):
        return f"{value:.2%}"
    return f"{value:.3f} s" if metric.startswith("latency") else f"{value:.3f}"
