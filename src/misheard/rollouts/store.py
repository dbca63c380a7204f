"""Reads rollouts and moves them on, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from sqlalchemy import Connection, delete, select, update

from misheard.database import audit
from misheard.database.engine import now
from misheard.database.schema import RUNNING, deployments, rollout_sessions, rollouts, versions
from misheard.errors import (
    BadInputError,
    NothingDeployedError,
    RolloutStateError,
    UnknownIdError,
)
from misheard.registry import require_files
from misheard.rollouts import counting
from misheard.rollouts.judging import Evidence, weigh
from misheard.rollouts.states import TRANSITIONS, Kind, Rollout, RolloutRules, RolloutState


def get_in(connection: Connection, rollout_id: str) -> Rollout:
    """One rollout, read in the caller's transaction."""
    query = select(rollouts).where(rollouts.c.id == rollout_id)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise UnknownIdError(f"There is no rollout '{rollout_id}'. See: misheard rollout list")
    return read_row(row)


def evidence_in(connection: Connection, rollout: Rollout) -> Evidence:
    """`Rollouts.evidence` in the caller's transaction."""
    return weigh(rollout, counting.counts_of(connection, rollout.id))


def move_in(
    connection: Connection,
    rollout: Rollout,
    to: RolloutState,
    *,
    actor: str,
    detail: str,
    moment: datetime | None = None,
) -> Rollout:
    """Take a rollout on, in the caller's transaction, in which it was read; the audit log has why.

    From running to running is its next step. Raises `RolloutStateError` where it cannot go there.
    """
    if to not in TRANSITIONS[rollout.kind].get(rollout.state, ()):
        raise RolloutStateError(
            f"{rollout.id}, a {rollout.kind}, is {rollout.state.replace('_', ' ')}, and cannot be "
            f"{to.replace('_', ' ')}."
        )
    at = moment or now()
    evidence = evidence_in(connection, rollout)
    values: dict[str, Any] = {"state": to, "detail": detail}
    if to.is_final:
        values["ended_at"] = at
    else:
        values |= {"step": rollout.step + 1, "step_began_at": at}
    connection.execute(update(rollouts).where(rollouts.c.id == rollout.id).values(**values))
    if to.is_final:
        gone = delete(rollout_sessions).where(rollout_sessions.c.rollout_id == rollout.id)
        connection.execute(gone)
    moved = get_in(connection, rollout.id)
    entry = audit.AuditEntry(
        actor=actor,
        action=f"{rollout.kind} {'next step' if not to.is_final else to.replace('_', ' ')}",
        subject=rollout.id,
        from_value=f"{100 * rollout.share:g}% of the sessions",
        to_value=f"{100 * moved.share:g}% of the sessions" if not to.is_final else str(to),
        reason=detail,
        evidence=evidence.to_dict(),
    )
    audit.record(connection, entry)
    return moved


def check_shares(kind: Kind, shares: Sequence[float]) -> None:
    """Raises `BadInputError` for shares that a rollout of this kind cannot have."""
    told = ", ".join(f"{share:g}" for share in shares)
    if kind is Kind.SHADOW:
        if len(shares) != 1 or not 0.0 < shares[0] <= 1.0:
            raise BadInputError(f"A shadow has one share, above 0 and at most 1, got {told}.")
        return
    rises = all(before < after for before, after in pairwise(shares))
    if not shares or not rises or not all(0.0 < share < 1.0 for share in shares):
        raise BadInputError(
            f"Shares of a canary lie between 0 and 1 and rise from step to step, got {told}."
        )


def check_version(connection: Connection, version_id: str, live: Any) -> None:
    """Raises an error for a version that cannot be tried beside the one that is live."""
    query = select(versions.c.pruned_at).where(versions.c.id == version_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise UnknownIdError(f"There is no version '{version_id}'. See: misheard versions")
    require_files(version_id, row.pruned_at)
    if version_id == live.version_id:
        raise BadInputError(
            f"{version_id} is live in '{live.slot}'. Name another: misheard versions"
        )


def live_in(connection: Connection, slot: str) -> Any:
    """The newest row of the deployment log of a slot."""
    query = select(deployments).where(deployments.c.slot == slot)
    row = connection.execute(query.order_by(deployments.c.number.desc()).limit(1)).first()
    if row is None:
        raise NothingDeployedError(f"Deploy one first: misheard deploy VERSION --slot {slot}")
    return row


def running_in(connection: Connection, slot: str) -> Rollout | None:
    """What is tried in a slot now."""
    query = select(rollouts).where(rollouts.c.slot == slot, RUNNING)
    row = connection.execute(query).mappings().one_or_none()
    return read_row(row) if row is not None else None


def is_none_running(connection: Connection) -> bool:
    """Whether nothing is tried in any slot."""
    return connection.execute(select(rollouts.c.id).where(RUNNING).limit(1)).first() is None


def read_row(row: Any) -> Rollout:
    """From a row of `rollouts`."""
    return Rollout(
        **{
            **row,
            "kind": Kind(row["kind"]),
            "state": RolloutState(row["state"]),
            "shares": tuple(row["shares"]),
            "rules": RolloutRules.from_dict(row["rules"]),
        }
    )
