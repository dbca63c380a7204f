"""Rollouts: begun, counted, moved and ended; what is decided about them is in `judging.py`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, insert, select

from misheard.database import audit
from misheard.database.engine import new_id, now, writing
from misheard.database.paging import older_than
from misheard.database.schema import (
    RUNNING,
    rollouts,
)
from misheard.deployment import PRODUCTION, Deployment, deploy_in
from misheard.errors import (
    DeploymentConflictError,
    MisheardError,
    PromotionFailedError,
    RolloutConflictError,
)
from misheard.monitoring import latency
from misheard.rollouts import counting
from misheard.rollouts.counting import Observed, Shadowed
from misheard.rollouts.judging import Action, Evidence, RolloutDecision, judge, verdict_of
from misheard.rollouts.states import Kind, Rollout, RolloutRules, RolloutState
from misheard.rollouts.store import (
    check_shares,
    check_version,
    evidence_in,
    get_in,
    is_none_running,
    live_in,
    move_in,
    read_row,
    running_in,
)

_SLOW_TIMES = 2.0
"""A request is slow that takes so many times as long as 95 % of those before the rollout."""
_LATELY = timedelta(hours=24)
_MIN_TIMED = 100
"""Fewer requests say too little of how long one takes."""
_TRIED_AGAIN_S = 60.0
"""A promotion copies the database first: after one that came to nothing the next waits so long."""


WentLive = Callable[[Connection, Deployment], object]


class Rollouts:
    """Keeps rollouts, and what their requests came to; several processes may do so at once."""

    def __init__(
        self,
        engine: Engine,
        log_engine: Engine,
        *,
        before_deployment: Callable[[Rollout], object] = lambda _rollout: None,
        get_ready: Callable[[Rollout, str], object] = lambda _rollout, _actor: None,
        went_live: WentLive = lambda _connection, _deployment: None,
        after_deployment: Callable[[], object] = lambda: None,
        unready: Callable[[Rollout], Sequence[str]] = lambda _rollout: (),
    ) -> None:
        """`log_engine` may be opened for telemetry: requests are counted by it.

        `went_live` is told of a promotion in the transaction that makes it, `before_deployment` and
        `after_deployment` before and after that. `get_ready` has every server load the candidate,
        for an actor; `unready` names those that have not.
        """
        self._engine = engine
        self._log_engine = log_engine
        self._before_deployment = before_deployment
        self._get_ready = get_ready
        self._went_live = went_live
        self._after_deployment = after_deployment
        self._unready = unready
        self._failed_at: dict[str, float] = {}
        """Rollout → when it was to go live by itself and could not, on the monotonic clock."""

    def begin(
        self,
        kind: Kind,
        version_id: str,
        *,
        shares: Sequence[float],
        rules: RolloutRules,
        actor: str,
        reason: str,
        slot: str = PRODUCTION,
        moment: datetime | None = None,
    ) -> Rollout:
        """Try a version beside what is live in `slot`; whether it may be is for the caller to say.

        A request is slow beyond `rules.slow_s`, or twice what 95 % of the live version's callers
        waited at most in the last 24 hours, whichever is longer. Raises `RolloutConflictError`
        while another rollout runs in the slot, `BadInputError` for shares that cannot be or for
        the live version itself, `VersionPrunedError` where its files are gone.
        """
        check_shares(kind, shares)
        at = moment or now()
        with writing(self._engine) as connection:
            live = live_in(connection, slot)
            check_version(connection, version_id, live)
            if (other := running_in(connection, slot)) is not None:
                raise RolloutConflictError(
                    f"It is {other.id}, of {other.version_id}. Stop it first: "
                    f"misheard rollout stop {other.id}"
                )
            waited = latency.recent(connection, live.version_id, since=at - _LATELY)
            values = rules.to_dict()
            if waited.transcripts >= _MIN_TIMED:
                values["slow_s"] = max(rules.slow_s, _SLOW_TIMES * waited.p95_s)
            if is_none_running(connection):
                # What was corrected before belongs to no rollout that goes on.
                counting.set_mark(connection)
            made = Rollout(
                id=new_id("rollout"),
                created_at=at,
                slot=slot,
                kind=kind,
                version_id=version_id,
                live_version_id=live.version_id,
                deployment_number=live.number,
                state=RolloutState.RUNNING,
                shares=tuple(shares),
                step=0,
                step_began_at=at,
                rules=RolloutRules.from_dict(values),
                actor=actor,
                reason=reason,
                ended_at=None,
                detail="",
            )
            row = {**vars(made), "shares": list(shares), "rules": values}
            connection.execute(insert(rollouts).values(**row))
            entry = audit.AuditEntry(
                actor=actor,
                action=f"begin {kind}",
                subject=made.id,
                from_value=live.version_id,
                to_value=version_id,
                reason=reason,
                evidence={"slot": slot, "shares": list(shares), **values},
            )
            audit.record(connection, entry)
        return made

    def get(self, rollout_id: str) -> Rollout:
        """One rollout by its id."""
        with self._engine.connect() as connection:
            return get_in(connection, rollout_id)

    def listed(
        self, slot: str | None = None, *, limit: int = 50, before: str | None = None
    ) -> list[Rollout]:
        """Rollouts, newest first; of every slot where none is named.

        With `before`, those after the one with that id.
        """
        query = select(rollouts).order_by(rollouts.c.created_at.desc(), rollouts.c.id.desc())
        if slot is not None:
            query = query.where(rollouts.c.slot == slot)
        with self._engine.connect() as connection:
            if before is not None:
                query = query.where(older_than(connection, rollouts, before))
            return [read_row(row) for row in connection.execute(query.limit(limit)).mappings()]

    def running(self, slot: str = PRODUCTION) -> Rollout | None:
        """What is tried in `slot` now."""
        with self._engine.connect() as connection:
            return running_in(connection, slot)

    def all_running(self) -> list[Rollout]:
        """What is tried now, in every slot."""
        with self._engine.connect() as connection:
            query = select(rollouts).where(RUNNING).order_by(rollouts.c.slot)
            return [read_row(row) for row in connection.execute(query).mappings()]

    def evidence(self, rollout_id: str) -> Evidence:
        """What its requests have come to, and how strongly that speaks against the candidate."""
        with self._engine.connect() as connection:
            return evidence_in(connection, get_in(connection, rollout_id))

    def note(self, observed: Sequence[Observed]) -> None:
        """Count requests of canaries, in one transaction; of one that has ended none counts."""
        if observed:
            with writing(self._log_engine) as connection:
                counting.note_in(connection, observed)

    def note_shadows(self, heard: Sequence[Shadowed]) -> None:
        """Count what shadows heard, and keep it beside the inferences, in one transaction."""
        if heard:
            with writing(self._log_engine) as connection:
                counting.note_shadows_in(connection, heard)

    def note_corrections(self) -> int:
        """Count what people have corrected since the last call; how many corrections they were."""
        with self._engine.connect() as connection:
            if is_none_running(connection) or not counting.has_new_corrections(connection):
                return 0
        with writing(self._engine) as connection:
            return counting.note_corrections_in(connection)

    def decision(
        self, slot: str = PRODUCTION, moment: datetime | None = None
    ) -> RolloutDecision | None:
        """What `judge` would do; nothing is done."""
        with self._engine.connect() as connection:
            rollout = running_in(connection, slot)
            if rollout is None:
                return None
            found = _decided(connection, rollout, moment or now())
        if found.action is Action.PROMOTE and (unready := self._unready(rollout)):
            # Nobody waits here: meanwhile what the candidate does has to be counted.
            return replace(
                found, action=Action.WAIT, reason=f"{', '.join(unready)} cannot answer with it yet"
            )
        return found

    def judge(
        self, slot: str = PRODUCTION, *, actor: str, moment: datetime | None = None
    ) -> RolloutDecision | None:
        """Look at what runs in `slot`, and do what is to be done; None where nothing runs.

        Several processes may do so at once: each move is made once. Raises `PromotionFailedError`
        where what comes before a promotion fails; this process tries none again within a minute.
        """
        at = moment or now()
        decision = self.decision(slot, at)
        if decision is None or decision.action is Action.WAIT:
            return decision
        if decision.action is Action.PROMOTE:
            failed_at = self._failed_at.get(decision.rollout.id, -math.inf)
            if time.monotonic() < failed_at + _TRIED_AGAIN_S:
                reason = "it was to go live a moment ago, and is tried again soon"
                return replace(decision, action=Action.WAIT, reason=reason)
            self._prepare(decision.rollout)
            # That takes its time; a server may have come, or lost the candidate, since.
            decision = self.decision(slot, at)
            if decision is None or decision.action is Action.WAIT:
                return decision
        with writing(self._engine) as connection:
            # Meanwhile more may have been counted, and another process may have acted on it.
            rollout = running_in(connection, slot)
            if rollout is None:
                return None
            decision = _decided(connection, rollout, at)
            if decision.action is Action.PROMOTE:
                self._promote_in(connection, rollout, decision.evidence, actor, decision.reason)
            elif decision.action is not Action.WAIT:
                to = _LEADS_TO[decision.action]
                move_in(connection, rollout, to, actor=actor, detail=decision.reason, moment=at)
        if decision.action is Action.PROMOTE:
            self._after_deployment()
        return decision

    def _prepare(self, rollout: Rollout) -> None:
        try:
            self._before_deployment(rollout)
        except MisheardError as error:
            self._failed_at[rollout.id] = time.monotonic()
            raise PromotionFailedError(
                f"It is {rollout.version_id}, of {rollout.id}, and is tried again in "
                f"{_TRIED_AGAIN_S:g} s. {error}"
            ) from error

    def promote(self, rollout_id: str, *, actor: str, reason: str) -> Rollout:
        """Make the candidate of a canary live now, whatever step it is in.

        Every server has it loaded by then: raises `StagingFailedError` where one cannot. Raises
        `RolloutStateError` where it has ended, or is a shadow, and `DeploymentConflictError` where
        something else has gone live since it began.
        """
        rollout = self.get(rollout_id)
        if rollout.kind is Kind.CANARY and not rollout.state.is_final:
            self._before_deployment(rollout)
            self._get_ready(rollout, actor)
        with writing(self._engine) as connection:
            rollout = get_in(connection, rollout_id)
            evidence = evidence_in(connection, rollout)
            made = self._promote_in(connection, rollout, evidence, actor, reason)
        self._after_deployment()
        return made

    def _promote_in(
        self, connection: Connection, rollout: Rollout, evidence: Evidence, actor: str, reason: str
    ) -> Rollout:
        moved = move_in(connection, rollout, RolloutState.PROMOTED, actor=actor, detail=reason)
        live = live_in(connection, rollout.slot)
        if live.number != rollout.deployment_number:
            raise DeploymentConflictError(
                f"{rollout.version_id} was compared with {rollout.live_version_id}, but "
                f"{live.version_id} is live in '{rollout.slot}' now."
            )
        made = deploy_in(
            connection,
            rollout.version_id,
            actor=actor,
            reason=f"{rollout.id}: {reason}",
            slot=rollout.slot,
            evidence=evidence.to_dict(),
        )
        self._went_live(connection, made)
        return moved

    def stop(self, rollout_id: str, *, actor: str, reason: str) -> Rollout:
        """End it by hand; `RolloutStateError` where it has ended already.

        A shadow is told what it has shown so far.
        """
        with writing(self._engine) as connection:
            rollout = get_in(connection, rollout_id)
            detail = reason
            if rollout.kind is Kind.SHADOW:
                shown = verdict_of(rollout, evidence_in(connection, rollout))
                detail = f"{reason}; {shown}"
            return move_in(connection, rollout, RolloutState.STOPPED, actor=actor, detail=detail)


_LEADS_TO = {
    Action.ADVANCE: RolloutState.RUNNING,
    Action.ROLL_BACK: RolloutState.ROLLED_BACK,
    Action.FINISH: RolloutState.FINISHED,
    Action.SUPERSEDE: RolloutState.SUPERSEDED,
}


def _decided(connection: Connection, rollout: Rollout, moment: datetime) -> RolloutDecision:
    evidence = evidence_in(connection, rollout)
    live = live_in(connection, rollout.slot)
    if live.number != rollout.deployment_number:
        return RolloutDecision(
            rollout=rollout,
            action=Action.SUPERSEDE,
            reason=f"{live.version_id} went live: {live.action} by {live.actor}, {live.reason}",
            evidence=evidence,
        )
    return judge(rollout, evidence, moment)
