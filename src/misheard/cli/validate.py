"""`misheard validate`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from misheard.cli.output import bars, json_option, open_workspace, out, print_json

_EXAMPLES = """\b
Examples:
  misheard -w calls validate                         the newest candidate against what is live
  misheard -w calls validate v-… --set "bad lines" -o verdict.html

Leaves with 0 for pass, 1 for fail, 3 for inconclusive.
"""
EXIT_CODES = {"pass": 0, "fail": 1, "inconclusive": 3}


@click.command(epilog=_EXAMPLES)
@click.argument("version", required=False)
@click.option("--against", metavar="VERSION", help="What it is compared with (default: live).")
@click.option(
    "--set",
    "set_name",
    metavar="NAME|ID",
    help="The set that decides (default: the newest 'held-out', else a test split).",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the report as an HTML page, too.",
)
@json_option
@click.pass_obj
def command(
    directory: str | None,
    version: str | None,
    against: str | None,
    set_name: str | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Judge a version by the first gate, and keep the verdict."""
    from misheard.cli.comparison import show_comparison, show_verdict  # noqa: PLC0415 - numpy
    from misheard.reports.validation_page import validation_page  # noqa: PLC0415 - Jinja2

    workspace = open_workspace(directory)
    with bars() as observer:
        made = workspace.validate(
            version, against=against, set_name=set_name, observe=observer.progress
        )
    if output is not None:
        output.write_text(validation_page(workspace, made.id), encoding="utf-8")
    if as_json:
        print_json({"answer": made.verdict.answer, "validation": made})
    else:
        show_comparison(out, made.comparison, (made.baseline_id, made.candidate_id))
        show_verdict(out, made.verdict)
        page = f"'{output}'" if output else f"misheard report validation {made.id}"
        out.print(f"\n{made.id} on “{made.set_name}”. The report: {page}")
    sys.exit(EXIT_CODES[made.verdict.answer])
