"""Which cycles there are, where they stand, and what comes next."""

from __future__ import annotations

from datetime import datetime

from misheard.cycle.outlook import Outlook, outlook
from misheard.cycle.stages import Stages
from misheard.cycle.states import Cycle, CycleState, CycleStep
from misheard.cycle.store import CycleStore


class CycleReader:
    """Asks the cycles; changes nothing."""

    def __init__(self, store: CycleStore, stages: Stages) -> None:
        self._store = store
        self._stages = stages

    def get(self, cycle_id: str) -> Cycle:
        """A cycle by its id."""
        return self._store.get(cycle_id)

    def latest(self) -> Cycle | None:
        """The newest cycle."""
        found = self.listed(limit=1)
        return found[0] if found else None

    def listed(
        self, *, state: CycleState | None = None, limit: int = 20, before: str | None = None
    ) -> list[Cycle]:
        """Cycles, newest first; those after the one with the id `before`."""
        return self._store.listed(state=state, limit=limit, before=before)

    def unfinished(self) -> list[Cycle]:
        """Every cycle of which something is left to decide, oldest first."""
        return self._store.unfinished()

    def under_watch(self) -> list[Cycle]:
        """Every cycle whose version is live and watched, or has just been, oldest first."""
        return self._store.under_watch()

    def has_next(self, cycle: Cycle) -> bool:
        """Whether a step of a cycle can be taken now, without a person or somebody's trainer."""
        return self._stages.of(cycle) is not None

    def outlook(self, cycle: Cycle) -> Outlook:
        """What happens next with a cycle, and who has to act."""
        is_watched = cycle.state is CycleState.DEPLOYED
        watch = self._stages.watch(cycle) if is_watched else None
        return outlook(cycle, asks=self._stages.asks(cycle), watch=watch)

    def held_until(self, cycle_id: str) -> datetime | None:
        """Until when a process holds the lease on a cycle; None where none does."""
        return self._store.held_until(cycle_id)

    def counts(self) -> dict[CycleState, int]:
        """How many cycles are in each state."""
        return self._store.counts()

    def steps(self, cycle_id: str) -> list[CycleStep]:
        """The steps of a cycle, oldest first."""
        return self._store.steps(cycle_id)
