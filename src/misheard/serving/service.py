"""Transcribes for many at once, with what is live, and captures what was heard."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from misheard.audio import Audio, AudioLimits
from misheard.capture.inferences import Heard
from misheard.deployment import PRODUCTION
from misheard.errors import BadInputError, MisheardError, NotReadyError, OverloadedError
from misheard.monitoring.metrics import MetricFamily
from misheard.rollouts.states import Arm, Kind
from misheard.serving.decoders import DecoderRules, Decoders
from misheard.serving.engines import Engines
from misheard.serving.figures import families
from misheard.serving.recorder import Recorder
from misheard.serving.trials import Noted, Said, Trial, TrialLog
from misheard.serving.utterance import Answer, Capture, Utterance
from misheard.settings import ServingSettings
from misheard.speech.decoding import DecodingOptions
from misheard.speech.transcriber import Transcript
from misheard.workspace import Workspace

_log = logging.getLogger("misheard.serving")
_SMOOTHING = 0.1
"""Share of the newest request in what one usually takes."""
_MOST_PATIENCE_S = 60
_KEPT_WITHIN_S = 5.0
"""An answer waits no longer for its row; a database may be locked for as long as a backup takes."""


@dataclass(kw_only=True)
class _Asked:
    """An utterance on its way, decoded."""

    utterance: Utterance
    clip: Audio
    options: DecodingOptions | None
    parts: Callable[[Transcript], object] | None
    told: bool = False
    """Whether its caller has seen a part of the answer."""
    is_noted: bool = False
    """Whether the rollout knows of it; it counts once."""

    def tell(self, part: Transcript) -> None:
        """Show its caller a part."""
        self.told = True
        if self.parts is not None:
            self.parts(part)

    def said(self, transcript: Transcript | None) -> Said:
        """For the log of trials."""
        return Said(transcript=transcript, clip=self.clip, speaker=self.utterance.speaker)


class Service:
    """What a server process does for its callers; to be used from one event loop."""

    def __init__(self, workspace: Workspace, *, slot: str = PRODUCTION, address: str = "") -> None:
        """`address` is what people know this server by."""
        self.slot = slot
        self._workspace = workspace
        self._rules = workspace.settings.serving
        self._own = workspace.decoding()
        self.engines = Engines(workspace, slot=slot, address=address)
        self._in_flight = 0
        self._usual_s = 0.0
        self._outcomes: Counter[str] = Counter()
        self._not_captured = 0
        self._shadowing: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Return when the live version is loaded and audio can be decoded."""
        self._decoders = Decoders(rules=_decoder_rules(self._rules))
        self._recorder = Recorder(self._workspace.inferences, lost=self._lost)
        self._trials = TrialLog(self._workspace)
        try:
            await self.engines.start()
        except BaseException:
            await self._close()
            raise

    async def stop(self) -> None:
        """Close everything, once all that was heard is kept."""
        for shadowing in list(self._shadowing):
            shadowing.cancel()
        await self.engines.stop()
        await self._close()

    async def _close(self) -> None:
        for one in (self._recorder, self._trials, self._decoders):
            await asyncio.to_thread(one.close)

    @property
    def temperatures(self) -> tuple[float, ...]:
        """Those of the settings."""
        return self._own.temperatures

    def require_room(self) -> None:
        """Raise `OverloadedError` where a request would be one too many."""
        if self._in_flight < self._rules.max_waiting:
            return
        self._outcomes["refused"] += 1
        # Those before it will have been answered by then.
        patience_s = min(_MOST_PATIENCE_S, max(1, math.ceil(self._usual_s)))
        raise OverloadedError(
            f"{self._in_flight} requests wait or are under way. Come back in {patience_s} s.",
            retry_after_s=patience_s,
        )

    async def hear(
        self, utterance: Utterance, *, parts: Callable[[Transcript], object] | None = None
    ) -> Answer:
        """Transcribe, and return when it is kept; `parts` is told what was heard as it comes.

        What goes wrong with keeping it is no reason to keep the answer from whoever waits for it:
        then `capture` says so. Raises `OverloadedError`, `NotReadyError`, and what is wrong with
        the audio or the options.
        """
        self.require_room()
        with self._counted():
            return await self._hear(utterance, parts)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._in_flight += 1
        started = time.perf_counter()
        outcome = "failed"
        try:
            yield
            outcome = "answered"
        except BadInputError:
            outcome = "rejected"
            raise
        except OverloadedError:
            outcome = "refused"
            raise
        except asyncio.CancelledError:
            outcome = "abandoned"
            raise
        finally:
            self._in_flight -= 1
            self._outcomes[outcome] += 1
            self._usual_s += _SMOOTHING * (time.perf_counter() - started - self._usual_s)

    async def _hear(
        self, utterance: Utterance, parts: Callable[[Transcript], object] | None
    ) -> Answer:
        started = time.perf_counter()
        options = self._options(utterance)
        clip = await self._decoders.decode(utterance.data, name=utterance.name)
        trial = None
        if utterance.version_id is None:
            trial = Trial.of(self.engines.rollout, utterance.session)
        asked = _Asked(utterance=utterance, clip=clip, options=options, parts=parts)
        try:
            version_id, heard, trial = await self._answer(asked, trial)
        except (asyncio.CancelledError, OverloadedError):
            # Either way nobody got an answer in time.
            if trial is not None and not asked.is_noted:
                self._trials.add(Noted(trial=trial, answered=asked.said(None), is_abandoned=True))
            raise
        if trial is not None and version_id != trial.version_id:
            trial = None  # another has gone live meanwhile
        # How long its caller waits, from the audio on, not its batch alone.
        transcript = replace(heard, latency_s=time.perf_counter() - started)
        tags = {**utterance.tags, **(trial.tags if trial else {})}
        capture, inference_id = await self._captured(asked, version_id, transcript, tags)
        if trial is not None:
            self._follow_up(asked, trial, transcript, inference_id)
        return Answer(
            transcript=transcript,
            duration_s=clip.duration_s,
            version_id=version_id,
            capture=capture,
            inference_id=inference_id,
        )

    def _options(self, utterance: Utterance) -> DecodingOptions | None:
        """None where they are the engine's own: those are heard together."""
        options = self._workspace.decoding(**utterance.options)
        return None if options == self._own else options

    async def _answer(
        self, asked: _Asked, trial: Trial | None
    ) -> tuple[str, Transcript, Trial | None]:
        """Who answers and what; the trial, where it still has a part in it."""
        if trial is not None and trial.arm is Arm.CANDIDATE:
            try:
                return *await self._transcribed(asked, trial.rollout.version_id), trial
            except NotReadyError:
                trial = None  # it is not loaded here, so its sessions are not counted
            except OverloadedError:
                raise
            except Exception as error:  # noqa: BLE001 - the live version answers instead
                return await self._instead(asked, trial, error)
        try:
            return *await self._transcribed(asked, asked.utterance.version_id), trial
        except BadInputError:
            if trial is not None and trial.rollout.kind is Kind.CANARY:
                self._beside(self._ask_candidate(asked, trial))
            raise
        except (OverloadedError, NotReadyError):
            raise
        except Exception:
            if trial is not None:
                self._note_failure(asked, trial)
            raise

    async def _instead(
        self, asked: _Asked, trial: Trial, error: Exception
    ) -> tuple[str, Transcript, None]:
        """What the live version answers where the candidate has failed."""
        if asked.told:
            self._note_failure(asked, trial)
            raise error  # another's words would not go on from these
        is_refused = isinstance(error, BadInputError)
        if not is_refused:
            _log.error("The candidate %s has failed", trial.rollout.version_id, exc_info=error)
            self._note_failure(asked, trial)
        answer = await self._transcribed(asked, None)
        if is_refused:
            # What the live version has answered was no mistake of its caller's.
            _log.warning("The candidate %s: %s", trial.rollout.version_id, error)
            self._note_failure(asked, trial)
        return *answer, None

    async def _transcribed(self, asked: _Asked, version_id: str | None) -> tuple[str, Transcript]:
        with self.engines.using(version_id) as serving:
            return serving.version_id, await serving.batcher.transcribe(
                asked.clip, options=asked.options, parts=asked.tell if asked.parts else None
            )

    async def _captured(
        self, asked: _Asked, version_id: str, transcript: Transcript, tags: Mapping[str, str]
    ) -> tuple[Capture, str | None]:
        utterance = asked.utterance
        if not utterance.store:
            return Capture.OFF, None
        heard = Heard(
            data=utterance.data,
            audio=asked.clip,
            transcript=transcript,
            speaker_group=utterance.speaker_group,
            client_id=utterance.client_id,
            speaker=utterance.speaker,
            session=utterance.session,
            source=utterance.name,
            tags=tags,
        )
        try:
            async with asyncio.timeout(_KEPT_WITHIN_S):
                kept = await self._recorder.keep(version_id, heard)
            # Not known any more of a recording that retention has deleted.
            if kept.audio_sha256 not in {asked.clip.sha256, ""}:
                # Feedback on this would be put down to what somebody else said.
                raise BadInputError(f"Its client_id is that of another recording: {kept.id}.")
            if kept.text != transcript.text:
                return Capture.REPEATED, None
            return Capture.KEPT, kept.id
        except TimeoutError:
            _log.warning("A transcript is captured later: the database is busy.")
            return Capture.LATE, None
        except Exception as error:  # noqa: BLE001 - whatever it is, the answer is right
            self._lost(error)
        return Capture.FAILED, None

    def _lost(self, error: Exception) -> None:
        """A transcript will not be kept."""
        self._not_captured += 1
        if isinstance(error, MisheardError):  # of others the recorder has written a trace
            _log.error("A transcript was not captured. %s", error)

    def _note_failure(self, asked: _Asked, trial: Trial) -> None:
        self._follow_up(asked, trial, None, None)

    def _follow_up(
        self, asked: _Asked, trial: Trial, transcript: Transcript | None, inference_id: str | None
    ) -> None:
        """What a rollout wants to know of an answer; its caller does not wait for it."""
        asked.is_noted = True
        noted = Noted(trial=trial, answered=asked.said(transcript), inference_id=inference_id)
        if not trial.is_shadowed:
            self._trials.add(noted)
            return
        self._beside(self._shadow(asked, noted))

    def _beside(self, work: Coroutine[None, None, None]) -> None:
        """Do what nobody waits for."""
        task = asyncio.create_task(work)
        self._shadowing.add(task)
        task.add_done_callback(self._shadowing.discard)

    async def _ask_candidate(self, asked: _Asked, trial: Trial) -> None:
        """Whether what the live version refuses is its mistake: counted as the candidate's are."""
        try:
            with self.engines.using(trial.rollout.version_id) as serving:
                await serving.batcher.transcribe(asked.clip, options=asked.options, background=True)
        except Exception:  # noqa: BLE001 - both refuse it, or there was no time to know
            return
        self._note_failure(asked, trial)

    async def _shadow(self, asked: _Asked, noted: Noted) -> None:
        heard: Transcript | None = None
        try:
            with self.engines.using(noted.trial.rollout.version_id) as serving:
                heard = await serving.batcher.transcribe(
                    asked.clip, options=asked.options, background=True
                )
        except (BadInputError, OverloadedError, NotReadyError):
            return  # there was no time for it, or nothing to compare
        except Exception:  # noqa: BLE001 - nobody waits for it; it counts as failed
            _log.exception("The shadow %s has failed", noted.trial.rollout.version_id)
        self._trials.add(replace(noted, shadow=asked.said(heard)))

    def families(self) -> list[MetricFamily]:
        """What this process alone knows, for Prometheus."""
        return families(
            self.engines.state,
            outcomes=self._outcomes,
            in_flight=self._in_flight,
            not_captured=self._not_captured,
        )


def _decoder_rules(rules: ServingSettings) -> DecoderRules:
    return DecoderRules(
        processes=rules.decoders,
        limits=AudioLimits(max_duration_s=rules.max_duration_s),
        max_decode_s=rules.max_decode_s,
    )
