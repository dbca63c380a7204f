"""`misheard suite`."""

from __future__ import annotations

from pathlib import Path

import click

from misheard.cli.output import json_option, open_workspace, out, print_json, table


@click.group()
def command() -> None:
    """Regression suites."""


@command.command(
    epilog="""\b
Example:
  misheard -w calls suite add pins pins.jsonl --kind critical
"""
)
@click.argument("name")
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option(
    "--kind",
    type=click.Choice(["benchmark", "critical", "edge_case"]),
    default="benchmark",
    show_default=True,
    help="How strictly it is judged.",
)
@click.option("--description", default="")
@json_option
@click.pass_obj
def add(
    directory: str | None, name: str, manifest: Path, kind: str, description: str, as_json: bool
) -> None:
    """Add a suite that every candidate has to pass."""
    from misheard.datasets.samples import read_samples  # noqa: PLC0415 - SQLAlchemy
    from misheard.gates.suites import SuiteKind  # noqa: PLC0415 - as above

    workspace = open_workspace(directory)
    dataset = workspace.datasets.add_evaluation(f"suite {name}", read_samples(manifest))
    made = workspace.suites.add(name, SuiteKind(kind), dataset, description=description)
    if as_json:
        print_json(made)
        return
    out.print(f"Suite '{made.name}' ({made.kind}): {dataset.counts['test']} utterances.")


@command.command("list")
@json_option
@click.pass_obj
def list_(directory: str | None, as_json: bool) -> None:
    """List all suites."""
    workspace = open_workspace(directory)
    found = workspace.suites.listed()
    if as_json:
        print_json(found)
        return
    rows = [
        (one.name, one.kind, workspace.datasets.get(one.dataset_id).counts["test"], one.description)
        for one in found
    ]
    out.print(table("Regression suites", ["suite", "kind", "utterances ", "what it holds"], rows))
