"""`misheard init`."""

from __future__ import annotations

import click
from rich.markup import escape

from misheard.cli.output import json_option, out, print_json
from misheard.speech.sources import DEFAULT_MODEL


@click.command(
    epilog="""\b
Examples:
  misheard init calls
  misheard init calls --model openai/whisper-tiny.en
  misheard init calls --model /models/my-whisper
  misheard init calls --database postgresql+psycopg://me@db.example/misheard
  misheard init calls --bucket gs://acme-speech/calls
  misheard init calls --project-id acme       gs://acme-datasets, gs://acme-models/deployed_models
  misheard init calls --bucket s3://acme-speech/calls --models-bucket local
\b
A bucket has to be there: gcloud storage buckets create gs://acme-speech. It is written into
misheard.toml as [storage]; without one all files are in DIRECTORY. To share a workspace, init it on
each machine with the same bucket and the same --database: the second finds what the first made.
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
@click.option(
    "--bucket",
    metavar="URL",
    help="Keep files in this bucket, gs://… or s3://… (default: in DIRECTORY/blobs).",
)
@click.option(
    "--models-bucket",
    metavar="URL",
    help='Keep the files of models in another one; "local": in DIRECTORY/blobs.',
)
@click.option(
    "--project-id",
    metavar="ID",
    help="Of Google Cloud; without --bucket, the buckets are ID-datasets and ID-models.",
)
@json_option
def command(
    directory: str,
    model: str,
    database: str | None,
    bucket: str | None,
    models_bucket: str | None,
    project_id: str | None,
    as_json: bool,
) -> None:
    """Make a workspace."""
    from misheard.settings.storage import storage_of  # noqa: PLC0415 - pydantic
    from misheard.workspace import Workspace  # noqa: PLC0415 - only once the arguments are right

    settings: dict[str, dict[str, str]] = {}
    if database:
        settings["database"] = {"url": database}
    storage = storage_of(project_id, blobs=bucket, models=models_bucket)
    if storage:
        settings["storage"] = storage
    workspace = Workspace.create(directory, model=model, settings=settings)
    live = workspace.deployments.live()
    if as_json:
        print_json({"workspace": str(workspace.root.resolve()), "live": live.version_id})
        return
    out.print(f"Workspace [bold]{directory}[/] is ready; {live.version_id} ({model}) is live.")
    if storage:
        where = ", ".join(workspace.settings.storage.buckets)
        out.print(f"Its files are in {escape(where)}.")
    out.print(f"Next: misheard -w {directory} transcribe FILES", style="dim")
