"""The loop as a durable state machine: one row a cycle, advanced under a lease.

`docs/lifecycle.md` draws the states; `stages` holds what happens between them.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Engine, insert, select, update

from misheard import triggers
from misheard.capture.inferences import InferenceLog
from misheard.cycle.stages import Stages, Step
from misheard.cycle.states import TRANSITIONS, Cycle, CycleState, CycleStep, Observer
from misheard.database import audit
from misheard.database.engine import new_id, now, writing
from misheard.database.schema import cycle_steps, cycles
from misheard.deployment import Deployments
from misheard.errors import (
    EmptyDatasetError,
    IllegalTransitionError,
    JobFailedError,
    LeaseLostError,
    UnknownIdError,
)
from misheard.finetune.events import TrainingEvent
from misheard.speech.transcriber import Progress

# Longer than the longest silence between two reports of progress.
_LEASE = timedelta(minutes=2)
_S = CycleState


class Cycles:
    """Begins cycles, advances them, and takes a person's decision."""

    def __init__(
        self,
        engine: Engine,
        *,
        inferences: InferenceLog,
        deployments: Deployments,
        stages: Stages,
    ) -> None:
        self._engine = engine
        self._inferences = inferences
        self._deployments = deployments
        self._stages = stages
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{id(self):x}"

    def check_trigger(self) -> triggers.TriggerDecision:
        """Whether training is worth it now, by what came since the last cycle."""
        last = self.latest()
        since = last.created_at if last else None
        counts = self._stages.cases.counts(since=since)
        metrics = triggers.TriggerMetrics(
            error_cases=counts.error_cases,
            corrected_cases=counts.corrected,
            inferences=self._inferences.count(since=since),
        )
        return triggers.decide(metrics, self._stages.rules.triggers)

    def begin(self, *, actor: str, held_out_id: str, force: bool = False) -> Cycle | None:
        """Begin a cycle against what is live; None when the trigger says no and `force` is off."""
        decision = self.check_trigger()
        if not decision.should_trigger and not force:
            return None
        cycle = Cycle(
            id=new_id("cycle"),
            created_at=now(),
            state=_S.TRIGGERED,
            actor=actor,
            baseline_id=self._deployments.live().version_id,
            held_out_id=self._stages.datasets.get(held_out_id).id,
            decision={
                "forced": not decision.should_trigger,
                "reasons": list(decision.reasons),
                "objections": list(decision.objections),
                **vars(decision.metrics),
            },
            dataset_id=None,
            job_id=None,
            version_id=None,
            validation_id=None,
            detail="; ".join(decision.reasons) or "forced",
        )
        with writing(self._engine) as connection:
            connection.execute(insert(cycles).values(**vars(cycle), fence=0))
            _log_step(connection, cycle, "", cycle.state, cycle.detail)
        return cycle

    def run(self, cycle_id: str, *, observer: Observer | None = None) -> Cycle:
        """Advance a cycle until it has ended or waits for a person."""
        watcher = observer or Observer()
        cycle = self.get(cycle_id)
        watcher.step(cycle)
        while self._stages.of(cycle.state) is not None:
            cycle = self.advance(cycle_id, observer=watcher)
            watcher.step(cycle)
        return cycle

    def advance(self, cycle_id: str, *, observer: Observer | None = None) -> Cycle:
        """Take one step. Raises `LeaseLostError` when another process works on the cycle."""
        fence = self._take_lease(cycle_id)
        cycle = self.get(cycle_id)
        stage = self._stages.of(cycle.state)
        if stage is None:
            self._release(cycle_id, fence)
            raise IllegalTransitionError(f"{cycle.id} is {cycle.state}; nothing follows by itself.")
        keeper = _LeaseKeeper(observer or Observer(), lambda: self._renew(cycle_id, fence))
        try:
            step = stage(cycle, keeper)
        except (EmptyDatasetError, JobFailedError) as error:
            step = Step(_S.FAILED, str(error), {})
        except BaseException:
            # Whoever mends what is wrong need not wait for the lease to run out.
            self._release(cycle_id, fence)
            raise
        return self._commit(cycle, step, fence)

    def approve(self, cycle_id: str, *, actor: str) -> Cycle:
        """A person's yes: the candidate is deployed."""
        cycle = self._awaiting(cycle_id)
        return self._commit(cycle, self._stages.deploy(cycle, actor, f"approved by {actor}"))

    def reject(self, cycle_id: str, *, actor: str, reason: str) -> Cycle:
        """A person's no."""
        cycle = self._awaiting(cycle_id)
        entry = audit.AuditEntry(actor=actor, action="reject", subject=cycle.id, reason=reason)
        detail = f"rejected by {actor}: {reason}"
        return self._commit(
            cycle,
            Step(_S.REJECTED, detail, {}, lambda connection: audit.record(connection, entry)),
        )

    def cancel(self, cycle_id: str, *, actor: str) -> Cycle:
        """Stop a cycle that has not ended, and its training."""
        cycle = self.get(cycle_id)
        if cycle.state.is_final:
            raise IllegalTransitionError(f"{cycle.id} has ended as {cycle.state}.")
        if cycle.job_id is not None and cycle.state is _S.TRAINING:
            self._stages.jobs.cancel(cycle.job_id)
        entry = audit.AuditEntry(actor=actor, action="cancel", subject=cycle.id)
        step = Step(
            _S.CANCELLED,
            f"cancelled by {actor}",
            {},
            lambda connection: audit.record(connection, entry),
        )
        return self._commit(cycle, step)

    def note_left(self, version_id: str, *, actor: str, reason: str) -> None:
        """Remember on the cycle that made `version_id` that it was rolled back."""
        self._note(version_id, _S.DEPLOYED, _S.ROLLED_BACK, f"{actor}: {reason}")

    def note_live(self, version_id: str, *, actor: str, reason: str) -> None:
        """Remember on the cycle that made `version_id` that it is live again."""
        self._note(version_id, _S.ROLLED_BACK, _S.DEPLOYED, f"{actor}: {reason}")

    def _note(self, version_id: str, at: CycleState, to: CycleState, detail: str) -> None:
        query = select(cycles).where(cycles.c.version_id == version_id, cycles.c.state == at)
        with self._engine.connect() as connection:
            row = connection.execute(query.order_by(cycles.c.created_at.desc())).mappings().first()
        if row is not None:
            self._commit(_cycle(dict(row)), Step(to, detail, {}))

    def get(self, cycle_id: str) -> Cycle:
        """A cycle by its id."""
        with self._engine.connect() as connection:
            query = select(cycles).where(cycles.c.id == cycle_id)
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            raise UnknownIdError(f"There is no cycle '{cycle_id}'. See: misheard cycle list")
        return _cycle(dict(row))

    def latest(self) -> Cycle | None:
        """The newest cycle."""
        found = self.listed(limit=1)
        return found[0] if found else None

    def listed(self, *, limit: int = 20) -> list[Cycle]:
        """Cycles, newest first."""
        query = select(cycles).order_by(cycles.c.created_at.desc(), cycles.c.id.desc())
        with self._engine.connect() as connection:
            rows = connection.execute(query.limit(limit)).mappings()
            return [_cycle(dict(row)) for row in rows]

    def steps(self, cycle_id: str) -> list[CycleStep]:
        """The steps of a cycle, oldest first."""
        columns = (getattr(cycle_steps.c, name) for name in CycleStep.__dataclass_fields__)
        query = select(*columns).where(cycle_steps.c.cycle_id == cycle_id)
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(cycle_steps.c.number)).mappings()
            return [CycleStep(**row) for row in rows]

    def _awaiting(self, cycle_id: str) -> Cycle:
        cycle = self.get(cycle_id)
        if not cycle.state.waits_for_person:
            raise IllegalTransitionError(f"{cycle.id} is {cycle.state}; it awaits no approval.")
        return cycle

    def _take_lease(self, cycle_id: str) -> int:
        moment = now()
        free = (cycles.c.lease_until.is_(None)) | (cycles.c.lease_until < moment)
        ours = cycles.c.lease_owner == self._owner
        with writing(self._engine) as connection:
            taken = connection.execute(
                update(cycles)
                .where(cycles.c.id == cycle_id, free | ours)
                .values(
                    lease_owner=self._owner,
                    lease_until=moment + _LEASE,
                    fence=cycles.c.fence + 1,
                )
                .returning(cycles.c.fence)
            ).scalar_one_or_none()
        if taken is None:
            self.get(cycle_id)
            raise LeaseLostError(
                f"{cycle_id} is being worked on; wait two minutes if it was killed."
            )
        return int(taken)

    def _renew(self, cycle_id: str, fence: int) -> None:
        with writing(self._engine) as connection:
            changed = connection.execute(
                update(cycles)
                .where(cycles.c.id == cycle_id, cycles.c.fence == fence)
                .values(lease_until=now() + _LEASE)
            ).rowcount
        if not changed:
            raise LeaseLostError(cycle_id)

    def _release(self, cycle_id: str, fence: int) -> None:
        with writing(self._engine) as connection:
            connection.execute(
                update(cycles)
                .where(cycles.c.id == cycle_id, cycles.c.fence == fence)
                .values(lease_owner=None, lease_until=None)
            )

    def _commit(self, cycle: Cycle, step: Step, fence: int | None = None) -> Cycle:
        """The stage's rows and the step to the next state, in one transaction."""
        if step.to not in TRANSITIONS[cycle.state]:
            raise IllegalTransitionError(f"{cycle.id} cannot go from {cycle.state} to {step.to}.")
        same = (cycles.c.id == cycle.id) & (cycles.c.state == cycle.state)
        if fence is not None:
            same = same & (cycles.c.fence == fence)
        values = {**step.values, "state": step.to, "detail": step.detail}
        with writing(self._engine) as connection:
            changed = connection.execute(
                update(cycles)
                .where(same)
                .values(**values, lease_owner=None, lease_until=None, fence=cycles.c.fence + 1)
            ).rowcount
            if not changed:
                raise LeaseLostError(f"{cycle.id} was {cycle.state} and no longer is.")
            step.write(connection)
            _log_step(connection, cycle, cycle.state, step.to, step.detail)
        return replace(cycle, **values)


class _LeaseKeeper(Observer):
    """Passes everything on, and renews the lease while there is news."""

    def __init__(self, inner: Observer, renew: Callable[[], None]) -> None:
        self._inner = inner
        self._renew = renew
        self._renewed_at = now()

    def progress(self, what: str, total: int) -> Progress:
        inner = self._inner.progress(what, total)

        def done(count: int) -> None:
            self._tick()
            inner(count)

        return done

    def training(self, event: TrainingEvent) -> None:
        self._tick()
        self._inner.training(event)

    def waiting(self) -> None:
        self._tick()
        self._inner.waiting()

    def _tick(self) -> None:
        if now() - self._renewed_at > _LEASE / 4:
            self._renew()
            self._renewed_at = now()


def _log_step(
    connection: Connection, cycle: Cycle, from_state: str, to_state: str, detail: str
) -> None:
    values = {
        "cycle_id": cycle.id,
        "created_at": now(),
        "from_state": from_state,
        "to_state": to_state,
        "detail": detail,
    }
    connection.execute(insert(cycle_steps).values(**values))


def _cycle(row: dict[str, Any]) -> Cycle:
    kept = {name: row[name] for name in Cycle.__dataclass_fields__}
    return Cycle(**kept | {"state": CycleState(row["state"])})
