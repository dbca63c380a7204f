"""`misheard deploy`."""

from __future__ import annotations

import click

from misheard.cli.output import acting, actor_option, json_option, open_workspace, out, print_json
from misheard.deployment import PRODUCTION


@click.command(epilog='\b\nExample:\n  misheard -w calls deploy v-… --reason "after the fix"')
@click.argument("version")
@click.option("--slot", default=PRODUCTION, show_default=True)
@click.option("--reason", default="by hand", show_default=True, help="For the audit log.")
@click.option("--force", is_flag=True, help="Even if it has passed no validation.")
@actor_option
@json_option
@click.pass_obj
def command(
    directory: str | None,
    version: str,
    slot: str,
    reason: str,
    force: bool,
    actor: str | None,
    as_json: bool,
) -> None:
    """Make a version live."""
    workspace = open_workspace(directory)
    made = workspace.deploy(version, actor=acting(actor), reason=reason, slot=slot, force=force)
    if as_json:
        print_json(made)
        return
    out.print(f"[bold]{made.version_id}[/] is live in {made.slot}.")
