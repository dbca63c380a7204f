"""What every channel promises, and what it is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol


class Event(StrEnum):
    """What has happened to an alert."""

    FIRED = "fired"
    RESOLVED = "resolved"


@dataclass(frozen=True, kw_only=True)
class Notice:
    """One thing to tell."""

    alert_id: str
    """The same in both events of an alert, and in every repetition of one."""
    event: Event
    rule: str
    subject: str
    detail: str
    """What is wrong and what to do, in a sentence or two."""
    figures: Mapping[str, Any]
    fired_at: datetime
    resolved_at: datetime | None
    workspace: str
    """Where it is, as people call it."""
    severity: str
    """critical, error or warning."""

    @property
    def headline(self) -> str:
        """One line."""
        if self.event is Event.RESOLVED:
            return f"[{self.workspace}] {self.rule} is well again: {self.subject}"
        return f"[{self.workspace}] {self.rule}: {self.detail}"


class Channel(Protocol):
    """A way to tell people.

    `send` returns once the other side has taken the notice, and raises `DeliveryFailedError`
    otherwise; its text holds no secret. It may be called again with the same notice: whoever was
    killed after sending, before it could be written down, sends again. So a notice arrives at least
    once, and its id tells that it is the same.
    """

    name: str
    timeout_s: float
    """After so long nobody waits for `send` any more; what hangs has failed."""

    def send(self, notice: Notice) -> None:
        """Tell it."""
        ...
