"""`misheard report`."""

from __future__ import annotations

from pathlib import Path

import click

from misheard.cli.output import json_option, open_workspace, out, print_json


@click.command(epilog="\b\nExample:\n  misheard -w calls report -o report.html")
@click.argument("cycle_id", required=False)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("misheard-report.html"),
    show_default=True,
)
@json_option
@click.pass_obj
def command(directory: str | None, cycle_id: str | None, output: Path, as_json: bool) -> None:
    """Write the HTML report on a cycle."""
    from misheard.reports.cycle_report import cycle_report  # noqa: PLC0415 - Jinja2

    workspace = open_workspace(directory)
    if cycle_id is None:
        newest = workspace.cycles.latest()
        if newest is None:
            raise click.UsageError("There is no cycle yet: misheard cycle begin")
        cycle_id = newest.id
    output.write_text(cycle_report(workspace, cycle_id), encoding="utf-8")
    if as_json:
        print_json({"cycle_id": cycle_id, "report": str(output.resolve())})
        return
    out.print(f"The report on {cycle_id} is '{output}'.")
