"""`misheard deploy`."""

from __future__ import annotations

import click

from misheard.cli.following import loading, no_wait_option, show
from misheard.cli.output import acting, actor_option, json_option, open_workspace
from misheard.deployment import PRODUCTION


@click.command(epilog='\b\nExample:\n  misheard -w calls deploy v-… --reason "after the fix"')
@click.argument("version")
@click.option("--slot", default=PRODUCTION, show_default=True)
@click.option("--reason", default="by hand", show_default=True, help="For the audit log.")
@click.option("--force", is_flag=True, help="Even if it has passed no validation.")
@no_wait_option
@actor_option
@json_option
@click.pass_obj
def command(
    directory: str | None,
    version: str,
    slot: str,
    reason: str,
    force: bool,
    no_wait: bool,
    actor: str | None,
    as_json: bool,
) -> None:
    """Make a version live, once every server has it loaded."""
    from misheard.database.engine import now  # noqa: PLC0415 - SQLAlchemy

    workspace, since = open_workspace(directory), now()
    made = workspace.deploy(
        version,
        actor=acting(actor),
        reason=reason,
        slot=slot,
        force=force,
        watching=loading(version),
    )
    show(workspace, made, since=since, word="", wait=not no_wait, as_json=as_json)
