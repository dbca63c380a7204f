"""The loop as a durable state machine: one row a cycle, advanced under a lease.

`docs/lifecycle.md` draws the states; `stages` holds what happens between them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine

from misheard.cycle import decisions
from misheard.cycle.beginning import new_cycle
from misheard.cycle.evaluations import Evaluation
from misheard.cycle.expecting import Expecting
from misheard.cycle.lease import LeaseKeeper
from misheard.cycle.options import CycleOptions
from misheard.cycle.reading import CycleReader
from misheard.cycle.stages import Stage, Stages, Step
from misheard.cycle.states import Cycle, CycleState, Observer
from misheard.cycle.store import LEASE, CycleStore, newest_of
from misheard.cycle.triggering import Triggering
from misheard.database.engine import writing
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


class Cycles(CycleReader):
    """Begins cycles, advances them, takes a person's decision, and tells what there is."""

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
        super().__init__(CycleStore(engine, lease=lease), stages)
        self._engine = engine
        self._deployments = deployments
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

    def evaluations(self, *, limit: int = 20, before: int | None = None) -> list[Evaluation]:
        """What the trigger came to whenever it was asked to act, newest first.

        With `before`, those after the one of that number.
        """
        return self._triggering.history(limit=limit, before=before)

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
        cycle = new_cycle(
            decision,
            self._stages,
            actor=actor,
            held_out_id=held_out_id,
            approved=approved,
            reason=reason,
            evidence=evidence,
            options=options,
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
        cycle = self.get(cycle_id)
        step = decisions.approval(cycle, self._stages, actor=actor, reason=reason)
        return self._commit(cycle, step)

    def reject(self, cycle_id: str, *, actor: str, reason: str) -> Cycle:
        """A person's no."""
        cycle = self.get(cycle_id)
        return self._commit(cycle, decisions.rejection(cycle, actor=actor, reason=reason))

    def cancel(self, cycle_id: str, *, actor: str, reason: str = "") -> Cycle:
        """Stop a cycle that has not ended, and its training."""
        cycle = self.get(cycle_id)
        step = decisions.cancellation(cycle, actor=actor, reason=reason)
        self._stop_training(cycle)
        return self._commit(cycle, step)

    def retry(self, cycle_id: str, *, actor: str, reason: str = "") -> Cycle:
        """Take up a cycle that failed where it did; what was trained is trained anew, by a new job.

        Raises `IllegalTransitionError` for one that has not failed, and where another version is
        live by now than the one it was begun against.
        """
        cycle = self.get(cycle_id)
        live = self._deployments.live().version_id
        step = decisions.another_attempt(cycle, live, actor=actor, reason=reason)
        return self._commit(cycle, step)

    def change(self, cycle_id: str, **options: Any) -> Cycle:
        """Change options (see `CycleOptions`) of a cycle that has not got so far yet."""
        cycle = self.get(cycle_id)
        decisions.require_undecided(cycle)
        return self._store.change(cycle, replace(cycle.options, **options))

    def train_elsewhere(self, cycle_id: str, *, actor: str) -> Cycle:
        """Somebody else's program trains on this cycle's dataset from now on."""
        cycle = self.get(cycle_id)
        return self._commit(cycle, decisions.training_elsewhere(cycle, actor=actor))

    def fail(self, cycle_id: str, *, reason: str) -> Cycle:
        """The program that trains elsewhere has given up."""
        cycle = self.get(cycle_id)
        self._stop_training(cycle)
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
        step = decisions.adoption(cycle, self._stages, model, figures, actor=actor)
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

    def _commit(self, cycle: Cycle, step: Step, fence: int | None = None) -> Cycle:
        made = self._store.commit(cycle, step, fence)
        if made.state is _S.DEPLOYED and cycle.state is not _S.ROLLED_BACK:
            self._stages.after_deployment()
        return made

    def _stop_training(self, cycle: Cycle) -> None:
        if cycle.job_id is not None and cycle.state is _S.TRAINING:
            self._stages.jobs.cancel(cycle.job_id)


def _step_of(stage: Stage, cycle: Cycle, observer: Observer) -> Step:
    """What a stage comes to; an error that no second attempt would mend is an end, too."""
    try:
        return stage(cycle, observer)
    except _ENDS as error:
        # A gate that cannot load the candidate, or has nothing to test on, has refused it.
        judged = cycle.state in (_S.CONVERTED, _S.VALIDATED)
        return Step(_S.REFUSED if judged else _S.FAILED, str(error), {})
