"""The loop as a durable state machine: one row a cycle, advanced under a lease.

`docs/lifecycle.md` draws the states; `stages` holds what happens between them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine

from misheard.cycle.evaluations import Evaluation, told
from misheard.cycle.expecting import Expecting
from misheard.cycle.lease import LeaseKeeper
from misheard.cycle.options import CycleOptions
from misheard.cycle.outlook import Outlook, outlook
from misheard.cycle.stages import Stage, Stages, Step
from misheard.cycle.states import TRANSITIONS, Cycle, CycleState, CycleStep, Observer
from misheard.cycle.store import LEASE, CycleStore, newest_of
from misheard.cycle.triggering import Triggering
from misheard.database import audit
from misheard.database.details import checked_details
from misheard.database.engine import new_id, now, writing
from misheard.deployment import Deployments
from misheard.errors import (
    DatasetQualityError,
    EmptyDatasetError,
    IllegalTransitionError,
    JobFailedError,
    LeaseLostError,
    MisheardError,
    ModelCorruptError,
    ModelNotFoundError,
    UnsupportedModelError,
)
from misheard.monitoring.observations import Observations
from misheard.triggers import Drift, TriggerDecision

_S = CycleState
_ENDS = (
    EmptyDatasetError,
    DatasetQualityError,
    JobFailedError,
    ModelNotFoundError,
    ModelCorruptError,
    UnsupportedModelError,
)
"""What no second attempt would mend: the cycle has ended, with the reason in its row."""


class Cycles:
    """Begins cycles, advances them, and takes a person's decision."""

    def __init__(
        self,
        engine: Engine,
        *,
        observations: Observations,
        deployments: Deployments,
        stages: Stages,
        lease: timedelta = LEASE,
        drift: Callable[[], Drift | None] = lambda: None,
    ) -> None:
        """`lease` is for how long a process that gives no sign of life keeps a cycle.

        `drift` gives the newest test of a drift of suspicion, where one was made.
        """
        self._engine = engine
        self._store = CycleStore(engine, lease=lease)
        self._deployments = deployments
        self._stages = stages
        rules = stages.rules
        self._triggering = Triggering(
            engine=engine,
            store=self._store,
            cases=stages.cases,
            observations=observations,
            expecting=Expecting(
                engine=engine,
                datasets=stages.datasets,
                validations=stages.validations,
                deployments=deployments,
                normalizer=rules.normalizer,
                min_audited=rules.triggers.min_audited,
            ),
            rules=rules.triggers,
            drift=drift,
        )

    def check_trigger(self, *, expect: bool = False) -> TriggerDecision:
        """Whether training is worth it now, by what came since the last cycle.

        With `expect`, also what it may buy, which takes a part of a second.
        """
        return self._triggering.check(expect=expect)

    def evaluations(self, *, limit: int = 20) -> list[Evaluation]:
        """What the trigger came to whenever it was asked to act, newest first."""
        return self._triggering.history(limit=limit)

    def begin(
        self,
        *,
        actor: str,
        held_out_id: str | None = None,
        force: bool = False,
        approved: bool | None = None,
        reason: str = "",
        evidence: Mapping[str, Any] | None = None,
        options: CycleOptions | None = None,
    ) -> Cycle | None:
        """Begin a cycle against what is live; None when the trigger says no and `force` is off.

        Where training needs a person's yes it is `proposed`, unless it is `approved` here and now;
        with False that is withheld, whatever the settings say.
        One proposal waits at a time: while it does, that one is given again, or approved.
        `held_out_id` names the set that decides; without it that is the newest one called
        "held-out", else the test split of the corrections. `reason` and `evidence` are the
        caller's own, beside those of the trigger.
        """
        seen = None if force else self._store.newest_id()
        decision = self.check_trigger()
        asks = self._stages.rules.require_training_approval
        needs_approval = asks if approved is None else not approved
        if not force:
            waiting = self.listed(state=_S.PROPOSED, limit=1)
            if waiting or not decision.should_trigger:
                self._triggering.keep(decision)
            if waiting and approved:
                if options is not None:
                    self._store.change(waiting[0], options)
                return self.approve(waiting[0].id, actor=actor)
            if waiting:
                return waiting[0]
            if not decision.should_trigger:
                return None
        decision = self._triggering.with_expected(decision)
        if held_out_id is None:
            newest = self._stages.datasets.latest("held-out")
            held_out_id = newest.id if newest else None
        else:
            held_out_id = self._stages.datasets.get(held_out_id).id
        cycle = Cycle(
            id=new_id("cycle"),
            created_at=now(),
            state=_S.PROPOSED if needs_approval else _S.TRIGGERED,
            actor=actor,
            baseline_id=self._deployments.live().version_id,
            held_out_id=held_out_id,
            options=options or CycleOptions(),
            decision={
                "forced": not decision.should_trigger,
                **_kept(decision),
                "reason": reason,
                "evidence": checked_details(evidence, what="a cycle"),
            },
            dataset_id=None,
            job_id=None,
            version_id=None,
            validation_id=None,
            detail=reason or "; ".join(decision.reasons) or "forced",
        )
        kept = self._triggering.kept
        if self._store.add(
            cycle,
            after=seen,
            write=lambda connection: kept.add_in(connection, decision, cycle.id),
        ):
            return cycle
        # Another process has begun one in the meantime, so what was counted may be its.
        return self.begin(
            actor=actor,
            held_out_id=held_out_id,
            approved=approved,
            reason=reason,
            evidence=evidence,
            options=options,
        )

    def run(self, cycle_id: str, *, observer: Observer | None = None) -> Cycle:
        """Advance a cycle until it has ended or waits for somebody."""
        watcher = observer or Observer()
        cycle = self.get(cycle_id)
        watcher.step(cycle)
        while self._stages.of(cycle) is not None:
            cycle = self.advance(cycle_id, observer=watcher)
            watcher.step(cycle)
        return cycle

    def advance(self, cycle_id: str, *, observer: Observer | None = None) -> Cycle:
        """Take one step. Raises `LeaseLostError` when another process works on the cycle."""
        fence = self._store.take_lease(cycle_id)
        cycle = self.get(cycle_id)
        renew = partial(self._store.renew, cycle_id, fence)
        keeper = LeaseKeeper(observer or Observer(), renew, self._store.lease)
        try:
            stage = self._stages.of(cycle)
            if stage is None:
                what = f"{cycle.id} is {cycle.state}; nothing follows by itself."
                raise IllegalTransitionError(what)
            with keeper:
                step = _step_of(stage, cycle, keeper)
            return self._commit(cycle, step, fence)
        except LeaseLostError:
            raise
        except BaseException as error:
            # Whoever mends what is wrong need not wait for the lease to run out.
            self._store.release(cycle_id, fence)
            if isinstance(error, MisheardError) and not isinstance(error, IllegalTransitionError):
                self._store.tell(cycle, str(error))
            raise

    def approve(self, cycle_id: str, *, actor: str, reason: str = "") -> Cycle:
        """A person's yes: a proposed cycle is begun, a candidate that waits is deployed."""
        cycle = self._awaiting(cycle_id)
        detail = _told(f"approved by {actor}", reason)
        if cycle.state is _S.PROPOSED:
            step = _audited(_S.TRIGGERED, detail, actor, "approve", cycle.id, reason)
        else:
            step = self._stages.deploy(cycle, actor, detail, reason)
        return self._commit(cycle, step)

    def reject(self, cycle_id: str, *, actor: str, reason: str) -> Cycle:
        """A person's no."""
        cycle = self._awaiting(cycle_id)
        detail = f"rejected by {actor}: {reason}"
        return self._commit(cycle, _audited(_S.REJECTED, detail, actor, "reject", cycle.id, reason))

    def cancel(self, cycle_id: str, *, actor: str, reason: str = "") -> Cycle:
        """Stop a cycle that has not ended, and its training."""
        cycle = self._undecided(cycle_id)
        if cycle.job_id is not None and cycle.state is _S.TRAINING:
            self._stages.jobs.cancel(cycle.job_id)
        detail = _told(f"cancelled by {actor}", reason)
        step = _audited(_S.CANCELLED, detail, actor, "cancel", cycle.id, reason)
        return self._commit(cycle, step)

    def retry(self, cycle_id: str, *, actor: str, reason: str = "") -> Cycle:
        """Take up a cycle that failed where it did; what was trained is trained anew, by a new job.

        Raises `IllegalTransitionError` for one that has not failed, and where another version is
        live by now than the one it was begun against.
        """
        cycle = self.get(cycle_id)
        if cycle.state is not _S.FAILED:
            raise IllegalTransitionError(
                f"{cycle.id} is {cycle.state}; only what has failed is tried again."
            )
        live = self._deployments.live().version_id
        if live != cycle.baseline_id:
            raise IllegalTransitionError(
                f"{cycle.id} was begun against {cycle.baseline_id}, but {live} is live now. Begin "
                "another: misheard cycle begin"
            )
        to = _S.DATASET if cycle.dataset_id is not None else _S.TRIGGERED
        options = replace(cycle.options, attempt=cycle.options.attempt + 1)
        detail = _told(f"attempt {options.attempt}, by {actor}", reason)
        step = _audited(to, detail, actor, "retry", cycle.id, reason)
        return self._commit(cycle, replace(step, values={"options": options, "job_id": None}))

    def change(self, cycle_id: str, **options: Any) -> Cycle:
        """Change options (see `CycleOptions`) of a cycle that has not got so far yet."""
        cycle = self._undecided(cycle_id)
        return self._store.change(cycle, replace(cycle.options, **options))

    def train_elsewhere(self, cycle_id: str, *, actor: str) -> Cycle:
        """Somebody else's program trains on this cycle's dataset from now on."""
        cycle = self.get(cycle_id)
        options = replace(cycle.options, trained_elsewhere=True)
        step = Step(_S.TRAINING, f"trained elsewhere by {actor}", {"options": options})
        return self._commit(cycle, step)

    def fail(self, cycle_id: str, *, reason: str) -> Cycle:
        """The program that trains elsewhere has given up."""
        cycle = self.get(cycle_id)
        if cycle.job_id is not None and cycle.state is _S.TRAINING:
            self._stages.jobs.cancel(cycle.job_id)
        return self._commit(cycle, Step(_S.FAILED, reason, {}))

    def take_model(
        self,
        cycle_id: str,
        model: Path,
        *,
        actor: str,
        figures: Mapping[str, Any] | None = None,
    ) -> Cycle:
        """Take the model at `model`, trained elsewhere, as the candidate; its files are copied."""
        cycle = self.get(cycle_id)
        if cycle.job_id is not None:
            raise IllegalTransitionError(
                f"{cycle.id} is trained by {cycle.job_id}. To use another model: "
                f"misheard cycle cancel {cycle.id}"
            )
        if cycle.state is not _S.DATASET and _S.CONVERTED not in TRANSITIONS[cycle.state]:
            raise IllegalTransitionError(f"{cycle.id} is {cycle.state}; it takes no model.")
        told = checked_details(figures, what="a training")
        step = self._stages.adopt(cycle, model, told, actor)
        if cycle.state is _S.DATASET:
            cycle = self.train_elsewhere(cycle_id, actor=actor)
        return self._commit(cycle, step)

    def note_left(self, version_id: str, *, actor: str, reason: str) -> None:
        """Remember on the cycle that made `version_id` that it was rolled back."""
        with writing(self._engine) as connection:
            self.note_left_in(connection, version_id, actor=actor, reason=reason)

    def note_left_in(
        self, connection: Connection, version_id: str, *, actor: str, reason: str
    ) -> None:
        """`note_left` inside the caller's transaction."""
        live = [state for state in _S if state.went_live]
        cycle = newest_of(connection, version_id, live)
        if cycle is not None:
            step = Step(_S.ROLLED_BACK, f"{actor}: {reason}", {})
            self._store.commit_in(connection, cycle, step)

    def note_live(self, version_id: str, *, actor: str, reason: str) -> None:
        """Remember on the cycle that made `version_id` that it is live, by hand or again."""
        with writing(self._engine) as connection:
            self.note_live_in(connection, version_id, actor=actor, reason=reason)

    def note_live_in(
        self, connection: Connection, version_id: str, *, actor: str, reason: str
    ) -> None:
        """`note_live` inside the caller's transaction."""
        for state in (_S.ROLLED_BACK, _S.AWAITING_APPROVAL):
            cycle = newest_of(connection, version_id, [state])
            if cycle is not None:
                step = Step(_S.DEPLOYED, f"{actor}: {reason}", {})
                self._store.commit_in(connection, cycle, step)

    def get(self, cycle_id: str) -> Cycle:
        """A cycle by its id."""
        return self._store.get(cycle_id)

    def latest(self) -> Cycle | None:
        """The newest cycle."""
        found = self.listed(limit=1)
        return found[0] if found else None

    def listed(self, *, state: CycleState | None = None, limit: int = 20) -> list[Cycle]:
        """Cycles, newest first."""
        return self._store.listed(state=state, limit=limit)

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
        is_watched = cycle.state is _S.DEPLOYED
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

    def _commit(self, cycle: Cycle, step: Step, fence: int | None = None) -> Cycle:
        made = self._store.commit(cycle, step, fence)
        if made.state is _S.DEPLOYED and cycle.state is not _S.ROLLED_BACK:
            self._stages.after_deployment()
        return made

    def _awaiting(self, cycle_id: str) -> Cycle:
        cycle = self.get(cycle_id)
        if not cycle.state.waits_for_person:
            raise IllegalTransitionError(f"{cycle.id} is {cycle.state}; it awaits no approval.")
        return cycle

    def _undecided(self, cycle_id: str) -> Cycle:
        cycle = self.get(cycle_id)
        if cycle.state.is_final:
            raise IllegalTransitionError(f"{cycle.id} has ended as {cycle.state}.")
        if cycle.state.went_live:
            raise IllegalTransitionError(f"{cycle.id} has gone live. To go back: misheard rollback")
        return cycle


def _kept(decision: TriggerDecision) -> dict[str, Any]:
    """What the row of a cycle keeps of the decision that began it."""
    values = told(decision)
    del values["should_trigger"]
    metrics: dict[str, Any] = values.pop("metrics")
    return metrics | values


def _step_of(stage: Stage, cycle: Cycle, observer: Observer) -> Step:
    """What a stage comes to; an error that no second attempt would mend is an end, too."""
    try:
        return stage(cycle, observer)
    except _ENDS as error:
        # A gate that cannot load the candidate, or has nothing to test on, has refused it.
        judged = cycle.state in (_S.CONVERTED, _S.VALIDATED)
        return Step(_S.REFUSED if judged else _S.FAILED, str(error), {})


def _told(what: str, reason: str) -> str:
    return f"{what}: {reason}" if reason else what


def _audited(
    to: CycleState, detail: str, actor: str, action: str, subject: str, reason: str = ""
) -> Step:
    """A step that is a person's decision."""
    entry = audit.AuditEntry(actor=actor, action=action, subject=subject, reason=reason)
    return Step(to, detail, {}, lambda connection: audit.record(connection, entry))
