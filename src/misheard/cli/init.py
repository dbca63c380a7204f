"""`misheard init`."""

from __future__ import annotations

import click

from misheard.cli.output import json_option, out, print_json
from misheard.speech.sources import DEFAULT_MODEL


@click.command(
    epilog="""\b
Examples:
  misheard init calls
  misheard init calls --model openai/whisper-tiny.en
  misheard init calls --model /models/my-whisper
  misheard init calls --database postgresql+psycopg://me@db.example/misheard
"""
)
@click.argument("directory")
@click.option(
    "--model",
    default=DEFAULT_MODEL,
    show_default=True,
    help="The first model: a directory, a Hugging Face id, or the bundled one.",
)
@click.option(
    "--database",
    metavar="URL",
    help="Of a PostgreSQL database that is there and empty (default: SQLite in the workspace).",
)
@json_option
def command(directory: str, model: str, database: str | None, as_json: bool) -> None:
    """Make a workspace."""
    from misheard.workspace import Workspace  # noqa: PLC0415 - only once the arguments are right

    settings = {"database": {"url": database}} if database else None
    workspace = Workspace.create(directory, model=model, settings=settings)
    live = workspace.deployments.live()
    if as_json:
        print_json({"workspace": str(workspace.root.resolve()), "live": live.version_id})
        return
    out.print(f"Workspace [bold]{directory}[/] is ready; {live.version_id} ({model}) is live.")
    out.print(f"Next: misheard -w {directory} transcribe FILES", style="dim")
