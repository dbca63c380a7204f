"""`misheard cases`."""

from __future__ import annotations

import click

from misheard.cli.output import json_option, open_workspace, out, print_json, table


@click.command(
    epilog="""\b
Examples:
  misheard -w calls cases
  misheard -w calls cases --status open --json
"""
)
@click.option("--status", type=click.Choice(["open", "corrected", "confirmed"]))
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1))
@json_option
@click.pass_obj
def command(directory: str | None, status: str | None, limit: int, as_json: bool) -> None:
    """List error cases."""
    from misheard.cases.records import CaseStatus  # noqa: PLC0415 - SQLAlchemy

    cases = open_workspace(directory).cases
    found = cases.listed(status=CaseStatus(status) if status else None, limit=limit)
    counts = cases.counts()
    if as_json:
        print_json({"counts": counts, "cases": found})
        return
    rows = [
        (
            one.inference_id,
            one.status,
            "–" if one.score is None else f"{one.score:.0%}",
            ", ".join(one.error_types),
            one.hypothesis,
            one.reference,
        )
        for one in found
    ]
    columns = ["inference", "status", "wrong ", "kind", "heard", "spoken"]
    out.print(table("Error cases, newest first", columns, rows))
    out.print(
        f"{counts.error_cases} error cases, {counts.corrected} corrected; "
        f"{counts.confirmations} transcripts confirmed as right."
    )
