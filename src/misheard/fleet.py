"""The servers that are running: what each has loaded, and what it is asked to load next."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, delete, insert, select, update

from misheard.database.engine import now, writing
from misheard.database.schema import servers, stagings, versions
from misheard.errors import StagingFailedError, UnknownIdError
from misheard.registry import require_files

SIGN_OF_LIFE_S = 3.0
"""A server says so often that it is there, also where nothing has changed."""
ALIVE = timedelta(seconds=15)
"""A server that was not heard of for so long is not there any more."""
_LOOK_S = 0.1


@dataclass(frozen=True, kw_only=True)
class ServerState:
    """What a server process says of itself."""

    id: str
    started_at: datetime
    seen_at: datetime
    """Its last sign of life."""
    address: str
    slot: str
    version_id: str
    """What it answers with; empty until a first version is loaded."""
    deployment_number: int
    """The row of the deployment log by which it does."""
    staging_number: int
    """The newest request to load something that it has seen."""
    loaded: tuple[str, ...]
    """Versions that are loaded, warm and checked."""
    failed: dict[str, str]
    """Version → why it could not be loaded."""

    @property
    def called(self) -> str:
        """How messages name it."""
        return f"{self.address} ({self.id})" if self.address else self.id


@dataclass(frozen=True, kw_only=True)
class Staging:
    """A version that servers are asked to load before it goes live."""

    number: int
    created_at: datetime
    slot: str
    version_id: str
    actor: str
    until: datetime
    """Nobody needs it loaded after that."""


@dataclass(frozen=True, kw_only=True)
class Followed:
    """Who answers with what went live, and who does not yet."""

    answering: tuple[ServerState, ...]
    behind: tuple[ServerState, ...]


@dataclass(frozen=True, kw_only=True)
class Ready:
    """Servers that have a version loaded which is about to go live."""

    servers: int
    staging: Staging | None
    """What they were asked by; None where no server runs."""


Watching = Callable[[Sequence[ServerState]], object]
"""Is told again and again how the servers stand that are waited for."""


def unwatched(_: Sequence[ServerState]) -> None:
    """Tell nobody."""


class Fleet:
    """Where servers say what they have loaded, and deployers what they are to load."""

    def __init__(self, engine: Engine, log_engine: Engine) -> None:
        """Signs of life are telemetry: they go through `log_engine`."""
        self._engine = engine
        self._log_engine = log_engine

    def alive(self, slot: str | None = None) -> list[ServerState]:
        """The servers that gave a sign of life in the last seconds; None: of every slot."""
        return self._listed(slot, servers.c.seen_at >= now() - ALIVE)

    def known(self, slot: str | None = None) -> list[ServerState]:
        """Those as well that went away without a word; the first to start comes first."""
        return self._listed(slot)

    def _listed(self, slot: str | None, *conditions: ColumnElement[bool]) -> list[ServerState]:
        query = select(servers).where(*conditions).order_by(servers.c.started_at, servers.c.id)
        if slot is not None:
            query = query.where(servers.c.slot == slot)
        with self._engine.connect() as connection:
            return [_state(row) for row in connection.execute(query).mappings()]

    def staged(self, slot: str) -> list[Staging]:
        """What the servers of a slot are asked to load, the newest first."""
        query = select(stagings).where(stagings.c.until > now(), stagings.c.slot == slot)
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(stagings.c.number.desc())).mappings()
            return [Staging(**row) for row in rows]

    def tell(self, state: ServerState) -> None:
        """Keep what a server says of itself."""
        values = vars(state) | {"loaded": list(state.loaded)}
        with writing(self._log_engine) as connection:
            row = servers.c.id == state.id
            if not connection.execute(update(servers).where(row).values(**values)).rowcount:
                connection.execute(insert(servers).values(**values))

    def leave(self, server_id: str) -> None:
        """A server has stopped."""
        with writing(self._log_engine) as connection:
            connection.execute(delete(servers).where(servers.c.id == server_id))

    def forget(self, unseen: timedelta) -> None:
        """Let go of servers that gave no sign of life for so long."""
        with writing(self._engine) as connection:
            connection.execute(delete(servers).where(servers.c.seen_at < now() - unseen))

    def get_ready(
        self,
        version_id: str,
        *,
        slot: str,
        actor: str,
        within_s: float,
        watching: Watching = unwatched,
    ) -> Ready:
        """Have the servers of `slot` load a version, and wait until all have.

        Raises `StagingFailedError` when one cannot, does not within `within_s`, or dies of it;
        `VersionPrunedError` when retention has let go of the files. Where this process is killed,
        servers give the version up once `within_s` have passed.
        """
        if not self.alive(slot):
            return Ready(servers=0, staging=None)
        staging = self._stage(version_id, slot, actor, timedelta(seconds=within_s))
        try:
            return Ready(servers=self._wait(staging, watching), staging=staging)
        except BaseException:
            self.unstage(staging)
            raise

    def unstage(self, staging: Staging) -> None:
        """It does not go live, so nobody needs it loaded."""
        with writing(self._engine) as connection:
            connection.execute(delete(stagings).where(stagings.c.number == staging.number))

    def follow(self, slot: str, version_id: str, number: int, *, within_s: float) -> Followed:
        """Wait until every server of `slot` answers by row `number` of the log, or a later one.

        Those that cannot load the version are not waited for.
        """
        end = time.monotonic() + within_s
        while True:
            states = self.alive(slot)
            behind = [one for one in states if one.deployment_number < number]
            late = [one for one in behind if version_id not in one.failed]
            if not late or time.monotonic() >= end:
                answering = tuple(one for one in states if one not in behind)
                return Followed(answering=answering, behind=tuple(behind))
            time.sleep(_LOOK_S)

    def _stage(self, version_id: str, slot: str, actor: str, within: timedelta) -> Staging:
        moment = now()
        values: dict[str, Any] = {
            "created_at": moment,
            "slot": slot,
            "version_id": version_id,
            "actor": actor,
            "until": moment + within,
        }
        with writing(self._engine) as connection:
            # Retention prunes nothing that is staged, and this is not pruned yet.
            _require_files_in(connection, version_id)
            # By clocks that agree to a few seconds: who still waits would take it for live.
            connection.execute(delete(stagings).where(stagings.c.until < moment - ALIVE))
            made = insert(stagings).values(**values).returning(stagings.c.number)
            return Staging(number=connection.execute(made).scalar_one(), **values)

    def _wait(self, staging: Staging, watching: Watching) -> int:
        version_id = staging.version_id
        while True:
            alive_since = now() - ALIVE
            states = self.known(staging.slot)
            # One that stops of its own will leaves no row; one that dies leaves it.
            alive = [one for one in states if one.seen_at >= alive_since]
            answered = [one for one in states if one.staging_number >= staging.number]
            # One that stops of its own will leaves no row; one that dies leaves it.
            _require_alive([one for one in answered if one not in alive], version_id)
            _require_none_failed(answered, version_id)
            watching(alive)
            ready = [one for one in answered if version_id in one.loaded]
            if len(ready) == len(alive):
                return len(ready)
            if now() >= staging.until:
                late = ", ".join(one.called for one in alive if one not in ready)
                raise StagingFailedError(
                    f"Not in time: {late} had {staging.until - staging.created_at} for "
                    f"{version_id}. Look into its log or stop it; or give it longer, with "
                    "deployment.max_staging_s."
                )
            if not self._is_there(staging):
                # Somebody else has made it live; whoever asked is told so when they try to.
                return len(alive)
            time.sleep(_LOOK_S)

    def _is_there(self, staging: Staging) -> bool:
        query = select(stagings.c.number).where(stagings.c.number == staging.number)
        with self._engine.connect() as connection:
            return connection.execute(query).first() is not None


def _state(row: Any) -> ServerState:
    return ServerState(**{**row, "loaded": tuple(row["loaded"])})


def _require_files_in(connection: Connection, version_id: str) -> None:
    query = select(versions.c.pruned_at).where(versions.c.id == version_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise UnknownIdError(f"There is no version '{version_id}'. See: misheard versions")
    require_files(version_id, row.pruned_at)


def _require_none_failed(states: Iterable[ServerState], version_id: str) -> None:
    for one in states:
        if version_id in one.failed:
            raise StagingFailedError(
                f"{one.called} cannot serve {version_id}: {one.failed[version_id]} Mend that or "
                "stop the server, and deploy again."
            )


def _require_alive(gone: Iterable[ServerState], version_id: str) -> None:
    for one in gone:
        raise StagingFailedError(
            f"{one.called} has died, or stands still, since it was asked to load {version_id}. "
            "Is there memory enough for both? Start it again, and deploy again."
        )
