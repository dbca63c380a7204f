"""`misheard rollback`."""

from __future__ import annotations

import click

from misheard.cli.following import no_wait_option, show
from misheard.cli.output import acting, actor_option, json_option, open_workspace
from misheard.deployment import PRODUCTION


@click.command(
    epilog="""\b
Examples:
  misheard -w calls rollback --reason "misses names"
  misheard -w calls rollback --leaving 7
"""
)
@click.option(
    "--to",
    metavar="VERSION",
    help="An earlier version (default: the one that was live before this one).",
)
@click.option(
    "--leaving",
    metavar="ROW",
    type=click.IntRange(min=1),
    help="Only while this row of the log is what is live; status and deploy --json tell it.",
)
@click.option("--slot", default=PRODUCTION, show_default=True)
@click.option("--reason", default="by hand", show_default=True, help="For the audit log.")
@no_wait_option
@actor_option
@json_option
@click.pass_obj
def command(
    directory: str | None,
    to: str | None,
    leaving: int | None,
    slot: str,
    reason: str,
    no_wait: bool,
    actor: str | None,
    as_json: bool,
) -> None:
    """Make live again what was live before, at once.

    Twice goes back twice. Where somebody else may be doing the same, or the automatic rollback,
    name what is to be left with --leaving: then it is undone once.
    """
    from misheard.database.engine import now  # noqa: PLC0415 - SQLAlchemy

    workspace, since = open_workspace(directory), now()
    made = workspace.roll_back(
        actor=acting(actor), reason=reason, to=to, slot=slot, leaving=leaving
    )
    show(workspace, made, since=since, word="again", wait=not no_wait, as_json=as_json)
