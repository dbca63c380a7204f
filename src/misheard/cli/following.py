"""What `misheard deploy` and `misheard rollback` share: the servers are waited for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from misheard.cli.output import err, out, print_json
from misheard.errors import NotFollowedError

if TYPE_CHECKING:
    from datetime import datetime

    from misheard.deployment import Deployment
    from misheard.fleet import ServerState, Watching
    from misheard.workspace import Workspace

_PATIENCE_S = 30.0
"""For servers that have to load it from disk."""


def no_wait_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--no-wait`: it is live when the log says so."""
    return click.option(
        "--no-wait", is_flag=True, help="Do not wait until every server answers with it."
    )(function)


def loading(version_id: str) -> Watching:
    """Tells how many servers have loaded a version, whenever that changes."""
    told: list[str] = []

    def watching(states: Sequence[ServerState]) -> None:
        ready = sum(version_id in one.loaded for one in states)
        line = f"{ready} of {len(states)} servers have loaded {version_id}"
        if told[-1:] != [line]:
            told.append(line)
            err.print(line, style="dim")

    return watching


def show(
    workspace: Workspace,
    made: Deployment,
    *,
    since: datetime,
    word: str,
    wait: bool,
    as_json: bool,
) -> None:
    """Print what is live, once every server answers with it.

    `since` is when the command began: what is older was live already. Raises `NotFollowedError`
    where one does not.
    """
    from misheard.database.engine import now  # noqa: PLC0415 - SQLAlchemy

    found = workspace.fleet.follow(
        made.slot, made.version_id, made.number, within_s=_PATIENCE_S if wait else 0.0
    )
    took_s = round((now() - made.created_at).total_seconds(), 2)
    is_new = made.created_at >= since
    count = len(found.answering)
    if as_json:
        servers = {"answering": count, "behind": [one.id for one in found.behind]}
        took = took_s if is_new and count and not found.behind else None
        print_json(vars(made) | {"servers": servers, "followed_after_s": took})
    else:
        said = f"[bold]{made.version_id}[/] is live {word if is_new else 'already'} in {made.slot}"
        if count and not found.behind:
            servers_told = "1 server answers" if count == 1 else f"{count} servers answer"
            said += f"; {servers_told} with it" + (f" after {took_s:.1f} s" if is_new else "")
        out.print(" ".join(f"{said}.".split()))
    if wait and found.behind:
        raise NotFollowedError(" ".join(_told(one, made) for one in found.behind))


def _told(server: ServerState, made: Deployment) -> str:
    why = server.failed.get(made.version_id, f"It had {_PATIENCE_S:g} s.")
    return (
        f"{server.called} still answers with {server.version_id or 'nothing'}. {why} It tries "
        "again by itself. To bring back what was live before: misheard rollback"
    )
