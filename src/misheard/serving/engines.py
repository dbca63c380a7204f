"""What one server process has loaded: it follows the deployment log, without a gap.

A version becomes visible once it is loaded, warm and checked. Requests hold what they were given
until they end, and what nobody wants any more is closed after the last of them.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TypeVar

from misheard.database.engine import new_id, now
from misheard.deployment import PRODUCTION, Deployment
from misheard.errors import MisheardError, NotReadyError
from misheard.fleet import SIGN_OF_LIFE_S, ServerState
from misheard.rollouts.states import Rollout
from misheard.serving.batching import Batcher, BatchingRules
from misheard.serving.loaded import LoadedVersions
from misheard.serving.loading import load
from misheard.serving.spare import SpareTime
from misheard.serving.trials import ACTOR
from misheard.serving.wanted import Wanted, look_up
from misheard.speech.memory import give_back
from misheard.workspace import Workspace

_log = logging.getLogger("misheard.serving")
_T = TypeVar("_T")
_SIGN_OF_LIFE = timedelta(seconds=SIGN_OF_LIFE_S)
_FIRST_PATIENCE_S, _MOST_PATIENCE_S = 1.0, 60.0
_UNSURE_AFTER_S = 5.0
"""Without a look for so long, what is tried may have been taken back elsewhere."""


@dataclass(frozen=True, kw_only=True)
class Serving:
    """A version that answers."""

    version_id: str
    batcher: Batcher
    deployment_number: int
    """The row of the log that was followed when this was given."""


@dataclass(frozen=True, kw_only=True)
class _Failure:
    reason: str
    staging_number: int
    """The request that it answers; a later one is another try at once."""
    wait_s: float
    again_at: float
    """On the monotonic clock."""


class Engines:
    """The engines of one slot in this process, and its row of `servers`.

    What it knows changes in the event loop that `start` was awaited in; all that takes time is done
    in threads.
    """

    def __init__(self, workspace: Workspace, *, slot: str = PRODUCTION, address: str = "") -> None:
        """`address` is what people know this server by."""
        self._workspace = workspace
        self._slot = slot
        self._rules = workspace.settings.serving
        self._id, self._address, self._started_at = new_id("server"), address, now()
        self._loaded = LoadedVersions(self._close)
        self._spare = SpareTime()
        self._failed: dict[str, _Failure] = {}
        self._wanted: Wanted | None = None
        self._looked_at = -math.inf
        """On the monotonic clock."""
        self._live: Serving | None = None
        self._staging_number = 0
        self._told: ServerState | None = None
        self._is_cut_off = self._is_stopped = False
        # What is asked of the database waits neither for a model that is being loaded, nor for
        # whoever else writes to it.
        self._asking = ThreadPoolExecutor(1, thread_name_prefix="misheard-follow")
        self._telling = ThreadPoolExecutor(1, thread_name_prefix="misheard-tell")
        self._opening = ThreadPoolExecutor(1, thread_name_prefix="misheard-load")
        self._news = asyncio.Event()
        self._loading: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Return when the live version is loaded, warm and checked; then follow the log.

        Raises `NothingDeployedError` where none is, and what keeps it from being loaded.
        """
        try:
            unseen = timedelta(days=self._rules.unseen_days)
            await _within(self._asking, partial(self._workspace.fleet.forget, unseen))
            self._wanted = await self._look()
            await self._tell()
            await self._open(self._wanted.newest.version_id)
            self._settle()
            await self._tell()
        except BaseException:
            await self.stop()
            raise
        self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._report())]

    async def stop(self) -> None:
        """Sign off and close everything, each version after its last request; once is enough."""
        if self._is_stopped:
            return
        self._is_stopped = True
        tasks = [*self._tasks, *([self._loading] if self._loading else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._tasks, self._loading, self._live = [], None, None
        try:
            await _within(self._telling, partial(self._workspace.fleet.leave, self._id))
        except Exception as error:  # noqa: BLE001 - it stops all the same
            self._cut_off(error)
        self._loaded.want(())
        # Behind what it closes.
        await _within(self._asking, lambda: None)
        for executor in (self._asking, self._telling, self._opening):
            # A load cannot be interrupted; nobody gets to see what comes of it.
            executor.shutdown(wait=False, cancel_futures=True)

    @contextmanager
    def using(self, version_id: str | None = None) -> Iterator[Serving]:
        """A version that is loaded, by default what is live; it stays so while the block runs.

        Raises `NotReadyError` where it is not loaded.
        """
        live = self._live
        if live is None:
            raise NotReadyError("Try again in a moment.")
        wanted = version_id or live.version_id
        with self._loaded.held(wanted) as batcher:
            yield replace(live, version_id=wanted, batcher=batcher)

    @property
    def rollout(self) -> Rollout | None:
        """What is tried in the slot, as it was at the last look, where both versions answer here.

        While one of them does not, no request here has a part in it: all that goes wrong would be
        the other's. Nor has any while the database cannot be asked: it may be over by now.
        """
        rollout, live = self._wanted.rollout if self._wanted else None, self._live
        if rollout is None or live is None or live.version_id != rollout.live_version_id:
            return None
        patience_s = max(_UNSURE_AFTER_S, 3 * self._rules.follow_s)
        is_sure = time.monotonic() - self._looked_at < patience_s
        return rollout if is_sure and rollout.version_id in self._loaded else None

    @property
    def state(self) -> ServerState:
        """What stands in this server's row, or is about to."""
        live = self._live
        return ServerState(
            id=self._id,
            started_at=self._started_at,
            seen_at=now(),
            address=self._address,
            slot=self._slot,
            version_id=live.version_id if live else "",
            deployment_number=live.deployment_number if live else 0,
            staging_number=self._staging_number,
            loaded=self._loaded.wanted,
            failed={version_id: one.reason for version_id, one in sorted(self._failed.items())},
        )

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._rules.follow_s)
            try:
                self._wanted = await self._look()
                self._settle()
                self._is_cut_off = False
            except Exception as error:  # noqa: BLE001 - it goes on with what it has
                self._cut_off(error)

    async def _report(self) -> None:
        while True:
            # Not `wait_for`, which up to Python 3.11 may miss that it is cancelled.
            with suppress(TimeoutError):
                async with asyncio.timeout(SIGN_OF_LIFE_S):
                    await self._news.wait()
            self._news.clear()
            await self._tell()
            await self._supersede()

    async def _look(self) -> Wanted:
        look = partial(look_up, self._workspace, self._slot, self._wanted)
        found = await _within(self._asking, look)
        self._looked_at = time.monotonic()
        return found

    async def _supersede(self) -> None:
        """End what was tried beside a version that is live no more.

        None of it is counted from then on, so nobody else may ever judge it.
        """
        wanted = self._wanted
        rollout = wanted.rollout if wanted else None
        if not wanted or not rollout or rollout.deployment_number >= wanted.newest.number:
            return
        judge = partial(self._workspace.judge_rollout, actor=ACTOR, slot=self._slot)
        try:
            await _within(self._telling, judge)
        except Exception as error:  # noqa: BLE001 - it is judged the next time
            self._cut_off(error)

    def _settle(self) -> None:
        """Bring what is here closer to what is wanted."""
        wanted = self._wanted
        if wanted is None:
            return
        self._staging_number = max((self._staging_number, *wanted.staged.values()))
        self._failed = {
            version_id: one
            for version_id, one in self._failed.items()
            if version_id in wanted.versions
            and one.staging_number >= wanted.staged.get(version_id, 0)
        }
        self._switch(wanted.newest)
        answering = () if self._live is None else (self._live.version_id,)
        self._loaded.want({*wanted.versions, *answering})
        self._load_next()
        self._news.set()

    def _switch(self, newest: Deployment) -> None:
        known = self._live.deployment_number if self._live else 0
        if newest.number == known or newest.version_id not in self._loaded:
            return
        with self._loaded.held(newest.version_id) as batcher:
            self._live = Serving(
                version_id=newest.version_id,
                batcher=batcher,
                deployment_number=newest.number,
            )
        _log.info("%s answers now, by row %d of the log.", newest.version_id, newest.number)

    def _load_next(self) -> None:
        if self._loading is not None or self._wanted is None:
            return
        for version_id in self._wanted.versions:
            failure = self._failed.get(version_id)
            is_due = failure is None or time.monotonic() >= failure.again_at
            if version_id not in self._loaded and is_due:
                self._loading = asyncio.create_task(self._load(version_id))
                return

    async def _load(self, version_id: str) -> None:
        if self._wanted and version_id in self._wanted.staged:
            # Who dies of it has said that it was going to.
            await self._tell()
        try:
            await self._open(version_id)
        except Exception as error:  # noqa: BLE001 - it goes on with what it has
            self._note_failure(version_id, error)
        else:
            self._failed.pop(version_id, None)
        self._loading = None
        self._settle()

    async def _open(self, version_id: str) -> None:
        engine = await _within(self._opening, partial(load, self._workspace, version_id))
        rules = self._rules
        self._loaded.add(
            version_id,
            Batcher(
                engine,
                rules=BatchingRules(
                    max_wait_ms=rules.max_wait_ms,
                    max_batch=rules.max_batch,
                    max_waiting=rules.max_waiting,
                    max_waiting_audio_s=rules.max_waiting_audio_s,
                ),
                spare=self._spare,
            ),
        )

    def _note_failure(self, version_id: str, error: Exception) -> None:
        before = self._failed.get(version_id)
        wait_s = min(2 * before.wait_s, _MOST_PATIENCE_S) if before else _FIRST_PATIENCE_S
        is_known = isinstance(error, MisheardError)
        reason = str(error) if is_known else f"{type(error).__name__}: {error}"
        self._failed[version_id] = _Failure(
            reason=reason,
            staging_number=self._wanted.staged.get(version_id, 0) if self._wanted else 0,
            wait_s=wait_s,
            again_at=time.monotonic() + wait_s,
        )
        if before is None or before.reason != reason:
            _log.warning(
                "%s could not be loaded, and is tried again and again. %s",
                version_id,
                error,
                exc_info=None if is_known else error,
            )

    async def _tell(self) -> None:
        """Write this server's row, where it has changed or not been written for a while."""
        state, told = self.state, self._told
        has_changed = told is None or replace(state, seen_at=told.seen_at) != told
        is_fresh = told is not None and state.seen_at - told.seen_at < _SIGN_OF_LIFE
        if is_fresh and not has_changed:
            return
        try:
            await _within(self._telling, partial(self._workspace.fleet.tell, state))
        except Exception as error:  # noqa: BLE001 - it is told the next time
            self._cut_off(error)
        else:
            self._told = state

    def _cut_off(self, error: Exception) -> None:
        if not self._is_cut_off:
            _log.warning(
                "The database cannot be asked or told; this server goes on as it is. %s",
                error,
                exc_info=None if isinstance(error, MisheardError) else error,
            )
        self._is_cut_off = True

    def _close(self, batcher: Batcher) -> None:
        def close() -> None:
            batcher.close()
            give_back()

        try:
            self._asking.submit(close)
        except RuntimeError:  # it has stopped: nobody waits for this thread any more
            batcher.close()


async def _within(executor: Executor, do: Callable[[], _T]) -> _T:
    """Do it in a thread of `executor`, while the event loop goes on."""
    return await asyncio.get_running_loop().run_in_executor(executor, do)
