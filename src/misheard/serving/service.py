"""Transcribes for many at once, with what is live, and captures what was heard."""

from __future__ import annotations

from misheard.deployment import PRODUCTION
from misheard.workspace import Workspace


class Service:
    """What a server process does for its callers."""

    def __init__(self, workspace: Workspace, *, slot: str = PRODUCTION, address: str = "") -> None:
        self._workspace = workspace
        self._slot = slot
        self._address = address

    async def start(self) -> None:
        """Returns when it can answer."""

    async def stop(self) -> None:
        """Ends what is under way."""
