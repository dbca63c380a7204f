"""A fine-tune on windows that fit the clips, beside the usual recipe, which pads all to 30 s.

    python -m benchmarks.finetune             # about 30 minutes on 2 cores
    python -m benchmarks.finetune --epochs 1  # a few minutes

Both sides train OpenAI's tiny.en on the same phone prompts (training split, up to 30 s), each clip
once an epoch, for as many epochs, with the same batch size, peak learning rate, warm-up and
precision (bfloat16 where the processor computes in it), on the same threads, each in a process of
its own, without validation in between.

- The usual recipe is Hugging Face's ("Fine-Tune Whisper with Transformers"): `WhisperProcessor`'s
  features of 30 s made beforehand, `Seq2SeqTrainer`, labels padded a batch. Its features are not
  part of its time. It gets the memory settings that a job of ours has, which it does not set
  itself, and keeps what its layers compute, where the published one computes it again.
- Ours is a job as `misheard` runs it: augmentation and features are made while it trains and are
  part of its time. Half of the clips are shown joined in pairs, as in the default recipe; generated
  non-speech, which it adds, is left out, so that both see the same clips.
- The usual recipe as it is published, for a few steps: glibc's own settings, and
  `gradient_checkpointing`, as its authors have it. (Their float16 a CPU cannot train in.)

Each model then transcribes the test split in int8: ours in its own windows, the other in 30 s. The
last line is JSON: `speedup_vs_padded` (clips a second), `wer_right_sized`, `wer_padded`,
`speedup_vs_published`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.phone import clips_of, err, prompts_of, scored, train
from misheard.datasets.split import Split
from misheard.finetune.backends.local import ENVIRONMENT
from misheard.finetune.recipe import Recipe
from misheard.speech.convert import to_ctranslate2, to_transformers
from misheard.speech.sources import DEFAULT_MODEL, served_directory
from misheard.speech.whisper import WhisperTranscriber

_FEW_STEPS = 5


def train_padded(
    weights: Path, target: Path, recipe: Recipe, *, most: int | None, published: bool
) -> float:
    """Hugging Face's recipe on the model in `weights`: clips a second, and a CTranslate2 model.

    As it is `published` it takes a few steps only, and leaves no model.
    """
    import torch  # noqa: PLC0415 - each side loads it in its own process
    import transformers  # noqa: PLC0415

    torch.set_num_threads(recipe.threads or os.cpu_count() or 1)
    transformers.set_seed(recipe.seed)
    transformers.logging.set_verbosity_error()
    extractor = transformers.WhisperFeatureExtractor.from_pretrained(weights)
    tokenizer = transformers.AutoTokenizer.from_pretrained(weights)
    model = transformers.WhisperForConditionalGeneration.from_pretrained(
        weights, dtype=torch.float32
    )
    prompts = prompts_of(Split.TRAIN, most=most)
    rows = [
        {
            "input_features": extractor(clip.samples, sampling_rate=16_000).input_features[0],
            "labels": tokenizer(" " + prompt.reference if prompt.reference else "").input_ids,
        }
        for prompt, clip in zip(prompts, clips_of(prompts), strict=True)
    ]

    def collate(batch: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        longest = max(len(row["labels"]) for row in batch)
        labels = [row["labels"] + [-100] * (longest - len(row["labels"])) for row in batch]
        features = torch.from_numpy(np.stack([row["input_features"] for row in batch]))
        # The model puts <|startoftranscript|> in front by itself.
        return {"input_features": features, "labels": torch.tensor(labels)[:, 1:]}

    trainer = transformers.Seq2SeqTrainer(
        model=model,
        args=transformers.Seq2SeqTrainingArguments(
            output_dir=str(target.parent / "padded"),
            num_train_epochs=recipe.epochs,
            per_device_train_batch_size=recipe.batch_size,
            learning_rate=recipe.learning_rate,
            warmup_steps=recipe.warmup_share,
            bf16=recipe.precision == "bfloat16",
            save_strategy="no",
            logging_steps=10,
            report_to=[],
            remove_unused_columns=False,
            use_cpu=True,
            seed=recipe.seed,
            gradient_checkpointing=published,
            max_steps=_FEW_STEPS if published else -1,
            dataloader_drop_last=published,  # so that each step has as many clips
        ),
        train_dataset=rows,
        data_collator=collate,
    )
    started = time.perf_counter()
    trainer.train()
    spent_s = time.perf_counter() - started
    if published:
        return _FEW_STEPS * recipe.batch_size / spent_s
    model.save_pretrained(weights)
    to_ctranslate2(weights, target)
    return len(rows) * recipe.epochs / spent_s


def in_its_process(*call: str, environment: Mapping[str, str]) -> float:
    """`train_padded` with these arguments, on a quiet standard output."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.finetune", "--padded", *call],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    return float(done.stdout.splitlines()[-1])


def measure(work: Path, epochs: int, most: int | None, precision: str) -> dict[str, float]:
    """All sides; the figures."""
    recipe = Recipe(epochs=epochs, sweep=False, precision=precision, non_speech_share=0.0)
    weights, padded = work / "weights", work / "served"
    with served_directory(DEFAULT_MODEL) as base:
        to_transformers(base, weights)
    err.print(f"right-sized, epochs: {epochs}")
    paths = train(work / "job", recipe, most=most, validate=False)
    ours = json.loads(paths.result.read_text(encoding="utf-8"))
    err.print("padded to 30 s, as published")
    call = [str(weights), str(padded), str(epochs), str(most or ""), ours["precision"]]
    published_rate = in_its_process(*call, "published", environment=os.environ)
    err.print(f"padded to 30 s, epochs: {epochs}")
    their_rate = in_its_process(*call, "", environment=ENVIRONMENT | os.environ)
    test = prompts_of(Split.TEST, most=most)
    clips = clips_of(test)
    rates = {}
    for name, directory in (("wer_right_sized", paths.model), ("wer_padded", padded)):
        heard = WhisperTranscriber(directory).transcribe(clips)
        found = scored(test, [one.text for one in heard])
        rates[name] = round(found.wer, 4)
        err.print(f"{name}: {found.words.errors.sum()} word errors")
    our_rate: float = ours["training_clips"] * epochs / ours["stepped_s"]
    for name, rate in (
        ("right-sized", our_rate),
        ("padded to 30 s", their_rate),
        ("padded, as published", published_rate),
    ):
        print(f"{name:>20}: {rate:6.2f} clips a second")
    return {
        "speedup_vs_padded": round(our_rate / their_rate, 2),
        **rates,
        "speedup_vs_published": round(our_rate / published_rate, 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=Recipe().epochs)
    parser.add_argument("--clips", type=int, help="only so many clips of each split")
    parser.add_argument("--precision", default="auto", choices=["auto", "bfloat16", "float32"])
    parser.add_argument("--padded", nargs=6, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.padded:
        weights, target, epochs, most, precision, published = given.padded
        rate = train_padded(
            Path(weights),
            Path(target),
            Recipe(epochs=int(epochs), precision=precision),
            most=int(most) if most else None,
            published=bool(published),
        )
        print(rate)
        return
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), given.epochs, given.clips, given.precision)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
