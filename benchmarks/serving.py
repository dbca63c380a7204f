"""Many clients at once: clips joined into batches, beside a server that hears one at a time.

    python -m benchmarks.serving                # trains first: about 15 minutes on 2 cores
    python -m benchmarks.serving --model DIR    # a fine-tune that is there already
    python -m benchmarks.serving --device cuda --compute-type float16 --requests 2000

Sixteen clients each send a clip as soon as their last one is answered: clips of up to 30 s from the
test split of the phone prompts, drawn at random, the same ones in each arm of a round. The arms
have the same fine-tune of tiny.en and the same settings, and take turns, several rounds after one
that does not count; medians.

- One at a time: `transcribe` of one clip after the other, first come, first served. Twice: as the
  engine is opened, which gives a small model a thread a batch, and with all threads on one clip.
  The faster of the two is what batching is measured against.
- One at a time, in 30 s: the same weights without the window that they have learnt, all threads on
  one clip, as a server that knows nothing of it would; an eighth of the requests.
- Batched: `serving.batching`, as the server has it.
- Batched, beside a long file: a seventeenth client sends a recording of five minutes, again and
  again. Its requests do not count; what the others wait does.

`cpu_ms` is the processor's time for a request, over all threads: other programs beside the
benchmark disturb it less than the wall time.

Then `benchmarks.serving_http` does the same with the whole service: decoding, batches and capture,
in this process and over HTTP.

The last line is JSON: `batching_speedup` (requests a second, batched over the faster way one at a
time), `speedup_vs_30s` (over one at a time in windows of 30 s, as Whisper is usually served),
`http_overhead` (the share of the requests a second that HTTP takes), `p95_ms` (over HTTP),
`requests_s` and `p50_ms` (batched), `p95_beside_long_ms`, `wer` (batched), `different_texts` (of
clips, between batched and one at a time), `arms`, `over_http`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.phone import clips_of, err, prompts_of, scored, train
from benchmarks.transcribe import without_card
from misheard.audio import SAMPLE_RATE_HZ, Audio
from misheard.datasets.split import Split
from misheard.demo.phone_prompts import Prompt
from misheard.finetune.recipe import Recipe
from misheard.serving.batching import Batcher, BatchingRules
from misheard.speech.whisper import WhisperTranscriber
from misheard.workspace import Workspace

CLIENTS, REQUESTS, ROUNDS = 16, 416, 3
LONG_S = 300.0
ALONE, ALONE_WIDE = "one at a time", "one at a time, all threads"
ALONE_30S = "one at a time, in 30 s"
BATCHED, BESIDE_LONG = "batched", "batched, beside a long file"
Ask = Callable[[int], Awaitable[str]]
"""Sends the clip of a number, and comes back with its text."""
_FIGURES = ("requests_s", "p50_ms", "p95_ms", "cpu_ms")


@dataclass(kw_only=True)
class Load:
    """What an arm did with the requests of a round."""

    requests_s: float
    p50_ms: float
    p95_ms: float
    cpu_ms: float
    texts: dict[int, str] = field(repr=False)


async def drive(ask: Ask, numbers: Sequence[int], clients: int) -> Load:
    """Send the clips of `numbers`, each client its next one when the last is answered."""
    waited_s: list[float] = []
    texts: dict[int, str] = {}
    left = iter(numbers)

    async def client() -> None:
        for number in left:
            asked = time.perf_counter()
            texts[number] = await ask(number)
            waited_s.append(time.perf_counter() - asked)

    started, started_cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*[client() for _ in range(clients)])
    spent_s, cpu_s = time.perf_counter() - started, time.process_time() - started_cpu
    p50_s, p95_s = np.percentile(waited_s, [50, 95])
    return Load(
        requests_s=len(numbers) / spent_s,
        p50_ms=1_000 * float(p50_s),
        p95_ms=1_000 * float(p95_s),
        cpu_ms=1_000 * cpu_s / len(numbers),
        texts=texts,
    )


def one_at_a_time(engine: WhisperTranscriber, clips: Sequence[Audio]) -> Ask:
    """Whoever comes waits until all before are answered."""
    turn = asyncio.Lock()

    async def ask(number: int) -> str:
        async with turn:
            (heard,) = await asyncio.to_thread(engine.transcribe, [clips[number]])
        return heard.text

    return ask


def batched(batcher: Batcher, clips: Sequence[Audio]) -> Ask:
    """Whoever waits at the same time is heard together."""

    async def ask(number: int) -> str:
        return (await batcher.transcribe(clips[number])).text

    return ask


def all_threads_on_one(model: Path, device: str, compute_type: str) -> WhisperTranscriber:
    """The engine with one worker that has all the threads, whatever the size of its weights."""
    engine = WhisperTranscriber(model, device=device, compute_type=compute_type)
    engine._windows._model = ctranslate2.models.Whisper(
        str(model),
        device,
        compute_type=compute_type,
        inter_threads=1,
        intra_threads=os.cpu_count() or 1,
    )
    engine._windows.workers = 1
    return engine


@contextmanager
def _going_on(ask: Callable[[], Awaitable[object]]) -> Iterator[None]:
    """One more client, which asks the same again and again."""

    async def client() -> None:
        while True:
            await ask()

    task = asyncio.get_running_loop().create_task(client())
    try:
        yield
    finally:
        task.cancel()


def measure(
    model: Path,
    folder: Path,
    *,
    clients: int,
    requests: int,
    rounds: int,
    most: int | None = None,
    device: str = "cpu",
    compute_type: str = "int8",
) -> dict[str, Any]:
    """All arms in turn; see above."""
    prompts = prompts_of(Split.TEST, most=most)
    clips = clips_of(prompts)
    engine = WhisperTranscriber(model, device=device, compute_type=compute_type)
    wide = all_threads_on_one(model, device, compute_type)
    whole = all_threads_on_one(without_card(model, folder), device, compute_type)
    samples = np.concatenate([clip.samples for clip in clips])[: round(LONG_S * SAMPLE_RATE_HZ)]
    long = Audio(samples=samples, sha256="long")
    found: dict[str, list[Load]] = {}

    async def turns(numbers: Sequence[int]) -> dict[str, Load]:
        batcher = Batcher(engine, rules=BatchingRules())
        together = batched(batcher, clips)
        loads = {
            ALONE: await drive(one_at_a_time(engine, clips), numbers, clients),
            ALONE_WIDE: await drive(one_at_a_time(wide, clips), numbers, clients),
            ALONE_30S: await drive(
                one_at_a_time(whole, clips), numbers[: max(1, len(numbers) // 8)], clients
            ),
            BATCHED: await drive(together, numbers, clients),
        }
        with _going_on(partial(batcher.transcribe, long)):
            loads[BESIDE_LONG] = await drive(together, numbers, clients)
        await asyncio.to_thread(batcher.close)
        return loads

    for number in range(rounds + 1):
        draw = random.Random(number)
        loads = asyncio.run(turns(draw.choices(range(len(clips)), k=requests)))
        for name, load in loads.items():
            err.print(f"  round {number} of {rounds}: {name}: {_in_words(load)}")
            found.setdefault(name, [])
            if number:
                found[name].append(load)
    return _figures(found, prompts)


def _in_words(load: Load) -> str:
    return (
        f"{load.requests_s:5.1f} requests a second, median {load.p50_ms:4.0f} ms, "
        f"95 % within {load.p95_ms:4.0f} ms, processor {load.cpu_ms:4.1f} ms each"
    )


def _median(loads: Sequence[Load]) -> Load:
    """The median of each figure; the texts of all."""
    texts: dict[int, str] = {}
    for load in loads:
        texts |= load.texts
    figures = {
        name: round(statistics.median(getattr(load, name) for load in loads), 1)
        for name in _FIGURES
    }
    return Load(**figures, texts=texts)


def _figures(found: dict[str, list[Load]], prompts: Sequence[Prompt]) -> dict[str, Any]:
    """The last line, of the loads of each round by arm."""
    arms = {name: _median(loads) for name, loads in found.items()}
    for name, load in arms.items():
        print(f"{name:>28}: {_in_words(load)}")
    ours, alone = arms[BATCHED], arms[ALONE]
    rounds = zip(found[BATCHED], found[ALONE], found[ALONE_WIDE], strict=True)
    speedups = [one.requests_s / max(each.requests_s for each in others) for one, *others in rounds]
    heard = sorted(ours.texts)
    wer = scored([prompts[number] for number in heard], [ours.texts[number] for number in heard])
    return {
        "batching_speedup": round(statistics.median(speedups), 2),
        "speedup_vs_30s": round(ours.requests_s / arms[ALONE_30S].requests_s, 2),
        "requests_s": ours.requests_s,
        "p50_ms": ours.p50_ms,
        "p95_ms": ours.p95_ms,
        "p95_beside_long_ms": arms[BESIDE_LONG].p95_ms,
        "wer": round(wer.wer, 4),
        "different_texts": sum(ours.texts[number] != alone.texts[number] for number in heard),
        "arms": {
            name: {figure: getattr(load, figure) for figure in _FIGURES}
            for name, load in arms.items()
        },
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="a fine-tuned model; else one is trained")
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--requests", type=int, default=REQUESTS, help="in each arm of a round")
    parser.add_argument("--clips", type=int, help="only so many different ones")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--compute-type", default="int8", help="CTranslate2's")
    given = parser.parse_args()
    from benchmarks import serving_http  # noqa: PLC0415 - it is built on this one

    # As the command line has it.
    with threadpool_limits(1, user_api="blas"), tempfile.TemporaryDirectory() as folder:
        model = given.model or train(Path(folder) / "job", Recipe()).model
        figures = measure(
            model,
            Path(folder),
            clients=given.clients,
            requests=given.requests,
            rounds=given.rounds,
            most=given.clips,
            device=given.device,
            compute_type=given.compute_type,
        )
        workspace = Workspace.create(
            Path(folder) / "ws",
            model=str(model),
            settings={"speech": {"device": given.device, "compute_type": given.compute_type}},
            actor="benchmark",
        )
        over_http = serving_http.measure(
            workspace, clients=given.clients, requests=given.requests, rounds=given.rounds
        )
    figures["http_overhead"] = over_http["http_overhead"]
    figures["p95_ms"] = over_http["p95_ms"]
    figures["over_http"] = over_http
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
