"""`misheard backup`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
from rich.markup import escape

from misheard.cli.output import Bars, bars, json_option, open_workspace, out, print_json


@click.command(
    epilog="""\b
Examples:
  misheard -w calls backup
  misheard -w calls backup /mnt/backups/calls.db
\b
Nothing has to be stopped. Audio, datasets and models are not in the copy: they are files under
blobs/, which are never changed: copy that directory after the database. What is in a bucket is safe
there.
"""
)
@click.argument("file", required=False, type=click.Path(path_type=Path))
@json_option
@click.pass_obj
def command(directory: str | None, file: Path | None, as_json: bool) -> None:
    """Copy the database while it is in use, and verify the copy."""
    workspace = open_workspace(directory)
    with bars() as shown:
        made = workspace.backups.make_at(file, progress=counted(shown, "copying"))
    if as_json:
        print_json(made)
        return
    rows = sum(made.rows.values())
    out.print(f"[bold]{escape(str(made.path))}[/]: {made.bytes / 1e6:,.1f} MB, {rows:,} rows.")
    storage = workspace.settings.storage
    after = f"Its files are in {storage.place}." if storage.buckets else "Copy 'blobs' after it."
    out.print(f"It was read again and is whole. {escape(after)}", style="dim")


def counted(shown: Bars, what: str) -> Callable[[int, int], None]:
    """A bar for whoever tells how many pages are done, and of how many."""
    advance: Callable[[int], None] | None = None
    told = 0

    def progress(done: int, total: int) -> None:
        nonlocal advance, told
        if advance is None:
            advance = shown.progress(what, total)
        advance(done - told)
        told = done

    return progress
