"""What a rollout does with a request: who answers it, who hears it besides, and how that is noted.

The answer never waits for any of it. Where the candidate fails the live version answers, unless a
part has been shown; where the candidate has too much to do its caller comes back, as for any other.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from misheard.audio import Audio
from misheard.database.engine import new_id
from misheard.errors import MisheardError
from misheard.rollouts.assignment import arm_of, is_shadowed
from misheard.rollouts.counting import Observed, Shadowed
from misheard.rollouts.judging import Action
from misheard.rollouts.signals import Signal, wrong_of
from misheard.rollouts.states import Arm, Kind, Rollout
from misheard.serving.gathering import Gathering
from misheard.speech.transcriber import Transcript
from misheard.workspace import Workspace

_log = logging.getLogger("misheard.serving")
_AT_ONCE = 64
_MOST_BYTES = 256_000_000
"""Of audio that waits to be looked at, where the database keeps it waiting."""
ACTOR = "server"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A request's part in the rollout that runs."""

    rollout: Rollout
    session: str | None
    arm: Arm
    """Who answers."""
    is_shadowed: bool
    """Whether the candidate hears it besides."""

    @classmethod
    def of(cls, rollout: Rollout | None, session: str | None) -> Self | None:
        """None where none runs, or it has no part in it."""
        if rollout is None:
            return None
        request_id = new_id("req")
        made = cls(
            rollout=rollout,
            session=session,
            arm=arm_of(rollout, session, request_id),
            is_shadowed=is_shadowed(rollout, session, request_id),
        )
        return made if made.is_shadowed or rollout.kind is Kind.CANARY else None

    @property
    def version_id(self) -> str:
        """Of who answers."""
        if self.arm is Arm.CANDIDATE:
            return self.rollout.version_id
        return self.rollout.live_version_id

    @property
    def tags(self) -> dict[str, str]:
        """What its transcript is tagged with, so that a correction is counted as well."""
        return self.rollout.tags if self.rollout.kind is Kind.CANARY else {}


@dataclass(frozen=True, kw_only=True)
class Said:
    """What one of the two made of a request, with what signals are read from."""

    transcript: Transcript | None
    """None where it has failed."""
    clip: Audio = field(repr=False)
    speaker: str | None
    second_text: None = None

    @property
    def text(self) -> str:
        """Empty where it has failed."""
        return self.transcript.text if self.transcript else ""

    @property
    def duration_s(self) -> float:
        """Of the audio."""
        return self.clip.duration_s

    @property
    def avg_logprob(self) -> float | None:
        """As the recogniser told it."""
        return self.transcript.avg_logprob if self.transcript else None

    @property
    def no_speech_prob(self) -> float | None:
        """As the recogniser told it."""
        return self.transcript.no_speech_prob if self.transcript else None

    @property
    def compression_ratio(self) -> float | None:
        """As the recogniser told it."""
        return self.transcript.compression_ratio if self.transcript else None


@dataclass(frozen=True, kw_only=True)
class Noted:
    """What a request of a rollout came to."""

    trial: Trial
    answered: Said
    shadow: Said | None = None
    """What the candidate heard besides."""
    inference_id: str | None = None
    """Of the answer, where it is in the log."""
    is_abandoned: bool = False
    """Whether its caller has gone before there was an answer."""

    @property
    def size_bytes(self) -> int:
        """What it holds in memory."""
        return int(self.answered.clip.samples.nbytes)


class TrialLog:
    """Counts requests of rollouts, many in one transaction, in a thread of its own.

    What follows from them is decided and done at once: nobody waits for a worker while a bad
    candidate answers.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._held_bytes = 0
        self._counting = threading.Lock()
        self._gathering: Gathering[Noted] = Gathering(self._note, name="trials", most=_AT_ONCE)

    def add(self, one: Noted) -> None:
        """It does not wait; what is far too much to be counted is not, whoever has answered."""
        with self._counting:
            is_full = self._held_bytes + one.size_bytes > _MOST_BYTES and self._held_bytes > 0
            self._held_bytes += 0 if is_full else one.size_bytes
        if is_full:
            _log.warning("A request of a rollout is not counted: too many wait for the database.")
        else:
            self._gathering.add(one)

    def close(self) -> None:
        """Return when all is counted."""
        self._gathering.close()

    def _note(self, some: Sequence[Noted]) -> None:
        try:
            self._count(some)
        finally:
            with self._counting:
                self._held_bytes -= sum(one.size_bytes for one in some)

    def _count(self, some: Sequence[Noted]) -> None:
        """Telemetry: what cannot be counted is told of, and lost."""
        try:
            said = [one.answered for one in some] + [one.shadow for one in some if one.shadow]
            chances = self._workspace.suspicions.estimate(said)
            wrong = {
                id(one): _wrong(noted, one, chance)
                for (noted, one), chance in zip(_each(some), chances, strict=True)
            }
            self._workspace.rollouts.note([
                Observed(
                    rollout_id=one.trial.rollout.id,
                    step=one.trial.rollout.step,
                    arm=one.trial.arm,
                    session=one.trial.session,
                    wrong=wrong[id(one.answered)],
                )
                for one in some
                if one.trial.rollout.kind is Kind.CANARY
            ])  # fmt: skip
            self._workspace.rollouts.note_shadows([
                Shadowed(
                    rollout_id=one.trial.rollout.id,
                    session=one.trial.session,
                    inference_id=one.inference_id,
                    live_text=one.answered.transcript.text if one.answered.transcript else None,
                    live_wrong=wrong[id(one.answered)],
                    candidate=one.shadow.transcript,
                    candidate_wrong=wrong[id(one.shadow)],
                )
                for one in some
                if one.shadow is not None
            ])  # fmt: skip
        except MisheardError as error:
            _log.error("%d requests of a rollout were not counted. %s", len(some), error)
        for slot in sorted({one.trial.rollout.slot for one in some}):
            self._judge(slot)

    def _judge(self, slot: str) -> None:
        """What cannot be decided or done now is, when the next requests are counted."""
        try:
            decision = self._workspace.judge_rollout(actor=ACTOR, slot=slot)
        except Exception as error:  # noqa: BLE001 - it goes on as it is
            _log.error(
                "What is tried in '%s' could not be judged or moved. %s",
                slot,
                error,
                exc_info=None if isinstance(error, MisheardError) else error,
            )
            return
        if decision is not None and decision.action is not Action.WAIT:
            _log.info("%s", decision.told)


def _each(some: Sequence[Noted]) -> list[tuple[Noted, Said]]:
    answered = [(one, one.answered) for one in some]
    return answered + [(one, one.shadow) for one in some if one.shadow is not None]


def _wrong(noted: Noted, said: Said, suspicion: float | None) -> frozenset[Signal]:
    limits = noted.trial.rollout.rules
    if noted.is_abandoned:
        # Of who is too slow for anybody to wait nothing else would ever be counted.
        return frozenset({Signal.SLOW}).intersection(limits.signals)
    heard = said.transcript
    return wrong_of(
        heard.text if heard else None,
        said.clip.samples,
        suspicion=suspicion if heard else None,
        latency_s=heard.latency_s if heard else None,
        limits=limits,
    )
