"""`misheard versions`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from rich.console import Console

from misheard.cli.output import json_option, open_workspace, out, percent, print_json, table, when

_WIDE = 130

if TYPE_CHECKING:
    from misheard.workspace import Workspace


@click.command(epilog="\b\nExample:\n  misheard -w calls versions --json")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
@json_option
@click.pass_obj
def command(directory: str | None, limit: int, as_json: bool) -> None:
    """List model versions and where each came from."""
    workspace = open_workspace(directory)
    if as_json:
        from misheard.reports.versions import standings  # noqa: PLC0415 - SQLAlchemy

        found = standings(workspace, limit=limit)
        print_json([vars(one.version) | {"status": one.status} for one in found])
        return
    show(workspace, out, limit=limit)


def show(workspace: Workspace, console: Console, *, limit: int = 20) -> None:
    """Write the newest versions for people."""
    from misheard.reports.versions import standings  # noqa: PLC0415 - SQLAlchemy

    rows = []
    # Where each came from takes room; on a narrow screen `--json` has it.
    wide = console.width >= _WIDE
    for found in standings(workspace, limit=limit):
        one = found.version
        rows.append(
            (
                one.id,
                found.status,
                percent(found.wer),
                one.name,
                *(
                    (when(one.created_at), one.parent_id, one.dataset_id, one.source)
                    if wide
                    else ()
                ),
            )
        )
    columns = ["version", "status", "WER ", "name"]
    columns += ["made", "trained from", "dataset", "source"] if wide else []
    console.print(table("Model versions", columns, rows))
