"""A fine-tuned model in windows that fit, beside faster-whisper on the same weights.

    python -m benchmarks.transcribe                 # trains first: about 15 minutes on 2 cores
    python -m benchmarks.transcribe --model DIR …   # fine-tunes that are there already
    python -m benchmarks.transcribe --plot FILE.svg # and draws cost against length

The clips are the test split of the phone prompts, up to 30 s, in memory as samples. The model is a
fine-tune of OpenAI's tiny.en by the default recipe; both sides load the same files in int8, decode
greedily (a beam of 1, one temperature, no timestamps, English) and use the same threads.

- misheard: one call with all clips.
- the same engine without the learnt window: each clip in 30 s.
- faster-whisper, one clip after the other: `WhisperModel.transcribe`. It has a process of its own,
  for ours keeps its memory between batches (`speech/memory.py`), which faster-whisper does not do.
- faster-whisper's `BatchedInferencePipeline`, 16 clips a batch: given all clips joined to one
  recording, with the times where each begins and ends, which is the fastest way to use it.

All of them in turn, several times, after one round that does not count; medians. Then the cost of a
clip against its length, by itself and as one of 16 at once, and which share of the machine's peak
the latter reaches: the multiplications and additions that the model needs for the clip, over the
time, over what a large product of 8-bit matrices reaches on the same threads. There nothing is
heard a second time, as doubtful text otherwise is: a clip that is cut in a word would be.

Of several models the first one is timed, and all are compared with their own 30 s: `wer` and
`wer_30s` are means over them, for one fine-tune differs from the next by a few errors.

The last line is JSON: `speedup_vs_faster_whisper`, `speedup_vs_faster_whisper_batched` (seconds of
audio a second), `wer`, `wer_30s` (the same weights in 30 s), `wer_each` (both, for each model),
`wer_base` (tiny.en in 30 s), `wer_faster_whisper`, `wer_faster_whisper_batched`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.phone import clips_of, err, prompts_of, scored, train
from misheard.audio import SAMPLE_RATE_HZ, Audio, from_samples
from misheard.datasets.split import Split
from misheard.demo.phone_prompts import Prompt
from misheard.finetune.recipe import Recipe
from misheard.speech.context import CARD_NAME, FULL_CONTEXT, Context, read_card
from misheard.speech.convert import read_variables
from misheard.speech.decoding import DecodingOptions
from misheard.speech.sources import DEFAULT_MODEL, served_directory
from misheard.speech.whisper import WhisperTranscriber

BATCH = 16
AT_ONCE = f", {BATCH} at once"
Texts = list[str]


class FasterWhisper:
    """faster-whisper on a directory, as its documentation has it."""

    def __init__(self, directory: Path, threads: int) -> None:
        import faster_whisper  # noqa: PLC0415 - after the threads are set

        self._model = faster_whisper.WhisperModel(
            str(directory), device="cpu", compute_type="int8", cpu_threads=threads
        )
        self._batched = faster_whisper.BatchedInferencePipeline(self._model)
        self._options: dict[str, Any] = {
            "language": "en",
            "beam_size": 1,
            "temperature": 0.0,
            "without_timestamps": True,
        }

    def one_by_one(self, clips: Sequence[Audio]) -> Texts:
        """Each clip in a call of its own."""
        texts = []
        for clip in clips:
            segments, _ = self._model.transcribe(clip.samples, **self._options)
            texts.append(" ".join(segment.text.strip() for segment in segments))
        return texts

    def batched(self, clips: Sequence[Audio]) -> Texts:
        """All clips as one recording, each a stretch of its own."""
        ends = np.cumsum([len(clip.samples) for clip in clips]) / SAMPLE_RATE_HZ
        starts = [0.0, *ends[:-1]]
        segments, _ = self._batched.transcribe(
            np.concatenate([clip.samples for clip in clips]),
            batch_size=BATCH,
            vad_filter=False,
            clip_timestamps=[
                {"start": float(start), "end": float(end)}
                for start, end in zip(starts, ends, strict=True)
            ],
            **self._options,
        )
        texts: list[list[str]] = [[] for _ in clips]
        for segment in segments:
            middle = (segment.start + segment.end) / 2
            texts[min(int(np.searchsorted(ends, middle)), len(clips) - 1)].append(segment.text)
        return [" ".join(part.strip() for part in parts) for parts in texts]


def _answer(connection: Connection, directory: Path, threads: int) -> None:
    """Be faster-whisper for another process: keep clips by name, and transcribe those asked for."""
    engine = FasterWhisper(directory, threads)
    kept: dict[str, Sequence[Audio]] = {}
    while asked := connection.recv():
        way, name, clips = asked
        if clips is not None:
            kept[name] = clips
        else:
            connection.send(getattr(engine, way)(kept[name]))


class Apart:
    """faster-whisper in a process of its own, which has the clips before it is asked."""

    def __init__(self, directory: Path, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(
            target=_answer, args=(other, directory, threads), daemon=True
        )
        self._process.start()
        other.close()  # so that a child that died ends the wait for it

    def ways(self, name: str, clips: Sequence[Audio]) -> dict[str, Callable[[], Texts]]:
        """Both ways to transcribe `clips`, which are handed over now."""
        self._connection.send(("keep", name, clips))
        return {
            "faster-whisper": partial(self._ask, "one_by_one", name),
            "faster-whisper, batched": partial(self._ask, "batched", name),
        }

    def _ask(self, way: str, name: str) -> Texts:
        self._connection.send((way, name, None))
        texts: Texts = self._connection.recv()
        return texts

    def close(self) -> None:
        """End its process."""
        self._connection.send(None)
        self._process.join()


def _texts(engine: WhisperTranscriber, clips: Sequence[Audio]) -> Texts:
    return [transcript.text for transcript in engine.transcribe(clips)]


def in_turn(sides: dict[str, Callable[[], Texts]], rounds: int) -> dict[str, tuple[float, Texts]]:
    """Each side's median seconds and its texts."""
    spent: dict[str, list[float]] = {name: [] for name in sides}
    texts: dict[str, Texts] = {}
    for number in range(rounds + 1):
        for name, side in sides.items():
            started = time.perf_counter()
            texts[name] = side()
            if number:
                spent[name].append(time.perf_counter() - started)
            err.print(f"  round {number} of {rounds}: {name} {time.perf_counter() - started:.1f} s")
    return {name: (statistics.median(spent[name]), texts[name]) for name in sides}


def without_card(directory: Path, folder: Path) -> Path:
    """The same weights that say nothing of a window, so that every clip gets 30 s."""
    made = Path(tempfile.mkdtemp(dir=folder))
    for file in directory.iterdir():
        if file.name != CARD_NAME:
            (made / file.name).symlink_to(file.resolve())
    return made


def shape_of(model: Path) -> dict[str, int]:
    """What the size of a Whisper is made of."""
    variables = read_variables(model / "model.bin")

    def layers(side: str) -> int:
        return len({name.split("/")[1] for name in variables if name.startswith(f"{side}/layer_")})

    width, bins, _ = variables["encoder/conv1/weight"].shape
    return {
        "d": width,
        "bins": bins,
        # The last norm of each side is called layer_norm, too.
        "encoder": layers("encoder") - 1,
        "decoder": layers("decoder") - 1,
        "vocabulary": variables["decoder/embeddings/weight"].shape[0],
    }


def operations(positions: int, tokens: int, shape: dict[str, int]) -> float:
    """Multiplications and additions of a Whisper for one clip, in a window of `positions`.

    Matrix products and convolutions only; each multiplication with its addition counts two.
    """
    d, v = shape["d"], shape["vocabulary"]
    front = 2 * (2 * positions) * shape["bins"] * 3 * d + 2 * positions * d * 3 * d
    encoder = shape["encoder"] * positions * (24 * d * d + 4 * positions * d)
    cross = shape["decoder"] * positions * 4 * d * d
    step = shape["decoder"] * (28 * d * d + 4 * d * (positions + tokens)) + 2 * d * v
    return float(front + encoder + cross + tokens * step)


def peak_operations_s(threads: int) -> float:
    """What a large product of 8-bit matrices reaches on this machine."""
    import torch  # noqa: PLC0415 - only here

    torch.set_num_threads(threads)
    size = 2048
    one, other = (torch.randint(-99, 99, (size, size), dtype=torch.int8) for _ in range(2))
    best_s, spent_s, rounds = float("inf"), 0.0, 0
    # A processor without instructions for it takes seconds for each.
    while rounds < 20 and spent_s < 5:
        started = time.perf_counter()
        torch._int_mm(one, other)
        took_s = time.perf_counter() - started
        best_s, spent_s, rounds = min(best_s, took_s), spent_s + took_s, rounds + 1
    return 2 * size**3 / best_s


def clip_of(seconds: float, clips: Sequence[Audio]) -> Audio:
    """Real speech of exactly so many seconds: prompts one after the other, cut."""
    samples = np.concatenate([clip.samples for clip in clips if clip.duration_s > 1])
    return from_samples(samples[: round(seconds * SAMPLE_RATE_HZ)], SAMPLE_RATE_HZ)


def by_length(
    engines: dict[str, tuple[WhisperTranscriber, Context]],
    faster: Apart,
    clips: Sequence[Audio],
    shape: dict[str, int],
    *,
    lengths: Sequence[int],
    threads: int,
    rounds: int,
) -> list[dict[str, float]]:
    """Seconds for a clip by itself and for one of several at once, by length, for each side."""
    peak = peak_operations_s(threads)
    rows = []
    for seconds in lengths:
        clip = clip_of(seconds, clips)
        several = [clip] * BATCH
        alone, batched = faster.ways(f"{seconds} s", [clip]), faster.ways(f"{BATCH}", several)
        sides: dict[str, Callable[[], Texts]] = {
            "faster-whisper": alone["faster-whisper"],
            f"faster-whisper{AT_ONCE}": batched["faster-whisper, batched"],
        }
        for name, (engine, _) in engines.items():
            sides[name] = partial(_texts, engine, [clip])
            sides[f"{name}{AT_ONCE}"] = partial(_texts, engine, several)
        row: dict[str, float] = {"length_s": seconds}
        found = in_turn(sides, rounds)
        for name, (spent_s, texts) in found.items():
            row[name] = spent_s / len(texts)
        for name, (_, context) in engines.items():
            tokens = 2 + round(1.4 * len(found[name][1][0].split()))
            needed = operations(context.positions(seconds), tokens, shape)
            row[f"{name}: share"] = needed / row[f"{name}{AT_ONCE}"] / peak
        rows.append(row)
    print(
        f"peak: {peak / 1e9:.0f} thousand million operations a second (8 bits, {threads} threads)"
    )
    return rows


def as_table(rows: Sequence[dict[str, float]]) -> str:
    """Milliseconds a clip, as Markdown."""
    heads = [
        f"{name}: alone | {BATCH} at once | share of peak" for name in ("right-sized", "in 30 s")
    ]
    lines = [
        f"| clip | {' | '.join(heads)} | faster-whisper: alone | {BATCH} batched |",
        "| --- " * 9 + "|",
    ]
    for row in rows:
        cells = [f"{row['length_s']:.0f} s"]
        for name in ("right-sized", "30 s", "faster-whisper"):
            cells += [f"{1000 * row[name + how]:.0f} ms" for how in ("", AT_ONCE)]
            cells += [f"{row[name + ': share']:.0%}"] if f"{name}: share" in row else []
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(rows: Sequence[dict[str, float]], path: Path) -> None:
    """Cost against length, both axes logarithmic: by itself, and of several at once."""
    import matplotlib  # noqa: PLC0415 - only for the picture

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "misheard"
    from matplotlib import pyplot  # noqa: PLC0415 - as above

    figure, both = pyplot.subplots(1, 2, figsize=(9, 4), layout="constrained", sharey=True)
    styles: dict[str, dict[str, Any]] = {
        "right-sized": {"color": "#0b6e4f", "linewidth": 2.5, "label": "misheard, right-sized"},
        "30 s": {"color": "#888888", "linestyle": "--", "label": "misheard, in 30 s"},
        "faster-whisper": {"color": "#b3541e", "label": "faster-whisper"},
    }
    lengths = [row["length_s"] for row in rows]
    titles = {"": "a clip by itself", AT_ONCE: f"each of {BATCH} at once"}
    for axes, (how, title) in zip(both, titles.items(), strict=True):
        for name, style in styles.items():
            axes.plot(lengths, [1000 * row[name + how] for row in rows], marker="o", **style)
        axes.set(xscale="log", yscale="log", xlabel="length of the clip, seconds", title=title)
        axes.set_xticks(lengths, [f"{one:.0f}" for one in lengths])
        axes.grid(visible=True, which="both", alpha=0.25)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    left = both[0]
    left.set_ylabel("time to transcribe it, milliseconds")
    low, high = left.get_ylim()
    shown = [tick for tick in (10, 30, 100, 300, 1_000, 3_000, 10_000) if low <= tick <= high]
    left.set_yticks(shown, [f"{tick:,}" for tick in shown])
    for axes in both:
        axes.minorticks_off()
    left.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


def _both_ways(
    model: Path, folder: Path, prompts: Sequence[Prompt], clips: Sequence[Audio]
) -> list[float]:
    """Word error rates of a model in its own windows and in 30 s."""
    rates = []
    for directory in (model, without_card(model, folder)):
        made = scored(prompts, _texts(WhisperTranscriber(directory), clips))
        rates.append(round(made.wer, 4))
        window = "in 30 s" if rates[1:] else "in its own windows"
        print(f"{model.name:>24}: {window} WER {made.wer:.2%} ({made.words.errors.sum()} errors)")
    return rates


def measure(
    models: Sequence[Path],
    folder: Path,
    *,
    most: int | None,
    lengths: Sequence[int],
    rounds: int,
    picture: Path | None,
) -> dict[str, Any]:
    """All sides on the test split, then one clip of each length."""
    model, *others = models
    threads = os.cpu_count() or 1
    prompts: list[Prompt] = prompts_of(Split.TEST, most=most)
    clips = clips_of(prompts)
    audio_s = sum(clip.duration_s for clip in clips)
    card = read_card(model)
    context = card.context if card and card.context else FULL_CONTEXT
    full = without_card(model, folder)
    ours, whole = WhisperTranscriber(model), WhisperTranscriber(full)
    faster = Apart(model, threads)
    found = in_turn(
        {
            "right-sized": partial(_texts, ours, clips),
            "30 s": partial(_texts, whole, clips),
            **faster.ways("test split", clips),
        },
        rounds,
    )
    wer = {}
    for name, (spent_s, texts) in found.items():
        made = scored(prompts, texts)
        wer[name] = round(made.wer, 4)
        silent = sum(bool(t) for t, p in zip(texts, prompts, strict=True) if not p.reference)
        print(
            f"{name:>24}: {spent_s:6.1f} s, {audio_s / spent_s:6.1f} s of audio a second, "
            f"WER {made.wer:.2%} ({made.words.errors.sum()} errors), "
            f"{silent} of {sum(not p.reference for p in prompts)} silent clips with words"
        )
    with served_directory(DEFAULT_MODEL) as base:
        heard = _texts(WhisperTranscriber(base), clips)
    wer["base"] = round(scored(prompts, heard).wer, 4)
    print(f"{'tiny.en itself, 30 s':>24}: WER {wer['base']:.2%}")
    each = [[wer["right-sized"], wer["30 s"]]]
    each += [_both_ways(other, folder, prompts, clips) for other in others]
    once = DecodingOptions(retry_margin_s=0.0)
    rows = by_length(
        {
            "right-sized": (WhisperTranscriber(model, options=once), context),
            "30 s": (whole, FULL_CONTEXT),
        },
        faster,
        clips,
        shape_of(model),
        lengths=lengths,
        threads=threads,
        rounds=rounds,
    )
    faster.close()
    print(as_table(rows))
    if picture is not None:
        plot(rows, picture)
    seconds = {name: spent_s for name, (spent_s, _) in found.items()}
    return {
        "speedup_vs_faster_whisper": round(seconds["faster-whisper"] / seconds["right-sized"], 2),
        "speedup_vs_faster_whisper_batched": round(
            seconds["faster-whisper, batched"] / seconds["right-sized"], 2
        ),
        "wer": round(statistics.mean(one for one, _ in each), 4),
        "wer_30s": round(statistics.mean(one for _, one in each), 4),
        "wer_each": each,
        "wer_base": wer["base"],
        "wer_faster_whisper": wer["faster-whisper"],
        "wer_faster_whisper_batched": wer["faster-whisper, batched"],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model", type=Path, nargs="+", help="fine-tuned models; else one is trained"
    )
    parser.add_argument("--clips", type=int, help="only so many clips")
    parser.add_argument("--epochs", type=int, default=Recipe().epochs)
    parser.add_argument("--lengths", type=int, nargs="+", default=[1, 3, 10, 30], help="seconds")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plot", type=Path, help="where to draw cost against length (SVG)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = given.model
        if models is None:
            recipe = Recipe(epochs=given.epochs)
            models = [train(Path(folder) / "job", recipe, most=given.clips).model]
        figures = measure(
            models,
            Path(folder),
            most=given.clips,
            lengths=given.lengths,
            rounds=given.rounds,
            picture=given.plot,
        )
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
