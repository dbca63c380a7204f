"""`misheard metrics`."""

from __future__ import annotations

import click

from misheard.cli.output import json_option, open_workspace, print_json


@click.command(
    epilog="""\b
Example, for the node exporter's textfile collector:
  misheard -w calls metrics > misheard.prom
"""
)
@json_option
@click.pass_obj
def command(directory: str | None, as_json: bool) -> None:
    """Figures for Prometheus, in its text format."""
    metrics = open_workspace(directory).metrics
    if as_json:
        print_json(metrics.families())
    else:
        click.echo(metrics.text(), nl=False)
