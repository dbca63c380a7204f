"""`misheard status`."""

from __future__ import annotations

import click

from misheard.cli.output import json_option, open_workspace, out, percent, print_json, table, when


@click.command(epilog="\b\nExample:\n  misheard -w calls status --json")
@json_option
@click.pass_obj
def command(directory: str | None, as_json: bool) -> None:
    """What is live, what is waiting on whom, what happens next."""
    status = open_workspace(directory).status()
    if as_json:
        print_json(status)
        return
    live = status.live
    out.print(f"Live in {live.slot}: [bold]{live.version_id}[/] since {when(live.created_at)}")
    rows = [
        (
            one.version_id,
            one.inferences,
            f"{one.audio_s / 60:.1f}",
            f"{1000 * one.mean_latency_s:.0f}",
            "–" if one.mean_logprob is None else f"{one.mean_logprob:.2f}",
        )
        for one in status.activity
    ]
    columns = ["version", "transcripts ", "minutes ", "latency ms ", "log-prob "]
    out.print(table("Heard", columns, rows))
    counts = status.cases
    out.print(
        f"{counts.error_cases} error cases ({counts.corrected} corrected), "
        f"{counts.confirmations} confirmed; error rate since the last cycle "
        f"{percent(status.trigger.metrics.error_rate)}"
    )
    if status.cycle is not None:
        out.print(f"Newest cycle {status.cycle.id}: [bold]{status.cycle.state}[/]")
    out.print(f"Next: {status.next_step}", style="cyan")
