"""`misheard dataset`."""

from __future__ import annotations

from pathlib import Path

import click
from rich.text import Text

from misheard.cli.output import json_option, listing, open_workspace, out, print_json, when


@click.group()
def command() -> None:
    """Dataset versions and held-out sets."""


@command.command(
    epilog="""\b
Examples (each line: {"audio_path": "clips/7.wav", "reference": "press one"}, and if you can say
so "speaker_group": "agent 4", "tags": {"channel": "mobile"}):
  misheard -w calls dataset hold-out test.jsonl
  misheard -w calls dataset hold-out other-speech.jsonl --name general
"""
)
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option("--name", default="held-out", show_default=True)
@json_option
@click.pass_obj
def hold_out(directory: str | None, manifest: Path, name: str, as_json: bool) -> None:
    """Keep recordings for testing; they are never trained on."""
    from misheard.datasets.samples import read_samples  # noqa: PLC0415 - SQLAlchemy

    made = open_workspace(directory).evaluation_set(name, read_samples(manifest))
    if as_json:
        print_json(made)
        return
    choosing = made.counts.get("validation", 0)
    told = f"{made.counts.get('test', 0) + choosing} utterances, {made.duration_s / 60:.1f} minutes"
    if choosing:
        told += f"; {choosing} of them help to choose weights, the others judge"
    out.print(f"{made.id}: {told}.")


@command.command("list", epilog="\b\nExample:\n  misheard -w calls dataset list --json")
@json_option
@click.pass_obj
def list_(directory: str | None, as_json: bool) -> None:
    """List all versions, newest first."""
    found = open_workspace(directory).datasets.listed()
    if as_json:
        print_json(found)
        return
    rows = [
        (
            # Two lines each, so that names have room at 80 columns.
            Text.assemble(one.id, "\n", (when(one.created_at), "dim")),
            Text.assemble(one.name, "\n", (one.purpose, "dim")),
            "\n".join(f"{count} {label}" for label, count in one.counts.items()),
            f"{one.duration_s / 60:.1f}",
        )
        for one in found
    ]
    columns = ["dataset", "name, and what for", "utterances", "minutes "]
    nothing = (
        "No dataset yet: a cycle builds one, and `misheard dataset hold-out` keeps one to test on."
    )
    out.print(listing("Dataset versions", columns, rows, nothing=nothing))


@command.command(epilog="\b\nExample:\n  misheard -w calls dataset export ds-… out/")
@click.argument("dataset")
@click.argument("target", type=click.Path(path_type=Path))
@json_option
@click.pass_obj
def export(directory: str | None, dataset: str, target: Path, as_json: bool) -> None:
    """Write a version's audio and one .jsonl a split into a new directory."""
    if target.exists() and any(target.iterdir() if target.is_dir() else [target]):
        raise click.UsageError(f"'{target}' is there already and not empty.")
    datasets = open_workspace(directory).datasets
    datasets.export(datasets.get(dataset), target)
    if as_json:
        print_json({"dataset_id": dataset, "directory": str(target)})
        return
    out.print(f"{dataset} is in '{target}'.")
