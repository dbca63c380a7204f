"""`misheard restore`."""

from __future__ import annotations

from pathlib import Path

import click
from rich.markup import escape

from misheard.cli.backup import counted
from misheard.cli.output import acting, actor_option, bars, json_option, out, print_json

_SHOWN = 20


@click.command(
    epilog="""\b
Examples:
  misheard -w calls restore calls/backups/20260102T030405000000Z-7.db
  misheard -w calls restore /mnt/backups/calls.db --json
\b
Stop whatever uses the workspace first: while another process has the database open, nothing is
changed. The copy is checked before it is used, and the present database is kept beside it, as
misheard.db.before-restore-…  A token that was revoked since the copy was made stays so.
"""
)
@click.argument("file", type=click.Path(path_type=Path))
@actor_option
@json_option
@click.pass_obj
def command(directory: str | None, file: Path, actor: str | None, as_json: bool) -> None:
    """Put a copy in the place of the database."""
    from misheard.workspace import Workspace, workspace_directory  # noqa: PLC0415 - SQLAlchemy

    with bars() as shown:
        workspace, done = Workspace.restore(
            workspace_directory(directory),
            file,
            actor=acting(actor),
            progress=counted(shown, "copying"),
        )
    missing = workspace.integrity.missing_files()
    if as_json:
        told = {"restored": file, "aside": done.aside, "revoked": done.revoked}
        print_json({**told, "missing": missing})
        return
    out.print(f"The workspace is as it was in [bold]{escape(str(file))}[/].")
    if done.aside is not None:
        out.print(f"What was there is kept: {escape(str(done.aside))}", style="dim")
    if done.revoked is None:
        out.print(
            "[red]Tokens that were revoked since the copy was made may be good again: what was "
            "there is lost or damaged.[/] See: misheard token list"
        )
    elif done.revoked:
        names = ", ".join(done.revoked)
        out.print(f"Revoked since, and so they stay: {escape(names)}", soft_wrap=True)
    if missing:
        place = escape(workspace.settings.storage.place)
        out.print(f"[red]{len(missing):,} files that it names are not in {place}:[/]")
        for one in missing[:_SHOWN]:
            out.print(f"  {one.sha256}  {escape(one.owner)}", soft_wrap=True)
        out.print(f"Put them back from a copy of {place}; misheard check lists them all.")
