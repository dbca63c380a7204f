"""What a right-sized context saves: a training step and a decoding batch, against 30 s.

    python -m benchmarks.right_size

Eight real phone prompts of about 2 s; both ways in turn, several times; medians. The last line is
JSON: `step_s_30, step_s_right, step_speedup, decode_s_30, decode_s_right, decode_speedup`. Decoding
uses the untouched model in both, since only the time is measured here: its text in a short context
is worthless, which is why `misheard` never does that.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoTokenizer, WhisperForConditionalGeneration

from misheard import audio
from misheard.demo.phone_prompts import read_prompts, read_samples
from misheard.finetune.families.family import Example
from misheard.finetune.families.whisper import collate, right_sized
from misheard.finetune.recipe import Recipe
from misheard.speech.context import FULL_CONTEXT, Context, ModelCard
from misheard.speech.convert import to_transformers
from misheard.speech.features import log_mel
from misheard.speech.sources import DEFAULT_MODEL, served_directory
from misheard.speech.whisper import DecodingOptions, WhisperTranscriber

ROUNDS = 5
CLIPS = 8


def training_step(model: WhisperForConditionalGeneration, examples: list[Example]) -> float:
    """Seconds for one forward and backward pass in float32."""
    batch = collate(examples)
    started = time.perf_counter()
    with right_sized(model, batch["input_features"].shape[-1] // 2):
        model(**batch).loss.backward()
    return time.perf_counter() - started


def in_turn(one: Callable[[], float], other: Callable[[], float]) -> tuple[float, float]:
    """Medians of both, measured A B A B after one round that does not count."""
    one(), other()
    pairs = [(one(), other()) for _ in range(ROUNDS)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def main() -> None:
    """Measure and print."""
    near = sorted(read_prompts(), key=lambda prompt: abs(prompt.duration_s - 2.0))[:CLIPS]
    samples = read_samples([prompt for prompt in near if prompt.reference])
    clips = [audio.decode(sample.data) for sample in samples]
    right = Recipe().context
    with served_directory(DEFAULT_MODEL) as served, tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights"
        to_transformers(served, weights)
        model = WhisperForConditionalGeneration.from_pretrained(weights, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(weights)

        def examples(context: Context) -> list[Example]:
            return [
                Example(
                    features=log_mel(clip.samples, context.positions(clip.duration_s)),
                    labels=tokenizer(" " + sample.reference).input_ids[1:],
                )
                for clip, sample in zip(clips, samples, strict=True)
            ]

        long, short = examples(FULL_CONTEXT), examples(right)
        step_30, step_right = in_turn(
            lambda: training_step(model, long), lambda: training_step(model, short)
        )
        linked = Path(folder) / "right"
        linked.mkdir()
        for file in served.iterdir():
            (linked / file.name).symlink_to(file)
        card = ModelCard(base=DEFAULT_MODEL, dataset_id="-", recipe_id="-", context=right)
        card.write(linked)
        # The untouched model babbles in a short context; a few tokens are enough to time.
        few = DecodingOptions(max_tokens=12)
        engines = [WhisperTranscriber(path, options=few) for path in (served, linked)]

        def decode(engine: WhisperTranscriber) -> float:
            started = time.perf_counter()
            engine.transcribe(clips)
            return time.perf_counter() - started

        decode_30, decode_right = in_turn(lambda: decode(engines[0]), lambda: decode(engines[1]))
    figures = {
        "step_s_30": round(step_30, 3),
        "step_s_right": round(step_right, 3),
        "step_speedup": round(step_30 / step_right, 2),
        "decode_s_30": round(decode_30, 3),
        "decode_s_right": round(decode_right, 3),
        "decode_speedup": round(decode_30 / decode_right, 2),
    }
    for name, value in figures.items():
        print(f"{name:>16}  {value}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
