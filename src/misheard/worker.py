"""A worker: does each duty of a workspace when its time has come, until it is told to stop.

Several may run, on one machine or on many. What each duty does is safe against another that does
the same at the same moment, and against being killed anywhere.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from misheard import watch
from misheard.cycle.states import Cycle, CycleState, Observer
from misheard.database.engine import now
from misheard.finetune.events import TrainingEvent
from misheard.rollouts.judging import Action
from misheard.speech.transcriber import Progress
from misheard.workspace import Workspace

_log = logging.getLogger("misheard.worker")
ACTOR = "worker"
_MOST_PATIENCE_S = 3600.0
_RETENTION_S = 5.0
"""What is not done by then is done the next time, so that alerts need not wait."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """One thing that a worker did."""

    at: datetime
    duty: str
    """advance, suites, suspicion, digest, rollback, rollouts, trigger, alerts, retention, sweep."""
    what: str


@dataclass(frozen=True, kw_only=True)
class _Duty:
    name: str
    interval_s: float
    do: Callable[[], Iterable[str]]


class Worker:
    """Does the duties; what takes hours does not keep what takes moments waiting.

    Cycles, suites and the fit of suspicion take turns in the thread that calls `run`; the digest,
    the roll-back check, rollouts and the trigger do in another.
    """

    def __init__(
        self,
        workspace: Workspace,
        *,
        told: Callable[[Done], object],
        observer: Observer | None = None,
        train: bool = True,
    ) -> None:
        """`told` hears of everything that was done. With `train` off, begun cycles are left."""
        self._told = told
        self._telling = threading.Lock()
        self._stopped = threading.Event()
        self._observer = _Watchful(observer or Observer(), self._stopped, self._step)
        self._train = train
        self._stuck: dict[str, _Patience] = {}
        self._heavy = workspace
        # Rooms of its own, over the same database.
        self._light = workspace.configured({})

    def run(self) -> None:
        """Work until `stop` is called, in this thread and one more."""
        often = self._heavy.settings.worker
        light = [
            _Duty(name="digest", interval_s=often.digest_s, do=self._digest),
            _Duty(name="rollback", interval_s=often.rollback_s, do=self._roll_back),
            _Duty(name="rollouts", interval_s=often.rollouts_s, do=self._judge_rollouts),
            _Duty(name="trigger", interval_s=often.trigger_s, do=self._begin),
            _Duty(name="alerts", interval_s=often.alerts_s, do=self._alert),
            _Duty(name="retention", interval_s=often.retention_s, do=self._let_go),
            _Duty(name="sweep", interval_s=often.sweep_s, do=self._sweep),
        ]
        heavy = [
            _Duty(name="advance", interval_s=often.advance_s, do=self._advance),
            _Duty(name="suites", interval_s=often.suites_s, do=self._run_suites),
            _Duty(name="suspicion", interval_s=often.suspicion_s, do=self._learn_suspicion),
        ]
        other = threading.Thread(target=self._work, args=(light,), name="misheard-light")
        other.start()
        try:
            self._work(heavy)
        finally:
            self.stop()
            other.join()

    def stop(self) -> None:
        """Ask it to stop: what is being done ends at its next sign of life, and is given back.

        A training that was started goes on, and whoever works next takes it up again.
        """
        self._stopped.set()

    def _work(self, duties: Sequence[_Duty]) -> None:
        due = {duty.name: 0.0 for duty in duties}
        while not self._stopped.is_set():
            for duty in duties:
                if time.monotonic() >= due[duty.name] and not self._stopped.is_set():
                    self._do(duty)
                    due[duty.name] = time.monotonic() + duty.interval_s
            self._stopped.wait(max(0.0, min(due.values()) - time.monotonic()))

    def _do(self, duty: _Duty) -> None:
        try:
            with watch.going_on(duty.name):
                for what in duty.do():
                    self._tell(duty.name, what)
        except _Stop:
            self._tell(duty.name, "stopped in the middle, and gave it back")

    def _tell(self, duty: str, what: str) -> None:
        with self._telling:
            self._told(Done(at=now(), duty=duty, what=what))

    def _step(self, cycle: Cycle) -> None:
        self._tell("advance", f"{cycle.id} is {cycle.state}: {cycle.detail}")

    def _advance(self) -> Iterable[str]:
        for cycle in watch.can_go_on(self._heavy, train=self._train):
            patience = self._stuck.get(cycle.id)
            if patience is None or patience.is_over():
                self._go_on(cycle)
        # Each step was told as it was taken.
        return ()

    def _go_on(self, cycle: Cycle) -> None:
        def stuck() -> None:
            patience = self._stuck.setdefault(cycle.id, _Patience())
            patience.grow(self._heavy.settings.worker.advance_s)

        if watch.go_on(self._heavy, cycle, self._observer, stuck=stuck) is not None:
            self._stuck.pop(cycle.id, None)

    def _run_suites(self) -> Iterable[str]:
        for run in watch.run_due_suites(self._heavy, self._observer):
            verdict = "passed" if run.verdict.passed else "failed"
            yield f"suite {run.suite_id} {verdict}: {'; '.join(run.verdict.reasons)}"

    def _learn_suspicion(self) -> Iterable[str]:
        made = watch.learn_suspicion_if_due(self._heavy, actor=ACTOR)
        if made is not None and made.figures is not None:
            yield f"{made.name}: {made.figures.reason}"

    def _digest(self) -> Iterable[str]:
        counted = self._light.digest.catch_up()
        if counted:
            yield f"counted {counted} transcripts"

    def _roll_back(self) -> Iterable[str]:
        back = watch.roll_back_if_worse(self._light, actor=ACTOR)
        if back is not None:
            yield f"rolled back to {back.version_id}: {back.reason}"

    def _judge_rollouts(self) -> Iterable[str]:
        for decision in watch.judge_rollouts(self._light, actor=ACTOR):
            if decision.action is not Action.WAIT:
                yield decision.told

    def _begin(self) -> Iterable[str]:
        begun = watch.begin_if_worth_it(self._light, actor=ACTOR)
        if begun is not None:
            yield f"{begun.id} is {begun.state}: {begun.detail}"

    def _alert(self) -> Iterable[str]:
        seen = self._light.alerts.look()
        yield from (f"alert: {alert.detail}" for alert in seen.fired)
        yield from (f"well again: {alert.detail}" for alert in seen.resolved)
        for one in seen.failed:
            _log.warning("%s did not take an alert: %s", one.channel, one.error)

    def _let_go(self) -> Iterable[str]:
        done = self._light.capture_retention.run(actor=ACTOR, within_s=_RETENTION_S)
        if done.recordings or done.transcripts:
            yield f"let go of {done.recordings} recordings and {done.transcripts} transcripts"

    def _sweep(self) -> Iterable[str]:
        for one in watch.sweep_machines(self._light):
            yield f"{one.name} in {one.zone}: {one.why}"


class _Patience:
    """How long to let a cycle be that could not go on, each time longer."""

    def __init__(self) -> None:
        self._until = self._wait_s = 0.0

    def is_over(self) -> bool:
        return time.monotonic() >= self._until

    def grow(self, first_s: float) -> None:
        self._wait_s = min(max(first_s, 2 * self._wait_s), _MOST_PATIENCE_S)
        self._until = time.monotonic() + self._wait_s


class _Stop(BaseException):
    """Work is to be given back; nothing that handles errors may take it for one."""


class _Watchful(Observer):
    """Passes everything on, tells of new states, and ends the work when it is to stop."""

    def __init__(
        self, inner: Observer, stopped: threading.Event, told: Callable[[Cycle], None]
    ) -> None:
        self._inner = inner
        self._stopped = stopped
        self._told = told
        self._known: tuple[str, CycleState] | None = None

    def progress(self, what: str, total: int) -> Progress:
        inner = self._inner.progress(what, total)

        def done(count: int) -> None:
            self._check()
            inner(count)

        return done

    def training(self, event: TrainingEvent) -> None:
        self._check()
        self._inner.training(event)

    def waiting(self) -> None:
        self._check()
        self._inner.waiting()

    def step(self, cycle: Cycle) -> None:
        # The first word on a cycle is where it stands already.
        if self._known is not None and self._known[0] == cycle.id:
            self._told(cycle)
        self._known = (cycle.id, cycle.state)
        self._inner.step(cycle)
        self._check()

    def _check(self) -> None:
        if self._stopped.is_set():
            raise _Stop
