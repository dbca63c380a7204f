"""`misheard status`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from misheard.cli.output import json_option, open_workspace, out, percent, print_json, table, when

if TYPE_CHECKING:
    from misheard.cases.audited import AuditedRate
    from misheard.reports.status import Status, Waiting
    from misheard.rollouts.judging import RolloutDecision

_BAR = 16
_IN_TABLE = {"corrected cases", "error cases", "error rate"}
"""Conditions of the trigger that have their row with a bar."""


@click.command(epilog="\b\nExample:\n  misheard -w calls status --json")
@json_option
@click.pass_obj
def command(directory: str | None, as_json: bool) -> None:
    """What is live, what is waiting on whom, what happens next."""
    from misheard.reports.status import status  # noqa: PLC0415 - SQLAlchemy

    found = status(open_workspace(directory))
    if as_json:
        print_json({**vars(found), "rules": found.rules.model_dump()})
        return
    show(found, out)


def show(status: Status, console: Console) -> None:
    """Write it for people."""
    _live(status, console)
    if status.rollout is not None:
        console.print(_tried(status.rollout), soft_wrap=True)
    _wrong(status, console)
    if status.activity:
        console.print(_heard(status))
    console.print(_trigger(status))
    for condition in status.trigger.conditions:
        if condition.name not in _IN_TABLE:
            sign = "[green]✓[/]" if condition.is_met else "[yellow]✗[/]"
            console.print(f"  {sign} {escape(condition.text)}")
    if status.waiting:
        # What to type stands on a line of its own, so that it is whole at 80 columns.
        rows = [
            (one.who, Text.assemble(one.what, *_why(one), "\n", (one.command, "cyan")))
            for one in status.waiting
        ]
        console.print(table("Waiting", ["for", "what"], rows))
    if status.cycle is not None:
        past = ", ".join(f"{count} × {state}" for state, count in sorted(status.cycles.items()))
        console.print(f"[bold]Cycles[/]  {past}; the newest is {status.cycle.id}")
    suites = "1 regression suite" if status.suites == 1 else f"{status.suites} regression suites"
    console.print(f"[bold]Gates[/]   {suites}")
    _files(status, console)
    console.print(f"\n[bold cyan]Next:[/] [cyan]{escape(status.next_step)}[/]", soft_wrap=True)


def _files(status: Status, console: Console) -> None:
    storage = status.storage
    if "://" not in f"{storage.blobs}{storage.models}":
        return  # in the workspace, where everybody looks first
    console.print(f"[bold]Files[/]   {escape(storage.blobs)}", soft_wrap=True)
    if storage.models != storage.blobs:
        console.print(f"        {escape(storage.models)} (models)", soft_wrap=True)


def _why(one: Waiting) -> tuple[str | tuple[str, str], ...]:
    return ("\n", (one.error, "red")) if one.error else ()


def _live(status: Status, console: Console) -> None:
    live, version = status.live, status.live_version
    grid = Table.grid(padding=(0, 2))
    grid.add_row(
        "[bold]Live[/]", f"[bold green]{version.id}[/]  {escape(version.name)}, in {live.slot}"
    )
    why = escape(f"{live.action} by {live.actor}, {live.reason} (row {live.number})")
    grid.add_row("", f"since {when(live.created_at)}: {why}")
    if status.live_validation is not None:
        side = status.live_validation.comparison.candidate
        low, high = side.wer_interval
        grid.add_row(
            "",
            f"WER {percent(side.wer)} ({percent(low)} to {percent(high)}) on "
            f"'{escape(status.live_validation.set_name)}', "
            f"{status.live_validation.comparison.utterances} utterances",
        )
    if status.audited.labelled:
        rate = status.audited.error_rate
        grid.add_row(
            "",
            f"wrong in {percent(rate.estimate)} of what it heard ({percent(rate.low)} to "
            f"{percent(rate.high)}), by the newest {rate.n:,} audited",
        )
    if (waited := status.latency).transcripts:
        grid.add_row(
            "",
            f"latency {waited.p50_s:.2f} s at the median, {waited.p95_s:.2f} s at p95 over the "
            "last 24 hours",
        )
    console.print(grid)


def _tried(decision: RolloutDecision) -> str:
    one = decision.rollout
    what = "hears" if one.kind == "shadow" else "answers"
    step = f", step {one.step + 1} of {len(one.shares)}" if len(one.shares) > 1 else ""
    return (
        f"[bold]Tried[/]  {one.version_id} {what} {one.share:.0%} of the sessions{step}\n"
        f"       {escape(decision.reason)}\n"
        f"       [cyan]misheard rollout show {one.id}[/]"
    )


def _wrong(status: Status, console: Console) -> None:
    if not status.alerts:
        console.print("[bold]Wrong[/]  nothing that is looked after", style="dim")
        return
    rows = [(when(one.fired_at), Text(one.detail, style="red")) for one in status.alerts]
    console.print(table("Wrong", ["since", "what"], rows))


def _heard(status: Status) -> Table:
    rates = {**status.others_audited, status.live_version.id: status.audited}
    rows = [
        (
            one.version_id,
            one.inferences,
            f"{one.audio_s / 60:.1f}",
            "–" if math.isnan(one.mean_latency_s) else f"{1000 * one.mean_latency_s:.0f}",
            _share_wrong(rates.get(one.version_id)),
        )
        for one in status.activity
    ]
    columns = ["version", "transcripts ", "minutes ", "latency ms ", "wrong, by audit "]
    return table("Heard", columns, rows)


def _share_wrong(audited: AuditedRate | None) -> str:
    if audited is None or not audited.labelled:
        return "–"
    return f"{audited.error_rate.estimate:.1%} of {audited.labelled:,}"


def _trigger(status: Status) -> Table:
    metrics, rules = status.trigger.metrics, status.rules
    answer = "yes" if status.trigger.should_trigger else "not yet"
    since = "since the last cycle" if status.cycle else "since the beginning"
    title = f"Worth training? {answer}, counting {since}"
    made = table(title, ["", "now ", "wanted ", "progress", "ever "], [])
    all_cases = status.cases
    counted = (
        (
            "corrected",
            metrics.corrected_cases,
            rules.min_corrected_cases,
            all_cases.corrected,
        ),
        ("error cases", metrics.error_cases, rules.min_error_cases, all_cases.error_cases),
    )
    for name, now, wanted, total in counted:
        made.add_row(name, f"{now}", f"{wanted}", _bar(now / wanted), f"{total}")
    # By the audit it is a line below, with how sure it is.
    by_audit = any(one.name == "audited error rate" for one in status.trigger.conditions)
    if rules.trigger_on_error_rate and not by_audit:
        rate, wanted_rate = metrics.error_rate, rules.error_rate_threshold
        share = rate / wanted_rate if wanted_rate else 1.0
        # NaN compares false: without inferences the bar is empty.
        made.add_row(
            "error rate",
            percent(rate),
            percent(wanted_rate),
            _bar(share if share > 0 else 0.0),
            f"{metrics.inferences} transcripts",
        )
    return made


def _bar(share: float) -> Text:
    full = min(_BAR, int(share * _BAR))
    style = "green" if share >= 1 else "yellow"
    return Text("━" * full, style=style) + Text("━" * (_BAR - full), style="bright_black")
