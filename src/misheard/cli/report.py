"""`misheard report`."""

from __future__ import annotations

from pathlib import Path

import click

from misheard.cli.output import json_option, open_workspace, out, print_json

LOOP_REPORTS = ("validation", "deployment", "regression", "performance")
"""As in `misheard.reports.loop_reports`, which would import Jinja2 and the database for --help."""

VALIDATION_PREFIX = "val-"
"""What the ids of validations begin with; those of cycles do not."""

_EXAMPLES = """\b
Examples:
  misheard report                          on the newest cycle
  misheard report cycle CYCLE -o page.html
  misheard report validation               on all validations
  misheard report validation val-…         on one: its evidence, and clip by clip what changed
  misheard report val-… --all
  misheard report regression --json
"""


@click.command(epilog=_EXAMPLES)
@click.argument("what", default="cycle", metavar="[cycle|validation|deployment|regression|…]")
@click.argument("given_id", metavar="[ID]", required=False)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The page; by default misheard-report.html, or misheard-validation.html and so on; of one "
    "validation, misheard-verdict.html.",
)
@click.option(
    "--all",
    "every",
    is_flag=True,
    help="Of one validation: every clip that changed, with its recording, however large the page.",
)
@json_option
@click.pass_obj
def command(
    directory: str | None,
    what: str,
    given_id: str | None,
    output: Path | None,
    every: bool,
    as_json: bool,
) -> None:
    """Write an HTML report: on a cycle, on a validation, or on the loop.

    On the loop: validation, deployment, regression, performance. With --json these print their
    figures, and write a page only where --output names one.
    """
    if what == "validation" and given_id is not None:
        what, given_id = given_id, None
        is_validation = True
    else:
        is_validation = what.startswith(VALIDATION_PREFIX) and given_id is None
    if every and not is_validation:
        raise click.UsageError("--all is for the report on one validation: misheard report val-…")
    if is_validation:
        _on_a_validation(directory, what, output or Path("misheard-verdict.html"), every, as_json)
    elif what in LOOP_REPORTS:
        if given_id is not None:
            raise click.UsageError(f"The {what} report is on the whole loop: leave out {given_id}.")
        _on_the_loop(directory, what, output, as_json)
    elif what == "cycle":
        _on_a_cycle(directory, given_id, output or Path("misheard-report.html"), as_json)
    elif given_id is not None:
        raise click.UsageError(
            f"There is no report '{what}'. Known: {', '.join(('cycle', *LOOP_REPORTS))}."
        )
    else:
        _on_a_cycle(directory, what, output or Path("misheard-report.html"), as_json)


def _on_a_validation(
    directory: str | None, validation_id: str, output: Path, every: bool, as_json: bool
) -> None:
    from misheard.reports.validation_page import validation_page  # noqa: PLC0415 - Jinja2

    workspace = open_workspace(directory)
    page = validation_page(workspace, validation_id, every=every)
    output.write_text(page, encoding="utf-8")
    if as_json:
        print_json({"validation_id": validation_id, "report": str(output.resolve())})
        return
    out.print(f"The report on {validation_id} is '{output}'.")


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
