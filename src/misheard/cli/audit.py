"""`misheard audit`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from rich.text import Text

from misheard.cli.output import json_option, listing, open_workspace, out, print_json, when

if TYPE_CHECKING:
    from misheard.database.audit import AuditEntry


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
    rows = [(f"{when(one.created_at)}\n{one.actor}", _what(one)) for one in found]
    nothing = f"Nothing was done to '{subject}'." if subject else "Nothing was done yet."
    columns = ["at, and who", "what, and why"]
    out.print(listing("Audit log, newest first", columns, rows, nothing=nothing))


def _what(one: AuditEntry) -> Text:
    """On lines of their own: what was done to what, what it was and is, why."""
    lines = Text.assemble((one.action, "bold"), f" {one.subject}")
    if one.from_value or one.to_value:
        lines.append(f"\n{one.from_value or '–'} → {one.to_value or '–'}")
    if one.reason:
        lines.append(f"\n{one.reason}", style="dim")
    return lines
