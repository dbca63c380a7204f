"""`misheard versions`."""

from __future__ import annotations

import click

from misheard.cli.output import json_option, open_workspace, out, percent, print_json, table, when
from misheard.errors import NothingDeployedError


@click.command(epilog="\b\nExample:\n  misheard -w calls versions --json")
@json_option
@click.pass_obj
def command(directory: str | None, as_json: bool) -> None:
    """List model versions and where each came from."""
    workspace = open_workspace(directory)
    found = workspace.registry.listed()
    if as_json:
        print_json(found)
        return
    try:
        live = workspace.deployments.live().version_id
    except NothingDeployedError:
        live = ""
    rows = []
    for one in found:
        validation = workspace.validations.latest_of(one.id)
        rows.append(
            (
                "● live" if one.id == live else "",
                one.id,
                one.source,
                one.parent_id,
                one.dataset_id,
                percent(validation.comparison.candidate.wer) if validation else "–",
                when(one.created_at),
            )
        )
    columns = ["", "version", "source", "trained from", "dataset", "WER ", "made"]
    out.print(table("Model versions", columns, rows))
