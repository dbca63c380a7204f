"""`misheard inferences`."""

from __future__ import annotations

import click

from misheard.cli.output import json_option, open_workspace, out, print_json, table, when


@click.command(epilog="\b\nExample:\n  misheard -w calls inferences --limit 50")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1))
@json_option
@click.pass_obj
def command(directory: str | None, limit: int, as_json: bool) -> None:
    """List what was transcribed."""
    found = open_workspace(directory).inferences.recent(limit=limit)
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one.id,
            when(one.created_at),
            f"{one.duration_s:.1f}",
            f"{one.avg_logprob:.2f}" if one.avg_logprob is not None else None,
            one.version_id,
            one.text,
        )
        for one in found
    ]
    columns = ["inference", "at", "seconds ", "log-prob ", "version", "text"]
    out.print(table("Newest first", columns, rows))
