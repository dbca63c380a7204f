"""Where a process of the chaos harness kills itself: at a named point of a stage, or at a tick.

Nothing in the product knows of this. The functions that a stage is made of are wrapped from
outside, and a tick is a moment that Python or SQLAlchemy tells of: a statement, a commit, a file
that is renamed, made or deleted.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, event

from misheard.cycle.stages import Stages, Step
from misheard.cycle.states import Cycle, CycleState
from misheard.cycle.store import CycleStore

BEFORE, INSIDE, WORKED, WRITING, COMMITTED = "before", "inside", "worked", "writing", "committed"
_ALL = (BEFORE, INSIDE, WORKED, WRITING, COMMITTED)
_PURE = (BEFORE, WORKED, WRITING, COMMITTED)
# Some stages make something on their way, in transactions of their own or in files.
_OF_STAGES = {
    CycleState.TRIGGERED: _ALL,
    CycleState.DATASET: _ALL,
    CycleState.TRAINING: _ALL,
    CycleState.CONVERTED: _ALL,
    CycleState.VALIDATED: _ALL,
    CycleState.REGRESSION: _PURE,
    CycleState.AWAITING_APPROVAL: _ALL,
    CycleState.DEPLOYED: _PURE,
    CycleState.WATCHED: _PURE,
}
POINTS = (
    ("begin", BEFORE),
    ("begin", COMMITTED),
    *((state.value, where) for state, places in _OF_STAGES.items() for where in places),
)
"""In the order of a cycle. Of each stage: the lease is taken and nothing done; in the midst of it,
at its first write to the database or change of a file; all done and nothing of the step written;
written and not committed; committed and nobody told."""
_FILES = {"os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.link", "os.symlink", "os.truncate"}


@dataclass(frozen=True, kw_only=True)
class Kill:
    """When a process kills itself: at a point, or at its tick of this number."""

    point: tuple[str, str] | None = None
    tick: int | None = None


def install(kill: Kill) -> None:
    """Wrap what the points are made of, in this process."""
    if kill.tick is not None:
        _at_tick(kill.tick)
    if kill.point is not None:
        _at_point(kill.point)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _at_tick(wanted: int) -> None:
    left, lock = [wanted], threading.Lock()

    def tick(*_: Any) -> None:
        with lock:
            left[0] -= 1
            if not left[0]:
                _die()

    for name in ("before_cursor_execute", "after_cursor_execute", "commit"):
        event.listen(Engine, name, tick)
    sys.addaudithook(lambda name, _: tick() if name in _FILES else None)


def _at_point(point: tuple[str, str]) -> None:
    of, where = point

    def here(state: str, at: str) -> None:
        if (state, at) == point:
            _die()

    if where == INSIDE:
        _inside(of)
    _wrap_work(here)
    _wrap_writing(here)


_working_on = threading.local()


def _inside(of: str) -> None:
    """Die at the first row that is written, or change of a file, within the stage."""

    def moment(*_: Any) -> None:
        if getattr(_working_on, "state", "") == of:
            _die()

    def wrote(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith(("INSERT", "UPDATE")):
            moment()

    event.listen(Engine, "after_cursor_execute", wrote)
    sys.addaudithook(lambda name, _: moment() if name in _FILES else None)


def _wrap_work(here: Callable[[str, str], None]) -> None:
    """Before and after what a stage does, and what a person's yes does, without its commit."""
    of, deploy = Stages.of, Stages.deploy

    def worked(state: str, call: Callable[[], Step]) -> Step:
        here(state, BEFORE)
        _working_on.state = state
        try:
            step = call()
        finally:
            _working_on.state = ""
        here(state, WORKED)
        return step

    def wrapped_of(self: Stages, cycle: Cycle) -> Any:
        stage = of(self, cycle)
        if stage is None:
            return None
        return lambda one, observer: worked(cycle.state, lambda: stage(one, observer))

    def wrapped_deploy(self: Stages, cycle: Cycle, *rest: Any) -> Step:
        return worked(cycle.state, lambda: deploy(self, cycle, *rest))

    Stages.of = wrapped_of  # type: ignore[method-assign]
    Stages.deploy = wrapped_deploy  # type: ignore[method-assign]


def _wrap_writing(here: Callable[[str, str], None]) -> None:
    """Before and after the commit of a step."""
    commit, commit_in, add = CycleStore.commit, CycleStore.commit_in, CycleStore.add

    def wrapped_commit(self: CycleStore, cycle: Cycle, *rest: Any) -> Cycle:
        made = commit(self, cycle, *rest)
        here(cycle.state, COMMITTED)
        return made

    def wrapped_commit_in(self: CycleStore, connection: Any, cycle: Cycle, *rest: Any) -> Cycle:
        made = commit_in(self, connection, cycle, *rest)
        here(cycle.state, WRITING)
        return made

    def wrapped_add(self: CycleStore, cycle: Cycle, **options: Any) -> bool:
        here("begin", BEFORE)
        made = add(self, cycle, **options)
        here("begin", COMMITTED)
        return made

    CycleStore.commit = wrapped_commit  # type: ignore[method-assign]
    CycleStore.commit_in = wrapped_commit_in  # type: ignore[method-assign]
    CycleStore.add = wrapped_add  # type: ignore[method-assign]
