"""Transcribes for many at once, with what is live, and captures what was heard."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from misheard.audio import Audio, AudioLimits
from misheard.capture.captured import require_id, require_short_tags
from misheard.capture.inferences import Heard
from misheard.deployment import PRODUCTION
from misheard.errors import BadInputError, MisheardError, OverloadedError
from misheard.monitoring.metrics import MetricFamily, Sample
from misheard.serving.decoders import DecoderRules, Decoders
from misheard.serving.engines import Engines
from misheard.serving.recorder import Recorder
from misheard.settings import ServingSettings
from misheard.speech.decoding import DecodingOptions
from misheard.speech.transcriber import Transcript
from misheard.workspace import Workspace

_log = logging.getLogger("misheard.serving")
_OUTCOMES = ("answered", "rejected", "refused", "failed", "abandoned")
"""Rejected is what is wrong with the request, refused what is one too many."""
_SMOOTHING = 0.1
"""Share of the newest request in what one usually takes."""
_MOST_PATIENCE_S = 60


class Capture(StrEnum):
    """What became of a transcript's place in the log."""

    KEPT = "kept"
    OFF = "off"
    """Its caller wanted it so."""
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """Audio that somebody wants to be transcribed, and how.

    Raises `BadInputError` for ids and tags that could not be kept.
    """

    data: bytes = field(repr=False)
    """Encoded, as it came."""
    name: str = "audio"
    """As its sender calls it; it is never opened."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What stands in for options of `[speech]`, see `DecodingOptions`."""
    version_id: str | None = None
    """Who is to hear it; None: what is live."""
    client_id: str | None = None
    speaker: str | None = None
    session: str | None = None
    speaker_group: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    store: bool = True
    """Whether it is captured."""

    def __post_init__(self) -> None:
        for name in ("client_id", "speaker", "session", "speaker_group"):
            if value := getattr(self, name):
                require_id(value, what=f"the {name}")
        require_short_tags(self.tags, what="the tags")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What was heard in an utterance."""

    transcript: Transcript
    duration_s: float
    """Of the audio."""
    version_id: str
    capture: Capture
    inference_id: str | None
    """Under which it is in the log, where it is."""


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

    async def start(self) -> None:
        """Return when the live version is loaded and audio can be decoded."""
        self._decoders = Decoders(rules=_decoder_rules(self._rules))
        self._recorder = Recorder(self._workspace.inferences)
        try:
            await self.engines.start()
        except BaseException:
            await self._close()
            raise

    async def stop(self) -> None:
        """Close everything, once all that was heard is kept."""
        await self.engines.stop()
        await self._close()

    async def _close(self) -> None:
        await asyncio.to_thread(self._recorder.close)
        await asyncio.to_thread(self._decoders.close)

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
        with self.engines.using(utterance.version_id) as serving:
            heard = await serving.batcher.transcribe(clip, options=options, parts=parts)
        # How long its caller waits, not its batch alone.
        transcript = replace(heard, latency_s=time.perf_counter() - started)
        return await self._captured(utterance, clip, serving.version_id, transcript)

    def _options(self, utterance: Utterance) -> DecodingOptions | None:
        """None where they are the engine's own: those are heard together."""
        options = self._workspace.decoding(**utterance.options)
        return None if options == self._own else options

    async def _captured(
        self, utterance: Utterance, clip: Audio, version_id: str, transcript: Transcript
    ) -> Answer:
        capture, inference_id = Capture.OFF, None
        if utterance.store:
            heard = Heard(
                data=utterance.data,
                audio=clip,
                transcript=transcript,
                speaker_group=utterance.speaker_group,
                client_id=utterance.client_id,
                speaker=utterance.speaker,
                session=utterance.session,
                source=utterance.name,
                tags=utterance.tags,
            )
            try:
                inference_id = (await self._recorder.keep(version_id, heard)).id
                capture = Capture.KEPT
            except MisheardError as error:
                capture = Capture.FAILED
                _log.error("A transcript was not captured. %s", error)
            except Exception:  # noqa: BLE001 - the recorder has logged it; the answer is right
                capture = Capture.FAILED
            self._outcomes["not captured"] += capture is Capture.FAILED
        return Answer(
            transcript=transcript,
            duration_s=clip.duration_s,
            version_id=version_id,
            capture=capture,
            inference_id=inference_id,
        )

    def families(self) -> list[MetricFamily]:
        """What this process alone knows, for Prometheus."""
        state = self.engines.state
        here = {"server": state.id}
        return [
            MetricFamily(
                name="misheard_server_requests_total",
                kind="counter",
                help="Transcriptions that were asked for, by what became of them.",
                samples=tuple(
                    Sample(value=self._outcomes[outcome], labels={**here, "outcome": outcome})
                    for outcome in _OUTCOMES
                ),
            ),
            MetricFamily(
                name="misheard_server_not_captured_total",
                kind="counter",
                help="Transcripts that were answered and could not be kept.",
                samples=(Sample(value=self._outcomes["not captured"], labels=here),),
            ),
            MetricFamily(
                name="misheard_server_in_flight",
                kind="gauge",
                help="Transcriptions that wait or are under way.",
                samples=(Sample(value=self._in_flight, labels=here),),
            ),
            MetricFamily(
                name="misheard_server_loaded",
                kind="gauge",
                help="Versions that are loaded; 1 for what answers.",
                samples=tuple(
                    Sample(
                        value=version_id == state.version_id,
                        labels={**here, "version": version_id},
                    )
                    for version_id in state.loaded
                ),
            ),
        ]


def _decoder_rules(rules: ServingSettings) -> DecoderRules:
    return DecoderRules(
        processes=rules.decoders,
        limits=AudioLimits(max_duration_s=rules.max_duration_s),
        max_decode_s=rules.max_decode_s,
    )
