"""`misheard audit`."""

from __future__ import annotations

import click

from misheard.cli.output import json_option, open_workspace, out, print_json, table, when


@click.command(epilog="\b\nExample:\n  misheard -w calls audit --subject production")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1))
@click.option("--subject", help="Only what was done to this id.")
@json_option
@click.pass_obj
def command(directory: str | None, limit: int, subject: str | None, as_json: bool) -> None:
    """Who did what, when and why."""
    found = open_workspace(directory).audit.entries(limit=limit, subject=subject)
    if as_json:
        print_json(found)
        return
    rows = [
        (when(e.created_at), e.actor, e.action, e.subject, e.from_value, e.to_value, e.reason)
        for e in found
    ]
    columns = ["at", "who", "did", "to", "from", "into", "why"]
    out.print(table("Audit log, newest first", columns, rows))
