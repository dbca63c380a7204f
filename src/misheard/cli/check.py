"""`misheard check`."""

from __future__ import annotations

import sys

import click
from rich.markup import escape

from misheard.cli.output import bars, json_option, open_workspace, out, print_json


@click.command(
    epilog="""\b
Examples:
  misheard -w calls check                for every night
  misheard -w calls check --deep         reads every file, names left-overs, counts everything again
\b
Ends with exit code 1 where something is wrong. Nothing is changed and nothing has to be stopped.
"""
)
@click.option(
    "--deep",
    is_flag=True,
    help="Read every file, name those that nothing points at, and count everything again.",
)
@json_option
@click.pass_obj
def command(directory: str | None, deep: bool, as_json: bool) -> None:
    """Is everything there and whole: database, files, counts?"""
    workspace = open_workspace(directory)
    with bars() as shown:
        found = workspace.integrity.check(deep=deep, progress=shown.counter("looking at files"))
    if as_json:
        print_json({"is_sound": found.is_sound, **vars(found)})
    else:
        looked = ", ".join(f"{count:,} {what}" for what, count in found.looked_at.items())
        verdict = "[green]All is well[/]" if found.is_sound else "[red]Not all is well[/]"
        out.print(f"{verdict}: looked at {looked}.")
        for flaw in found.flaws:
            out.print(f"\n[bold]{flaw.part}[/]  {escape(flaw.subject)}", soft_wrap=True)
            out.print(f"  {escape(flaw.detail)}", soft_wrap=True)
            out.print(f"  [cyan]{escape(flaw.remedy)}[/]", soft_wrap=True)
        for part, count in found.more.items():
            out.print(f"\nand {count:,} more of {part}", style="dim")
    if not found.is_sound:
        sys.exit(1)
