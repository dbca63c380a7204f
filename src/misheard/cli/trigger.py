"""`misheard trigger`."""

from __future__ import annotations

import click

from misheard.cli.output import json_option, open_workspace, out, print_json


@click.command(epilog="\b\nExample:\n  misheard -w calls trigger --json")
@json_option
@click.pass_obj
def command(directory: str | None, as_json: bool) -> None:
    """Is it worth training now, and why?"""
    decision = open_workspace(directory).cycles.check_trigger()
    if as_json:
        print_json(decision)
        return
    answer = "[green]yes[/]" if decision.should_trigger else "[yellow]not yet[/]"
    out.print(f"Worth training: {answer}")
    for reason in decision.reasons:
        out.print(f"  [green]✓[/] {reason}")
    for objection in decision.objections:
        out.print(f"  [yellow]✗[/] {objection}")
