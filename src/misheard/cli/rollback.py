"""`misheard rollback`."""

from __future__ import annotations

import click

from misheard.cli.output import acting, actor_option, json_option, open_workspace, out, print_json
from misheard.deployment import PRODUCTION


@click.command(epilog='\b\nExample:\n  misheard -w calls rollback --reason "misses names"')
@click.option(
    "--to",
    metavar="VERSION",
    help="An earlier version (default: the one that was live before this one).",
)
@click.option("--slot", default=PRODUCTION, show_default=True)
@click.option("--reason", default="by hand", show_default=True, help="For the audit log.")
@actor_option
@json_option
@click.pass_obj
def command(
    directory: str | None, to: str | None, slot: str, reason: str, actor: str | None, as_json: bool
) -> None:
    """Make live again what was live before."""
    workspace = open_workspace(directory)
    made = workspace.roll_back(actor=acting(actor), reason=reason, to=to, slot=slot)
    if as_json:
        print_json(made)
        return
    out.print(f"[bold]{made.version_id}[/] is live again in {made.slot}.")
