"""A fine-tune on windows that fit the clips, beside the usual recipe, which pads all to 30 s.

    python -m benchmarks.finetune             # about 45 minutes on 2 cores
    python -m benchmarks.finetune --epochs 1  # a few minutes

Both sides train OpenAI's tiny.en on the same phone prompts (training split, up to 30 s) for as many
epochs, with the same batch size, peak learning rate, warm-up and precision, on the same threads,
each in a process of its own, without validation in between.

- The usual recipe is Hugging Face's ("Fine-Tune Whisper with Transformers"): `WhisperProcessor`'s
  features of 30 s made beforehand, `Seq2SeqTrainer`, labels padded a batch. Its features are not
  part of its time.
- Ours is a job as `misheard` runs it: augmentation and features are made while it trains and are
  part of its time. It shows more clips an epoch (joined ones, and generated non-speech); a clip
  counts each time it is shown, and a pair once, though it is twice as long. `speedup_of_epochs`
  compares the time for all epochs instead.

Both get the memory settings that a job of ours has, which the usual recipe does not set.

Each model then transcribes the test split in int8: ours in its own windows, the other in 30 s. The
last line is JSON: `speedup_vs_padded` (clips a second), `wer_right_sized`, `wer_padded`,
`speedup_of_epochs`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
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


def train_padded(weights: Path, target: Path, recipe: Recipe, most: int | None) -> dict[str, Any]:
    """Hugging Face's recipe on the model in `weights`; its seconds, and a CTranslate2 model."""
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
        ),
        train_dataset=rows,
        data_collator=collate,
    )
    started = time.perf_counter()
    trainer.train()
    spent_s = time.perf_counter() - started
    model.save_pretrained(weights)
    to_ctranslate2(weights, target)
    return {"seconds": spent_s, "clips": len(rows) * recipe.epochs}


def measure(work: Path, epochs: int, most: int | None, precision: str) -> dict[str, float]:
    """Both sides; the figures."""
    recipe = Recipe(epochs=epochs, sweep=False, precision=precision)
    weights, padded = work / "weights", work / "served"
    with served_directory(DEFAULT_MODEL) as base:
        to_transformers(base, weights)
    err.print(f"right-sized, epochs: {epochs}")
    paths = train(work / "job", recipe, most=most, validate=False)
    ours = json.loads(paths.result.read_text(encoding="utf-8"))
    err.print(f"padded to 30 s, epochs: {epochs}")
    call = [str(weights), str(padded), str(epochs), str(most or ""), precision]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.finetune", "--padded", *call],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        # What makes our side's memory cheaper makes theirs cheaper, too.
        env=ENVIRONMENT | os.environ,
    )
    theirs = json.loads(done.stdout.splitlines()[-1])
    test = prompts_of(Split.TEST, most=most)
    clips = clips_of(test)
    rates = {}
    for name, directory in (("wer_right_sized", paths.model), ("wer_padded", padded)):
        heard = WhisperTranscriber(directory).transcribe(clips)
        found = scored(test, [one.text for one in heard])
        rates[name] = round(found.wer, 4)
        err.print(f"{name}: {found.words.errors.sum()} word errors")
    our_rate = ours["shown_an_epoch"] * epochs / ours["stepped_s"]
    their_rate = theirs["clips"] / theirs["seconds"]
    for name, rate, seconds in (
        ("right-sized", our_rate, ours["stepped_s"]),
        ("padded to 30 s", their_rate, theirs["seconds"]),
    ):
        print(f"{name:>15}: {rate:6.2f} clips a second, {seconds:7.1f} s, epochs: {epochs}")
    return {
        "speedup_vs_padded": round(our_rate / their_rate, 2),
        **rates,
        "speedup_of_epochs": round(theirs["seconds"] / ours["stepped_s"], 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=Recipe().epochs)
    parser.add_argument("--clips", type=int, help="only so many clips of each split")
    parser.add_argument("--precision", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--padded", nargs=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.padded:
        weights, target, epochs, most, precision = given.padded
        recipe = Recipe(epochs=int(epochs), precision=precision)
        made = train_padded(Path(weights), Path(target), recipe, int(most) if most else None)
        print(json.dumps(made))
        return
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), given.epochs, given.clips, given.precision)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
