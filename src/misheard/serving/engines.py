"""What one server process has loaded: it follows the deployment log, without a gap.

A version becomes visible once it is loaded, warm and checked. Requests hold what they were given
until they end, and what nobody wants any more is closed after the last of them.
"""

from __future__ import annotations

import asyncio
import logging
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
from misheard.speech.memory import give_back
from misheard.workspace import Workspace

_log = logging.getLogger("misheard.serving")
_T = TypeVar("_T")
_SIGN_OF_LIFE = timedelta(seconds=SIGN_OF_LIFE_S)
_FIRST_PATIENCE_S, _MOST_PATIENCE_S = 1.0, 60.0


@dataclass(frozen=True, kw_only=True)
class Serving:
    """A version that answers."""

    version_id: str
    batcher: Batcher
    deployment_number: int
    """The row of the log that was followed when this was given."""


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """What is to be loaded, by the database."""

    newest: Deployment
    staged: dict[str, int]
    """Version → the newest request to load it."""
    rollout: Rollout | None
    """What is tried on live traffic."""
    before: tuple[str, ...]
    """What may be gone back to."""

    @property
    def versions(self) -> list[str]:
        """Each once, the most urgent first."""
        tried = [self.rollout.version_id] if self.rollout else []
        wanted = (self.newest.version_id, *self.staged, *tried, *self.before)
        return list(dict.fromkeys(wanted))


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
        self._failed: dict[str, _Failure] = {}
        self._wanted: _Wanted | None = None
        self._live: Serving | None = None
        self._staging_number = 0
        self._told: ServerState | None = None
        self._is_cut_off = False
        # What is asked of the database never waits for a model that is being loaded.
        self._asking = ThreadPoolExecutor(1, thread_name_prefix="misheard-follow")
        self._opening = ThreadPoolExecutor(1, thread_name_prefix="misheard-load")
        self._loading: asyncio.Task[None] | None = None
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return when the live version is loaded, warm and checked; then follow the log.

        Raises `NothingDeployedError` where none is, and what keeps it from being loaded.
        """
        try:
            unseen = timedelta(days=self._rules.unseen_days)
            await _within(self._asking, partial(self._workspace.fleet.forget, unseen))
            self._wanted = await _within(self._asking, self._ask)
            await self._tell()
            await self._open(self._wanted.newest.version_id)
            await self._settle()
        except BaseException:
            await self.stop()
            raise
        self._following = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Sign off and close everything, each version after its last request."""
        for task in (self._following, self._loading):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        self._following = self._loading = self._live = None
        try:
            await _within(self._asking, partial(self._workspace.fleet.leave, self._id))
        except Exception as error:  # noqa: BLE001 - it stops all the same
            self._cut_off(error)
        self._loaded.want(())
        self._asking.shutdown(wait=False)
        # A load cannot be interrupted; nobody gets to see what comes of it.
        self._opening.shutdown(wait=False, cancel_futures=True)

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
        """What is tried in the slot, as it was at the last look, once its version is loaded.

        Until then no request here has a part in it: all that goes wrong would be the live
        version's, and speak for the candidate.
        """
        rollout = self._wanted.rollout if self._wanted else None
        return rollout if rollout and rollout.version_id in self._loaded else None

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
                self._wanted = await _within(self._asking, self._ask)
                self._is_cut_off = False
            except Exception as error:  # noqa: BLE001 - it goes on with what it has
                self._cut_off(error)
            else:
                await self._settle()

    def _ask(self) -> _Wanted:
        deployments = self._workspace.deployments
        newest = deployments.live(self._slot)
        before = self._wanted.before if self._wanted else ()
        if self._wanted is None or self._wanted.newest != newest:
            before = tuple(deployments.ways_back(newest, limit=self._rules.keep_loaded - 1))
        staged: dict[str, int] = {}
        for one in self._workspace.fleet.staged(self._slot):
            staged.setdefault(one.version_id, one.number)
        rollout = self._workspace.rollouts.running(self._slot)
        return _Wanted(newest=newest, staged=staged, rollout=rollout, before=before)

    async def _settle(self) -> None:
        """Bring what is here closer to what is wanted, and say how it is."""
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
        # Before anything is loaded: who dies of it has said that it was going to.
        await self._tell()
        self._load_next()

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
        try:
            await self._open(version_id)
        except Exception as error:  # noqa: BLE001 - it goes on with what it has
            self._note_failure(version_id, error)
        else:
            self._failed.pop(version_id, None)
        self._loading = None
        await self._settle()

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
            ),
        )

    def _note_failure(self, version_id: str, error: Exception) -> None:
        before = self._failed.get(version_id)
        wait_s = min(2 * before.wait_s, _MOST_PATIENCE_S) if before else _FIRST_PATIENCE_S
        is_known = isinstance(error, MisheardError)
        self._failed[version_id] = _Failure(
            reason=str(error) if is_known else f"{type(error).__name__}: {error}",
            staging_number=self._wanted.staged.get(version_id, 0) if self._wanted else 0,
            wait_s=wait_s,
            again_at=time.monotonic() + wait_s,
        )
        _log.warning(
            "%s could not be loaded, and is tried again in %g s. %s",
            version_id,
            wait_s,
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
            await _within(self._asking, partial(self._workspace.fleet.tell, state))
        except Exception as error:  # noqa: BLE001 - it is told the next time
            self._cut_off(error)
        else:
            self._told = state

    def _cut_off(self, error: Exception) -> None:
        if not self._is_cut_off:
            _log.warning("What is live cannot be looked up; this server goes on. %s", error)
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
