"""What is live: an append-only log whose last row says it; deploy and roll back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, case, delete, func, insert, select
from sqlalchemy.exc import IntegrityError

from misheard.database import audit
from misheard.database.engine import now, writing
from misheard.database.schema import deployments, stagings, versions
from misheard.errors import (
    DeploymentConflictError,
    NoEarlierVersionError,
    NothingDeployedError,
    UnknownIdError,
)
from misheard.registry import require_files

PRODUCTION = "production"
"""The slot that is meant where none is named."""


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """One row of the log."""

    number: int
    created_at: datetime
    slot: str
    version_id: str
    action: str
    """deploy or rollback."""
    after_number: int
    undo_number: int
    """The row that a rollback from here returns to; 0 where there is none."""
    actor: str
    reason: str


class Deployments:
    """Writes and reads the deployment log."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def live(self, slot: str = PRODUCTION) -> Deployment:
        """What is live in `slot`; `NothingDeployedError` when nothing ever was."""
        found = self.newest(slot)
        if found is None:
            raise NothingDeployedError(f"Deploy one first: misheard deploy VERSION --slot {slot}")
        return found

    def newest(self, slot: str = PRODUCTION) -> Deployment | None:
        """As `live`; None where nothing ever was."""
        with self._engine.connect() as connection:
            return _last(connection, slot)

    def history(
        self, slot: str = PRODUCTION, *, limit: int = 50, before: int | None = None
    ) -> list[Deployment]:
        """The log, newest first; with `before`, what comes after the row of that number."""
        query = select(deployments).where(deployments.c.slot == slot)
        if before is not None:
            query = query.where(deployments.c.number < before)
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(deployments.c.number.desc()).limit(limit))
            return [Deployment(**row) for row in rows.mappings()]

    def live_by_slot(self) -> dict[str, str]:
        """Slot → the version that is live in it."""
        newest = select(func.max(deployments.c.number)).group_by(deployments.c.slot)
        query = select(deployments.c.slot, deployments.c.version_id)
        query = query.where(deployments.c.number.in_(newest)).order_by(deployments.c.slot)
        with self._engine.connect() as connection:
            return {row.slot: row.version_id for row in connection.execute(query)}

    def ever_live(self, slot: str | None = PRODUCTION) -> list[str]:
        """The versions that are or were live in `slot`, the most recent first; None: in any."""
        query = select(deployments.c.version_id).group_by(deployments.c.version_id)
        if slot is not None:
            query = query.where(deployments.c.slot == slot)
        query = query.order_by(func.max(deployments.c.number).desc())
        with self._engine.connect() as connection:
            return list(connection.scalars(query))

    def ways_back(self, newest: Deployment, *, limit: int) -> list[str]:
        """Versions that were live before and have their files, where a rollback goes to first.

        Those after it are the most recent ones.
        """
        query = (
            select(deployments.c.version_id)
            .join(versions, versions.c.id == deployments.c.version_id)
            .where(deployments.c.slot == newest.slot, versions.c.pruned_at.is_(None))
            .where(deployments.c.version_id != newest.version_id)
            .group_by(deployments.c.version_id)
        )
        by_undo = func.max(case((deployments.c.number == newest.undo_number, 1), else_=0)).desc()
        query = query.order_by(by_undo, func.max(deployments.c.number).desc())
        with self._engine.connect() as connection:
            return list(connection.scalars(query.limit(limit)))

    def newest_of(self, version_id: str, slot: str = PRODUCTION) -> Deployment:
        """The row by which a version last went live; `UnknownIdError` when it never did."""
        query = select(deployments).where(
            deployments.c.slot == slot, deployments.c.version_id == version_id
        )
        query = query.order_by(deployments.c.number.desc()).limit(1)
        with self._engine.connect() as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            raise UnknownIdError(f"'{version_id}' was never live in '{slot}'.")
        return Deployment(**row)

    def after(self, one: Deployment) -> Deployment | None:
        """The row that came next in its slot; None while that one is the newest."""
        query = select(deployments).where(
            deployments.c.slot == one.slot, deployments.c.after_number == one.number
        )
        with self._engine.connect() as connection:
            row = connection.execute(query).mappings().first()
        return Deployment(**row) if row is not None else None

    def deploy(
        self,
        version_id: str,
        *,
        actor: str,
        reason: str,
        slot: str = PRODUCTION,
        evidence: dict[str, Any] | None = None,
        expected: int | None = None,
    ) -> Deployment:
        """Make `version_id` live; nothing happens when it is live already.

        With `expected` only while that is the number of the newest row, 0 where there is none.
        Raises `VersionPrunedError` when retention has let go of its files, and
        `DeploymentConflictError` when somebody else has deployed.
        """
        with writing(self._engine) as connection:
            return deploy_in(
                connection,
                version_id,
                actor=actor,
                reason=reason,
                slot=slot,
                evidence=evidence,
                expected=expected,
            )

    def roll_back(
        self, *, actor: str, reason: str, to: str | None = None, slot: str = PRODUCTION
    ) -> Deployment:
        """Make live again what was live before, or the earlier version `to`.

        Twice goes back twice, and never to the version that was just left. Raises
        `NoEarlierVersionError` where there is nothing to go back to, `VersionPrunedError` when
        retention has let go of its files.
        """
        with writing(self._engine) as connection:
            return roll_back_in(connection, actor=actor, reason=reason, to=to, slot=slot)


def roll_back_in(
    connection: Connection,
    *,
    actor: str,
    reason: str,
    to: str | None = None,
    slot: str = PRODUCTION,
    leaving: int | None = None,
) -> Deployment:
    """`Deployments.roll_back` inside the caller's transaction.

    With `leaving` it raises `DeploymentConflictError` when another row than that is the newest: of
    two who saw the same trouble, the second would go back once more.
    """
    last = _last(connection, slot)
    require_newest(last, leaving, slot)
    target = _target(connection, last, slot, to)
    if last is None or target is None:
        raise NoEarlierVersionError(f"'{slot}' had no other version before.")
    _check_version(connection, target.version_id)
    passed_over = {last.version_id, target.version_id}
    then = _row(connection, target.undo_number)
    while then is not None and then.version_id in passed_over:
        then = _row(connection, then.undo_number)
    return _append(
        connection,
        last,
        slot,
        target.version_id,
        action="rollback",
        undo_number=then.number if then else 0,
        actor=actor,
        reason=reason,
        evidence={},
    )


def version_before_in(connection: Connection, one: Deployment) -> str:
    """The version that a row of the log took the place of; empty where it was the first."""
    before = _row(connection, one.after_number)
    return before.version_id if before is not None else ""


def deploy_in(
    connection: Connection,
    version_id: str,
    *,
    actor: str,
    reason: str,
    slot: str = PRODUCTION,
    evidence: dict[str, Any] | None = None,
    replacing: str | None = None,
    expected: int | None = None,
) -> Deployment:
    """`Deployments.deploy` inside the caller's transaction.

    With `replacing` it raises `DeploymentConflictError` when another version than that is live.
    """
    last = _last(connection, slot)
    require_newest(last, expected, slot)
    if last is not None and last.version_id == version_id:
        return last
    _check_version(connection, version_id)
    if replacing is not None and last is not None and last.version_id != replacing:
        raise DeploymentConflictError(
            f"{version_id} was compared with {replacing}, but {last.version_id} is live in "
            f"'{slot}' now. Begin a new cycle, or deploy it by hand if you know better."
        )
    return _append(
        connection,
        last,
        slot,
        version_id,
        action="deploy",
        undo_number=last.number if last else 0,
        actor=actor,
        reason=reason,
        evidence=evidence or {},
    )


def require_newest(last: Deployment | None, expected: int | None, slot: str) -> None:
    """Raise `DeploymentConflictError` unless the newest row of a slot is the one that was seen."""
    found = last.number if last is not None else 0
    if expected is None or found == expected:
        return
    if last is None:
        raise DeploymentConflictError(f"Nothing was ever live in '{slot}', so no row {expected}.")
    raise DeploymentConflictError(
        f"Row {expected} of the log was the newest of '{slot}', but {last.version_id} has gone "
        f"live since: {last.action} by {last.actor}, {last.reason} (row {found}). Look what is "
        "live now, then do it again if it is still right: misheard status"
    )


def _check_version(connection: Connection, version_id: str) -> None:
    query = select(versions.c.pruned_at).where(versions.c.id == version_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise UnknownIdError(f"There is no version '{version_id}'. See: misheard versions")
    require_files(version_id, row.pruned_at)


def _target(
    connection: Connection, last: Deployment | None, slot: str, to: str | None
) -> Deployment | None:
    """The row that a rollback goes back to; None where there is none."""
    if to is None:
        return _row(connection, last.undo_number) if last else None
    if last is not None and last.version_id == to:
        raise NoEarlierVersionError(f"'{to}' is what is live in '{slot}' now.")
    query = select(deployments).where(deployments.c.slot == slot, deployments.c.version_id == to)
    query = query.order_by(deployments.c.number.desc()).limit(1)
    row = connection.execute(query).mappings().first()
    if row is None:
        raise NoEarlierVersionError(
            f"'{to}' was never live in '{slot}'. What was: misheard versions"
        )
    return Deployment(**row)


def _row(connection: Connection, number: int) -> Deployment | None:
    query = select(deployments).where(deployments.c.number == number)
    row = connection.execute(query).mappings().one_or_none()
    return Deployment(**row) if row is not None else None


def _last(connection: Connection, slot: str) -> Deployment | None:
    query = select(deployments).where(deployments.c.slot == slot)
    row = (
        connection.execute(query.order_by(deployments.c.number.desc()).limit(1)).mappings().first()
    )
    return Deployment(**row) if row is not None else None


def _append(
    connection: Connection,
    last: Deployment | None,
    slot: str,
    version_id: str,
    *,
    action: str,
    undo_number: int,
    actor: str,
    reason: str,
    evidence: dict[str, Any],
) -> Deployment:
    values: dict[str, Any] = {
        "created_at": now(),
        "slot": slot,
        "version_id": version_id,
        "action": action,
        "after_number": last.number if last else 0,
        "undo_number": undo_number,
        "actor": actor,
        "reason": reason,
    }
    try:
        number = connection.execute(
            insert(deployments).values(**values).returning(deployments.c.number)
        ).scalar_one()
    except IntegrityError as error:
        raise DeploymentConflictError(
            f"Look at what is live in '{slot}' now, then deploy again if it is still right."
        ) from error
    # What is live is loaded anyway; whoever else waits for it sees by this that it is.
    staged = (stagings.c.slot == slot) & (stagings.c.version_id == version_id)
    connection.execute(delete(stagings).where(staged))
    entry = audit.AuditEntry(
        actor=actor,
        action=action,
        subject=slot,
        from_value=last.version_id if last else "",
        to_value=version_id,
        reason=reason,
        evidence=evidence,
    )
    audit.record(connection, entry)
    return Deployment(number=number, **values)
