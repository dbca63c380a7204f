"""`misheard report`."""

from __future__ import annotations

from pathlib import Path

import click

from misheard.cli.output import json_option, open_workspace, out, print_json

LOOP_REPORTS = ("validation", "deployment", "regression", "performance")
"""As in `misheard.reports.loop_reports`, which would import Jinja2 and the database for --help."""

_EXAMPLES = """\b
Examples:
  misheard report                          on the newest cycle
  misheard report cycle CYCLE -o page.html
  misheard report validation
  misheard report regression --json
"""


@click.command(epilog=_EXAMPLES)
@click.argument("what", default="cycle", metavar="[cycle|validation|deployment|regression|…]")
@click.argument("cycle_id", required=False)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The page; by default misheard-report.html, or misheard-validation.html and so on.",
)
@json_option
@click.pass_obj
def command(
    directory: str | None, what: str, cycle_id: str | None, output: Path | None, as_json: bool
) -> None:
    """Write an HTML report: on a cycle, or on the loop.

    On the loop: validation, deployment, regression, performance. With --json these print their
    figures, and write a page only where --output names one.
    """
    if what in LOOP_REPORTS:
        if cycle_id is not None:
            raise click.UsageError(f"The {what} report is on the whole loop, not on one cycle.")
        _on_the_loop(directory, what, output, as_json)
    elif what == "cycle":
        _on_a_cycle(directory, cycle_id, output or Path("misheard-report.html"), as_json)
    elif cycle_id is not None:
        raise click.UsageError(
            f"There is no report '{what}'. Known: {', '.join(('cycle', *LOOP_REPORTS))}."
        )
    else:
        _on_a_cycle(directory, what, output or Path("misheard-report.html"), as_json)


def _on_a_cycle(directory: str | None, cycle_id: str | None, output: Path, as_json: bool) -> None:
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


def _on_the_loop(directory: str | None, name: str, output: Path | None, as_json: bool) -> None:
    from misheard.reports.loop_pages import as_html  # noqa: PLC0415 - Jinja2
    from misheard.reports.loop_reports import REPORTS  # noqa: PLC0415 - as above

    workspace = open_workspace(directory)
    if not as_json:
        output = output or Path(f"misheard-{name}.html")
    if output is not None:
        output.write_text(as_html(name, workspace), encoding="utf-8")
    if as_json:
        print_json(REPORTS[name](workspace))
        return
    out.print(f"The {name} report is '{output}'.")
