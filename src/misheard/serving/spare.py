"""When what nobody waits for may be heard: while no caller of any version of the process waits."""

from __future__ import annotations

from typing import Protocol


class Sharer(Protocol):
    """One of those that share a processor."""

    @property
    def is_pressed(self) -> bool:
        """Whether its callers need all the time that there is."""
        ...

    def go_on(self) -> None:
        """Begin what may begin."""
        ...


class SpareTime:
    """Shared by the batchers of a process, in their event loop.

    Each lets its own callers go first; here they let each other's.
    """

    def __init__(self) -> None:
        self._sharers: set[Sharer] = set()

    def join(self, one: Sharer) -> None:
        """From now on the others give way to its callers."""
        self._sharers.add(one)

    def leave(self, one: Sharer) -> None:
        """It is closed. May be called from any thread."""
        self._sharers.discard(one)

    def is_there_for(self, one: Sharer) -> bool:
        """Whether no other is pressed."""
        return not any(other.is_pressed for other in self._others(one))

    def look_again(self, one: Sharer) -> None:
        """Something of it has ended: the others may begin what has waited for that."""
        if not one.is_pressed:
            for other in self._others(one):
                other.go_on()

    def _others(self, one: Sharer) -> list[Sharer]:
        return [other for other in tuple(self._sharers) if other is not one]
