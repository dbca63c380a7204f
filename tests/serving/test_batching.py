from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from misheard import audio
from misheard.audio import SAMPLE_RATE_HZ, Audio
from misheard.errors import (
    EngineClosedError,
    InvalidSettingError,
    InvalidTranscriptError,
    OverloadedError,
)
from misheard.serving.batching import Batcher, BatchingRules
from misheard.serving.spare import SpareTime
from misheard.speech.convert import to_ctranslate2
from misheard.speech.decoding import DETECT, DecodingOptions
from misheard.speech.long_audio import Stretch
from misheard.speech.transcriber import FunctionTranscriber, Progress, Transcript, no_progress
from misheard.speech.transformers import TransformersTranscriber
from misheard.speech.whisper import WhisperTranscriber
from tests.serving.letters import PATIENCE_S
from tests.tiny_speech import ctc_model, multilingual_whisper

PIECE_S = 30.0
MOMENT_MS = 3_000.0
"""In which several are asked, however busy it is."""
ENGINES_OWN_S = 9_000.0
"""What the engine says of its latency, which is nobody's."""


def clip(name: int, duration_s: float = 1.0) -> Audio:
    """Its first sample is its name."""
    samples = np.zeros(max(1, round(duration_s * SAMPLE_RATE_HZ)), np.float32)
    samples[0] = name
    return Audio(samples=samples, sha256=str(name))


class Namer:
    """Hears the name of a clip, in stretches of 30 s, and writes its batches down.

    It waits for `gate` before each batch, and fails where a bad clip is in it.
    """

    name = "namer"

    def __init__(self, *, workers: int = 1, bad: Sequence[int] = ()) -> None:
        self.workers = workers
        self.options = DecodingOptions()
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self._bad = set(bad)

    def window(self, duration_s: float) -> int:
        return int(duration_s // 10)

    def stretches(self, clip: Audio) -> list[Stretch]:
        size = round(PIECE_S * SAMPLE_RATE_HZ)
        starts = range(0, len(clip.samples), size)
        parts = [clip.samples[start : start + size].copy() for start in starts]
        for part in parts[1:]:
            part[0] = clip.samples[0]
        return [
            Stretch(samples=part, at=(start,)) for part, start in zip(parts, starts, strict=True)
        ]

    def hear(self, stretches: Sequence[Stretch], *, options: DecodingOptions) -> list[Transcript]:
        names = [int(one.samples[0]) for one in stretches]
        self.batches.append(names)
        assert self.gate.wait(PATIENCE_S)
        if self._bad & set(names):
            raise ValueError(f"{sorted(self._bad & set(names))} in {names}")
        return [
            Transcript(
                text=f"{name} at {one.on_clip_s(0.0):g}",
                latency_s=ENGINES_OWN_S,
                compute_s=1.0,
            )
            for name, one in zip(names, stretches, strict=True)
        ]

    def transcribe(
        self,
        clips: Sequence[Audio],
        *,
        progress: Progress = no_progress,
        options: DecodingOptions | None = None,
    ) -> list[Transcript]:
        raise AssertionError("its batches are gathered outside")


def run(
    engine: Any,
    body: Callable[[Batcher], Coroutine[Any, Any, Any]],
    spare: SpareTime | None = None,
    **rules: float,
) -> Any:
    """Run a test on an event loop, for a bounded time."""
    batcher = Batcher(engine, rules=BatchingRules(**rules), spare=spare)  # type: ignore[arg-type]

    async def bounded() -> Any:
        async with asyncio.timeout(PATIENCE_S):
            return await body(batcher)

    try:
        return asyncio.run(bounded())
    finally:
        batcher.close()


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def together(*waited: Awaitable[Any]) -> Any:
    return asyncio.gather(*waited, return_exceptions=True)


def texts(answers: Sequence[Transcript]) -> list[str]:
    return [answer.text for answer in answers]


def test_what_waits_while_the_engine_is_busy_is_heard_together() -> None:
    engine = Namer()
    engine.gate.clear()

    async def body(batcher: Batcher) -> None:
        first = asyncio.create_task(batcher.transcribe(clip(0)))
        await until(lambda: engine.batches)
        others = [asyncio.create_task(batcher.transcribe(clip(i))) for i in range(1, 6)]
        await until(lambda: batcher.held == 6)
        engine.gate.set()
        assert texts(await together(first, *others)) == [f"{i} at 0" for i in range(6)]
        assert batcher.held == 0

    run(engine, body)
    assert engine.batches == [[0], [1, 2, 3, 4, 5]]


def test_an_idle_engine_waits_a_moment_for_company() -> None:
    engine = Namer()

    async def body(batcher: Batcher) -> None:
        await together(*[batcher.transcribe(clip(i)) for i in range(3)])

    run(engine, body, max_wait_ms=MOMENT_MS)
    assert engine.batches == [[0, 1, 2]]


def test_latency_is_what_the_caller_waited() -> None:
    engine = Namer()
    engine.gate.clear()

    async def body(batcher: Batcher) -> Transcript:
        asked = asyncio.create_task(batcher.transcribe(clip(0)))
        await until(lambda: engine.batches)
        await asyncio.sleep(0.1)
        engine.gate.set()
        return await asked

    answer = run(engine, body)
    assert 0.1 <= answer.latency_s < ENGINES_OWN_S
    assert answer.compute_s == 1.0


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.sampled_from([0.5, 1.0, 15.0, 65.0]), min_size=1, max_size=25),
    st.integers(1, 3),
    st.integers(1, 5),
    st.randoms(use_true_random=False),
)
def test_everyone_gets_the_answer_to_their_own_clip_once(
    lengths_s: list[float], workers: int, max_batch: int, drawn: random.Random
) -> None:
    engine = Namer(workers=workers)

    async def ask(batcher: Batcher, name: int, duration_s: float) -> tuple[str, list[str]]:
        parts: list[str] = []
        await asyncio.sleep(drawn.random() / 500)
        answer = await batcher.transcribe(
            clip(name, duration_s), parts=lambda part: parts.append(part.text)
        )
        return answer.text, parts

    async def body(batcher: Batcher) -> list[tuple[str, list[str]]]:
        asked = [ask(batcher, name, each) for name, each in enumerate(lengths_s)]
        return list(await asyncio.gather(*asked))

    answers = run(engine, body, max_batch=max_batch, max_wait_ms=1.0)
    for name, (text, parts) in enumerate(answers):
        starts = np.arange(0.0, lengths_s[name], PIECE_S)
        assert parts == [f"{name} at {start:g}" for start in starts]
        assert text == " ".join(parts)
    heard = [name for batch in engine.batches for name in batch]
    assert len(heard) == sum(len(parts) for _, parts in answers)
    assert max(map(len, engine.batches)) <= max_batch


def test_short_clips_do_not_wait_for_long_files_which_take_turns() -> None:
    engine = Namer()
    engine.gate.clear()

    async def body(batcher: Batcher) -> None:
        long = [asyncio.create_task(batcher.transcribe(clip(100, 120.0)))]
        await until(lambda: engine.batches)
        long += [asyncio.create_task(batcher.transcribe(clip(200, 120.0)))]
        short = [asyncio.create_task(batcher.transcribe(clip(i))) for i in range(3)]
        await until(lambda: len(list(batcher._waiting)) == 3 + 4 + 3)
        engine.gate.set()
        await asyncio.gather(*short)
        assert not any(task.done() for task in long)
        await asyncio.gather(*long)

    run(engine, body)
    assert engine.batches[:2] == [[100], [0, 1, 2]]
    assert engine.batches[2:] == [[100], [200], [100], [200], [100], [200], [200]]


def test_a_long_file_gets_its_share_beside_short_clips_that_never_end() -> None:
    engine = Namer()

    async def body(batcher: Batcher) -> None:
        long = asyncio.create_task(batcher.transcribe(clip(100, 90.0)))

        async def client(name: int) -> None:
            while not long.done():
                await batcher.transcribe(clip(name, 9.0))

        await asyncio.gather(*[client(name) for name in range(8)])

    run(engine, body)
    assert sum(batch == [100] for batch in engine.batches) == 3


class CutsOneByOne(Namer):
    """Waits for `go` before it cuts a long clip, and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.cut = 0

    def stretches(self, clip: Audio) -> list[Stretch]:
        if clip.duration_s > PIECE_S:
            self.cut += 1
            assert self.go.wait(PATIENCE_S)
        return super().stretches(clip)


def test_others_are_heard_while_a_long_clip_is_cut() -> None:
    engine = CutsOneByOne()

    async def body(batcher: Batcher) -> None:
        long = asyncio.create_task(batcher.transcribe(clip(100, 31.0)))
        await until(lambda: engine.cut)
        assert (await batcher.transcribe(clip(1))).text == "1 at 0"
        engine.go.set()
        assert (await long).text == "100 at 0 100 at 30"

    run(engine, body)


def test_more_than_may_wait_is_told_to_come_back() -> None:
    engine = Namer()
    engine.gate.clear()

    async def body(batcher: Batcher) -> None:
        taken = [asyncio.create_task(batcher.transcribe(clip(i))) for i in range(3)]
        await until(lambda: batcher.held == 3)
        with pytest.raises(OverloadedError, match="3 clips of 3 s") as refused:
            await batcher.transcribe(clip(9))
        assert refused.value.retry_after_s >= 1.0
        engine.gate.set()
        await asyncio.gather(*taken)
        await batcher.transcribe(clip(9))

    run(engine, body, max_waiting=3)
    assert 9 in engine.batches[-1]


def test_no_more_audio_waits_than_memory_is_given_but_one_clip_may_be_longer() -> None:
    engine = Namer()
    engine.gate.clear()

    async def body(batcher: Batcher) -> None:
        taken = asyncio.create_task(batcher.transcribe(clip(0, 25.0)))
        await until(lambda: batcher.held)
        with pytest.raises(OverloadedError):
            await batcher.transcribe(clip(1, 6.0))
        engine.gate.set()
        await asyncio.gather(taken, batcher.transcribe(clip(2, 5.0)))
        await batcher.transcribe(clip(3, 40.0))

    run(engine, body, max_waiting_audio_s=30.0)


def test_how_soon_to_come_back_grows_with_what_waits() -> None:
    class Slow(Namer):
        def hear(
            self, stretches: Sequence[Stretch], *, options: DecodingOptions
        ) -> list[Transcript]:
            time.sleep(0.05)  # for 0.1 s of audio
            return super().hear(stretches, options=options)

    engine = Slow()

    async def body(batcher: Batcher) -> float:
        await batcher.transcribe(clip(0, 0.1))
        engine.gate.clear()
        taken = asyncio.create_task(batcher.transcribe(clip(1, 20.0)))
        await until(lambda: batcher.held)
        with pytest.raises(OverloadedError) as refused:
            await batcher.transcribe(clip(2))
        engine.gate.set()
        await taken
        return refused.value.retry_after_s

    assert run(engine, body, max_waiting=1) > 9.0


def test_what_nobody_waits_for_is_heard_last_and_refused_soon() -> None:
    engine = Namer()
    engine.gate.clear()

    async def body(batcher: Batcher) -> None:
        first = asyncio.create_task(batcher.transcribe(clip(0)))
        await until(lambda: engine.batches)
        shadows = [
            asyncio.create_task(batcher.transcribe(clip(i, 9.0 + i), background=True))
            for i in (90, 91)
        ]
        await until(lambda: batcher.held == 3)
        with pytest.raises(OverloadedError):
            await batcher.transcribe(clip(92), background=True)
        later = asyncio.create_task(batcher.transcribe(clip(1)))
        await until(lambda: batcher.held == 4)
        engine.gate.set()
        await asyncio.gather(first, later, *shadows)

    run(engine, body, max_background=2)
    assert [batch[0] for batch in engine.batches[:2]] == [0, 1]
    assert sorted({name for batch in engine.batches[2:] for name in batch}) == [90, 91]


def test_what_nobody_waits_for_gives_way_to_the_callers_of_other_engines() -> None:
    live, candidate = Namer(workers=2), Namer(workers=2)
    live.gate.clear()
    spare = SpareTime()
    other = Batcher(candidate, rules=BatchingRules(), spare=spare)

    async def body(batcher: Batcher) -> None:
        # Two lengths that share no batch, so that each thread has one.
        asked = [asyncio.create_task(batcher.transcribe(clip(i, 11.0 * i))) for i in (1, 2)]
        await until(lambda: len(live.batches) == 2)
        shadow = asyncio.create_task(other.transcribe(clip(9), background=True))
        heard = await other.transcribe(clip(8))
        assert heard.text == "8 at 0"  # whoever waits for it goes on
        await asyncio.sleep(0.05)
        assert candidate.batches == [[8]]
        asked.append(asyncio.create_task(batcher.transcribe(clip(3))))
        live.gate.set()
        assert (await shadow).text == "9 at 0"
        await asyncio.gather(*asked)

    try:
        run(live, body, spare=spare)
    finally:
        other.close()
    assert candidate.batches == [[8], [9]]


def test_it_goes_on_when_a_caller_gives_up_or_an_engine_is_closed() -> None:
    live, candidate = Namer(), Namer()
    spare = SpareTime()
    other = Batcher(candidate, rules=BatchingRules(), spare=spare)

    async def body(batcher: Batcher) -> None:
        # It waits so long for company that somebody waits all the time.
        asked = asyncio.create_task(batcher.transcribe(clip(1)))
        await until(lambda: batcher.is_pressed)
        shadow = asyncio.create_task(other.transcribe(clip(8), background=True))
        await asyncio.sleep(0.05)
        assert candidate.batches == []
        asked.cancel()
        assert (await shadow).text == "8 at 0"
        asked = asyncio.create_task(batcher.transcribe(clip(2)))
        await until(lambda: batcher.is_pressed)
        shadow = asyncio.create_task(other.transcribe(clip(9), background=True))
        await asyncio.sleep(0.05)
        assert candidate.batches == [[8]]
        await asyncio.to_thread(batcher.close)
        assert (await shadow).text == "9 at 0"
        with pytest.raises(EngineClosedError):
            await asked

    try:
        run(live, body, spare=spare, max_wait_ms=60_000.0)
    finally:
        other.close()


def test_one_thread_stays_free_of_what_nobody_waits_for() -> None:
    engine = Namer(workers=2)
    engine.gate.clear()

    async def body(batcher: Batcher) -> None:
        shadows = [
            asyncio.create_task(batcher.transcribe(clip(i, 25.0), background=True)) for i in (8, 9)
        ]
        await until(lambda: engine.batches)
        await asyncio.sleep(0.05)
        assert engine.batches == [[8]]
        live = asyncio.create_task(batcher.transcribe(clip(1)))
        await until(lambda: len(engine.batches) == 2)
        engine.gate.set()
        await asyncio.gather(live, *shadows)

    run(engine, body)
    assert engine.batches == [[8], [1], [9]]


def test_a_bad_clip_does_not_fail_its_neighbours() -> None:
    engine = Namer(bad=[2])

    async def body(batcher: Batcher) -> list[Any]:
        return list(await together(*[batcher.transcribe(clip(i)) for i in range(4)]))

    answers = run(engine, body, max_wait_ms=MOMENT_MS)
    assert [getattr(answer, "text", None) for answer in answers] == [
        "0 at 0",
        "1 at 0",
        None,
        "3 at 0",
    ]
    assert str(answers[2]) == "[2] in [2]"
    assert engine.batches == [[0, 1, 2, 3], [0], [1], [2], [3]]


def test_a_bad_piece_fails_the_whole_of_its_file_and_no_more_of_it_is_heard() -> None:
    engine = Namer(bad=[100])

    async def body(batcher: Batcher) -> None:
        with pytest.raises(ValueError, match="100"):
            await batcher.transcribe(clip(100, 300.0))
        assert (await batcher.transcribe(clip(1))).text == "1 at 0"

    run(engine, body)
    assert engine.batches == [[100], [1]]


def test_whoever_has_gone_is_not_heard() -> None:
    engine = Namer()
    engine.gate.clear()

    async def body(batcher: Batcher) -> None:
        under_way = asyncio.create_task(batcher.transcribe(clip(0, 90.0)))
        await until(lambda: engine.batches)
        waits = asyncio.create_task(batcher.transcribe(clip(1)))
        await until(lambda: batcher.held == 2)
        under_way.cancel()
        waits.cancel()
        cancelled = await together(under_way, waits)
        assert [type(one) for one in cancelled] == [asyncio.CancelledError] * 2
        assert batcher.held == 0
        engine.gate.set()
        assert (await batcher.transcribe(clip(2))).text == "2 at 0"

    run(engine, body)
    assert engine.batches == [[0], [2]]


def test_closing_ends_what_is_under_way_and_refuses_what_waits() -> None:
    engine = Namer()
    engine.gate.clear()

    async def body(batcher: Batcher) -> None:
        under_way = asyncio.create_task(batcher.transcribe(clip(0)))
        await until(lambda: engine.batches)
        waits = asyncio.create_task(batcher.transcribe(clip(1)))
        long = asyncio.create_task(batcher.transcribe(clip(2, 90.0)))
        await until(lambda: batcher.held == 3)
        closing = asyncio.create_task(asyncio.to_thread(batcher.close))
        refused = await together(waits, long)
        assert [type(one) for one in refused] == [EngineClosedError] * 2
        assert not under_way.done()
        assert not closing.done()
        engine.gate.set()
        assert (await under_way).text == "0 at 0"
        await closing
        with pytest.raises(EngineClosedError):
            await batcher.transcribe(clip(3))
        assert batcher.held == 0

    run(engine, body)
    assert engine.batches == [[0]]


def test_closing_does_not_wait_for_long_clips_that_are_not_cut_yet() -> None:
    engine = CutsOneByOne()

    async def body(batcher: Batcher) -> None:
        long = [asyncio.create_task(batcher.transcribe(clip(i, 31.0))) for i in range(5)]
        await until(lambda: engine.cut)
        closing = asyncio.create_task(asyncio.to_thread(batcher.close))
        await until(lambda: batcher._is_closed)
        engine.go.set()
        await closing
        assert {type(one) for one in await together(*long)} == {EngineClosedError}

    run(engine, body)
    assert engine.cut == 1
    assert engine.batches == []


def test_closing_on_the_loop_itself_still_answers_what_was_under_way() -> None:
    engine = Namer()

    async def body(batcher: Batcher) -> None:
        under_way = asyncio.create_task(batcher.transcribe(clip(0)))
        await until(lambda: engine.batches)
        batcher.close()
        assert (await under_way).text == "0 at 0"

    run(engine, body)


def test_an_error_of_the_callers_own_callback_is_the_callers() -> None:
    def broken(_: Transcript) -> None:
        raise KeyError("nobody listens")

    async def body(batcher: Batcher) -> None:
        with pytest.raises(KeyError, match="nobody listens"):
            await batcher.transcribe(clip(0, 90.0), parts=broken)
        assert (await batcher.transcribe(clip(1))).text == "1 at 0"

    run(Namer(), body)


def test_a_plain_function_hears_each_clip_whole() -> None:
    engine = FunctionTranscriber(lambda samples: f"{len(samples)} samples")

    async def body(batcher: Batcher) -> list[Any]:
        return list(
            await together(
                batcher.transcribe(clip(0, 1.0)),
                batcher.transcribe(clip(1, 90.0)),
                batcher.transcribe(clip(2), options=DecodingOptions()),
            )
        )

    one, long, asked = run(engine, body)
    assert texts([one, long]) == ["16000 samples", "1440000 samples"]
    assert isinstance(asked, InvalidSettingError)


def test_an_engine_that_loses_a_clip_gives_nobody_the_answer_of_another() -> None:
    class Loser(FunctionTranscriber):
        def transcribe(
            self,
            clips: Sequence[Audio],
            *,
            progress: Progress = no_progress,
            options: DecodingOptions | None = None,
        ) -> list[Transcript]:
            kept = [one for one in clips if one.samples[0] != 1.0]
            return super().transcribe(kept, progress=progress, options=options)

    async def body(batcher: Batcher) -> list[Any]:
        return list(await together(*[batcher.transcribe(clip(i)) for i in range(3)]))

    answers = run(Loser(lambda samples: f"{samples[0]:g}"), body, max_wait_ms=MOMENT_MS)
    assert [getattr(answer, "text", type(answer)) for answer in answers] == [
        "0",
        InvalidTranscriptError,
        "2",
    ]


def noise(duration_s: float, seed: int) -> Audio:
    samples = np.random.default_rng(seed).normal(0, 0.1, round(duration_s * SAMPLE_RATE_HZ))
    return Audio(samples=samples.astype(np.float32), sha256=str(seed))


def same(one: Transcript, other: Transcript) -> bool:
    return (one.text, one.language, one.words, one.segments) == (
        other.text,
        other.language,
        other.words,
        other.segments,
    )


@pytest.fixture(scope="module")
def multilingual(tmp_path_factory: pytest.TempPathFactory) -> WhisperTranscriber:
    folder = tmp_path_factory.mktemp("multilingual")
    made = multilingual_whisper(folder / "made", ["please enter the extension"])
    to_ctranslate2(made, folder / "served")
    return WhisperTranscriber(folder / "served", options=DecodingOptions(max_tokens=20), threads=2)


@pytest.mark.model
def test_a_clip_is_heard_as_the_engine_hears_it_alone(
    multilingual: WhisperTranscriber, phone_prompts: list
) -> None:
    """Short, long and silent ones, with words, of a language that is found out."""
    prompt = next(one for one in phone_prompts if one.id == "demo-echotest")
    spoken = audio.decode(prompt.data)
    long = Audio(samples=np.tile(spoken.samples, 3), sha256="long")
    silent = Audio(samples=np.zeros(31 * SAMPLE_RATE_HZ, np.float32), sha256="silent")
    clips = [spoken, long, silent, *[noise(length, 1) for length in (0.3, 2.0, 2.1, 9.0)]]
    options = DecodingOptions(language=DETECT, word_timestamps=True, max_tokens=20)

    async def body(batcher: Batcher) -> list[Transcript]:
        asked = [batcher.transcribe(one, options=options) for one in clips]
        return list(await asyncio.gather(*asked))

    answers = run(multilingual, body)
    alone = [multilingual.transcribe([one], options=options)[0] for one in clips]
    assert len(multilingual.stretches(long)) > 1
    assert [same(one, other) for one, other in zip(answers, alone, strict=True)] == [True] * 7
    assert answers[1].words


def test_other_kinds_of_models_are_batched_too(tmp_path: Path) -> None:
    engine = TransformersTranscriber(ctc_model(tmp_path / "ctc", feat_extract_norm="layer"))
    clips = [noise(length, seed) for seed, length in enumerate((0.5, 1.0, 2.0, 0.7))]

    async def body(batcher: Batcher) -> list[Transcript]:
        return list(await asyncio.gather(*[batcher.transcribe(one) for one in clips]))

    assert texts(run(engine, body)) == texts(engine.transcribe(clips))
