"""`misheard compare`."""

from __future__ import annotations

import click

from misheard.cli.output import bars, json_option, open_workspace, out, print_json


@click.command(
    epilog="""\b
Examples:
  misheard -w calls compare v-… v-…
  misheard -w calls compare v-… v-… --set general --json
"""
)
@click.argument("a")
@click.argument("b")
@click.option(
    "--set",
    "set_name",
    metavar="NAME|ID",
    help="What they are compared on (default: the newest 'held-out', else a test split).",
)
@json_option
@click.pass_obj
def command(directory: str | None, a: str, b: str, set_name: str | None, as_json: bool) -> None:
    """Compare two versions on one set; nothing is judged or kept."""
    from misheard.cli.comparison import show_comparison, show_slices  # noqa: PLC0415 - numpy

    workspace = open_workspace(directory)
    with bars() as observer:
        found = workspace.compare(a, b, set_name=set_name, observe=observer.progress)
    if as_json:
        print_json({"a": a, "b": b, "comparison": found.to_dict()})
        return
    show_comparison(out, found, (a, b))
    show_slices(out, found.slices)
