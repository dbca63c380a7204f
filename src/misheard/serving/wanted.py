"""What a server is to have loaded, by the database."""

from __future__ import annotations

from dataclasses import dataclass

from misheard.deployment import Deployment
from misheard.rollouts.states import Rollout
from misheard.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is live, what is about to be, what is tried, and what may be gone back to."""

    newest: Deployment
    staged: dict[str, int]
    """Version → the newest request to load it."""
    rollout: Rollout | None
    before: tuple[str, ...]
    """Where a rollback would go, the first of them first."""

    @property
    def versions(self) -> list[str]:
        """Each once, the most urgent first."""
        tried = [self.rollout.version_id] if self.rollout else []
        wanted = (self.newest.version_id, *self.staged, *tried, *self.before)
        return list(dict.fromkeys(wanted))


def look_up(workspace: Workspace, slot: str, known: Wanted | None) -> Wanted:
    """What is wanted now, where `known` was; a few queries by index.

    Raises `NothingDeployedError` where nothing was ever live.
    """
    newest = workspace.deployments.live(slot)
    if known is not None and known.newest == newest:
        before = known.before
    else:
        limit = workspace.settings.serving.keep_loaded - 1
        before = tuple(workspace.deployments.ways_back(newest, limit=limit))
    staged: dict[str, int] = {}
    for one in workspace.fleet.staged(slot):
        staged.setdefault(one.version_id, one.number)
    return Wanted(
        newest=newest,
        staged=staged,
        rollout=workspace.rollouts.running(slot),
        before=before,
    )
