"""Joins clips that wait at the same time into batches for one loaded engine."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import count

from misheard.audio import Audio
from misheard.errors import EngineClosedError, InvalidTranscriptError, OverloadedError
from misheard.serving.spare import SpareTime
from misheard.serving.waiting import BatchingRules, Lane, Piece, Waiting
from misheard.speech.batched import BatchTranscriber
from misheard.speech.decoding import DETECT, DecodingOptions
from misheard.speech.joining import joined
from misheard.speech.long_audio import WINDOW_S, Stretch
from misheard.speech.transcriber import Transcriber, Transcript

__all__ = ["Batcher", "BatchingRules"]

_SMOOTHING = 0.1
_LEAST_RETRY_S = 1.0


@dataclass(kw_only=True, eq=False)
class _Request:
    """A clip that somebody waits for."""

    number: int
    clip: Audio
    is_background: bool
    parts: Callable[[Transcript], object] | None
    arrived_s: float
    answer: asyncio.Future[Transcript]
    heard: list[Transcript | None]
    """Of each piece, where it is there already."""
    told: int = 0
    """Pieces that `parts` was called for."""
    later: tuple[Piece, ...] = ()
    """Pieces that wait to be told which language is spoken."""


class Batcher:
    """Hears the clips of many callers with one engine, together where that is quicker.

    Clips that are heard in the same window with the same options share a batch. Pieces of clips
    over 30 s wait apart, so that they hold up short ones for about one batch. A clip's transcript
    is what the engine makes of it alone. For the tasks of one event loop, which it never blocks.
    """

    def __init__(
        self, engine: Transcriber, *, rules: BatchingRules, spare: SpareTime | None = None
    ) -> None:
        """Take `engine`, which is loaded; its threads are made once, as many as it can use.

        `spare` is shared with others whose callers come before what nobody waits for here.
        """
        self._engine: Transcriber | None = engine
        self._rules = rules
        self._workers = engine.workers if isinstance(engine, BatchTranscriber) else 1
        self._hearing = ThreadPoolExecutor(self._workers, thread_name_prefix="hearing")
        self._cutting = ThreadPoolExecutor(1, thread_name_prefix="cutting")
        self._waiting = Waiting(rules)
        self._held: dict[int, _Request] = {}
        self._numbers = count()
        self._busy: Counter[Lane] = Counter()
        self._spent_each_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn = threading.Lock()
        self._is_closed = False
        self._spare = spare or SpareTime()
        self._spare.join(self)

    @property
    def is_pressed(self) -> bool:
        """Whether somebody waits for a batch to begin, or none could."""
        return self._waiting.is_urgent or self._busy.total() >= self._workers

    @property
    def held(self) -> int:
        """Clips that wait or are under way."""
        return len(self._held)

    async def transcribe(
        self,
        clip: Audio,
        *,
        options: DecodingOptions | None = None,
        background: bool = False,
        parts: Callable[[Transcript], object] | None = None,
    ) -> Transcript:
        """What the engine hears in `clip`; `options` stand in for its own.

        `background`: nobody waits for it, so it is heard when there is nothing else. `parts` is
        called with the transcript of each piece, in order, once all before it are there. The
        transcript's `latency_s` is the time from this call to its answer.

        Raises `OverloadedError` where too much waits already, `EngineClosedError` after `close`,
        and what the engine raises for this clip.
        """
        self._loop = asyncio.get_running_loop()
        self._admit(clip, is_background=background)
        request = _Request(
            number=next(self._numbers),
            clip=clip,
            is_background=background,
            parts=parts,
            arrived_s=time.perf_counter(),
            answer=self._loop.create_future(),
            heard=[],
        )
        self._held[request.number] = request
        try:
            await self._enter(request, options)
            return await request.answer
        finally:
            del self._held[request.number]
            self._waiting.drop(request.number)
            self._spare.look_again(self)

    def close(self) -> None:
        """What waits is refused, and what is under way ends before this returns.

        May be called from any thread.
        """
        with self._turn:
            self._is_closed = True
        self._spare.leave(self)
        self._on_loop(self.go_on)
        self._hearing.shutdown()
        self._cutting.shutdown()
        self._engine = None

    def _admit(self, clip: Audio, *, is_background: bool) -> None:
        if self._is_closed:
            raise EngineClosedError
        held = self._held.values()
        held_s = sum(request.clip.duration_s for request in held)
        if is_background:
            most = self._rules.max_background
            is_full = sum(request.is_background for request in held) >= most
        else:
            is_full = len(held) >= self._rules.max_waiting
        too_long = held_s + clip.duration_s > self._rules.max_waiting_audio_s
        if is_full or (held and too_long):
            # How long what is held will take, as the last batches went.
            free_in_s = held_s * self._spent_each_s / self._workers
            raise OverloadedError(
                f"{len(held)} clips of {held_s:.0f} s wait or are under way.",
                retry_after_s=max(_LEAST_RETRY_S, free_in_s),
            )

    async def _enter(self, request: _Request, options: DecodingOptions | None) -> None:
        """Let its pieces wait for a batch."""
        engine = self._engine
        if isinstance(engine, BatchTranscriber):
            options = options or engine.options
            stretches = await self._stretches(engine, request.clip)
            windows = [engine.window(stretch.duration_s) for stretch in stretches]
        else:
            stretches, windows = [Stretch(samples=request.clip.samples)], [0]
        request.heard = [None] * len(stretches)
        lane = Lane.LONG if len(stretches) > 1 else Lane.SHORT
        pieces = [
            Piece(
                owner=request.number,
                number=number,
                stretch=stretch,
                options=options,
                window=window,
                lane=Lane.BACKGROUND if request.is_background else lane,
                arrived_s=request.arrived_s,
            )
            for number, (stretch, window) in enumerate(zip(stretches, windows, strict=True))
        ]
        if options and options.language == DETECT and len(pieces) > 1:
            # The longest piece speaks for all of them.
            first = max(pieces, key=lambda piece: (piece.duration_s, piece.number))
            request.later = tuple(piece for piece in pieces if piece is not first)
            pieces = [first]
        self._waiting.add(pieces)
        self._tell(request)
        self.go_on()

    async def _stretches(self, engine: BatchTranscriber, clip: Audio) -> list[Stretch]:
        """Looking for speech in a long clip takes time, which the others do not wait for."""
        if clip.duration_s <= WINDOW_S:
            return engine.stretches(clip)
        with self._turn:
            if self._is_closed:
                raise EngineClosedError
            cutting = self._cutting.submit(self._cut, engine, clip)
        return await asyncio.wrap_future(cutting)

    def _cut(self, engine: BatchTranscriber, clip: Audio) -> list[Stretch]:
        if self._is_closed:  # while it waited for its turn
            raise EngineClosedError
        return engine.stretches(clip)

    def go_on(self) -> None:
        """Begin the batches that are ripe, and look again when the next one is."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while not self._is_closed and (idle := self._workers - self._busy.total()) > 0:
            ripe_in_s = self._waiting.ripe_in_s(time.perf_counter())
            if ripe_in_s is None:
                return
            if ripe_in_s > 0 and self._loop is not None:
                self._timer = self._loop.call_later(ripe_in_s, self.go_on)
                return
            is_free = not self._busy[Lane.BACKGROUND] and self._spare.is_there_for(self)
            batch = self._waiting.take(idle=idle, is_background_allowed=is_free)
            if not batch:
                return
            self._begin(batch)
        if self._is_closed:
            for piece in list(self._waiting):
                self._fail(piece.owner, EngineClosedError())

    def _begin(self, batch: Sequence[Piece]) -> None:
        clips = [self._held[piece.owner].clip for piece in batch]
        started_s = time.perf_counter()
        with self._turn:
            if self._is_closed or self._engine is None:
                self._waiting.put_back(batch)  # to be refused with the others
                return
            hearing = self._hearing.submit(_hear, self._engine, batch, clips)
        self._busy[batch[0].lane] += 1
        hearing.add_done_callback(partial(self._on_loop, self._ended, batch, started_s))

    def _ended(
        self, batch: Sequence[Piece], started_s: float, hearing: Future[list[Transcript]]
    ) -> None:
        """Hand out what was heard; those of a batch that failed are tried once more, each alone."""
        self._busy[batch[0].lane] -= 1
        audio_s = sum(piece.duration_s for piece in batch)
        each_s = (time.perf_counter() - started_s) / max(audio_s, 1e-3)
        weight = _SMOOTHING if self._spent_each_s else 1.0
        self._spent_each_s += weight * (each_s - self._spent_each_s)
        error = hearing.exception()
        if error is None:
            for piece, transcript in zip(batch, hearing.result(), strict=True):
                self._heard(piece, transcript)
        elif len(batch) > 1:
            self._waiting.put_back([piece for piece in batch if piece.owner in self._held])
        else:
            self._fail(batch[0].owner, error)
        self.go_on()
        self._spare.look_again(self)

    def _heard(self, piece: Piece, transcript: Transcript) -> None:
        """A piece was heard; whoever asked for it may have gone."""
        request = self._held.get(piece.owner)
        if request is None or request.answer.done():
            return
        request.heard[piece.number] = transcript
        if request.later:
            self._waiting.add([_spoken(one, transcript.language) for one in request.later])
            request.later = ()
        self._tell(request)

    def _tell(self, request: _Request) -> None:
        """Tell the parts that are there, in order, and the whole once all of them are."""
        try:
            while request.told < len(request.heard):
                part = request.heard[request.told]
                if part is None:
                    return
                request.told += 1
                if request.parts is not None:
                    request.parts(part)
        except Exception as error:  # noqa: BLE001 - the caller's own, handed back to it
            self._fail(request.number, error)
            return
        whole = joined([part for part in request.heard if part is not None])
        latency_s = time.perf_counter() - request.arrived_s
        request.answer.set_result(replace(whole, latency_s=latency_s))

    def _fail(self, owner: int, error: BaseException) -> None:
        self._waiting.drop(owner)
        request = self._held.get(owner)
        if request is not None and not request.answer.done():
            if isinstance(error, StopIteration):  # which no future takes
                error = RuntimeError(repr(error))
            request.answer.set_exception(error)

    def _on_loop(self, call: Callable[..., object], *given: object) -> None:
        """Call on the event loop, if it still runs: else nobody waits any more."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(call, *given)


def _hear(engine: Transcriber, batch: Sequence[Piece], clips: Sequence[Audio]) -> list[Transcript]:
    """Hear a batch, on a thread of its own."""
    options = batch[0].options
    if isinstance(engine, BatchTranscriber) and options is not None:
        made = engine.hear([piece.stretch for piece in batch], options=options)
    else:
        made = engine.transcribe(clips, options=options)
    if len(made) != len(batch):
        raise InvalidTranscriptError(
            f"'{engine.name}' made {len(made)} transcripts of {len(batch)} clips."
        )
    return made


def _spoken(piece: Piece, language: str | None) -> Piece:
    """The same, in a language that is known; None where its engine tells none."""
    if language is None or piece.options is None:
        return piece
    return replace(piece, options=replace(piece.options, language=language))
