"""The training program: `python -m misheard.finetune.train JOB_DIRECTORY`.

It runs in a process of its own, reads an order, and writes only inside the job's directory
(`JobPaths`). Each batch is cut to the window its longest clip needs; see `rightsize`.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch.utils.data import Sampler
from transformers import (
    AutoTokenizer,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    TrainerCallback,
    WhisperForConditionalGeneration,
)

from misheard import audio
from misheard.finetune.events import TrainingEvent, append_event
from misheard.finetune.order import Order
from misheard.finetune.paths import JobPaths
from misheard.finetune.rightsize import right_sized
from misheard.scoring.alignment import count_errors
from misheard.scoring.normalize import normalizer
from misheard.speech.context import ModelCard
from misheard.speech.convert import to_ctranslate2, to_transformers
from misheard.speech.features import log_mel

_IGNORED_LABEL = -100
_GENERATED_TOKENS = 224


@dataclass(frozen=True, kw_only=True)
class Example:
    """One clip as the model takes it."""

    features: np.ndarray[Any, np.dtype[np.float32]]
    """Log-mel, shape (bins, 2 × positions)."""
    labels: list[int]
    reference: str

    @property
    def positions(self) -> int:
        """Its window in encoder positions."""
        return int(self.features.shape[1]) // 2


def main(arguments: list[str]) -> int:
    """Run the job in the directory that is the only argument; 0 on success."""
    if len(arguments) != 1:
        sys.stderr.write((__doc__ or "") + "\n")
        return 2
    TrainingRun(JobPaths(Path(arguments[0]))).run()
    return 0


class TrainingRun:
    """One job from its order to its result."""

    def __init__(self, paths: JobPaths) -> None:
        self._paths = paths
        self._order = Order.read(paths.order)
        self._recipe = self._order.recipe
        self._started = time.monotonic()
        self._rates: list[float] = []

    def run(self) -> None:
        """Prepare, train, convert, and write the result last."""
        paths, recipe = self._paths, self._recipe
        torch.set_num_threads(recipe.threads or os.cpu_count() or 1)
        transformers.set_seed(recipe.seed)
        transformers.logging.set_verbosity_error()
        self.report(phase="prepare")
        if not (paths.base / "config.json").exists():
            raise FileNotFoundError(paths.base)
        if not paths.weights.exists():
            to_transformers(paths.base, paths.weights)
        tokenizer = AutoTokenizer.from_pretrained(paths.weights)
        model = WhisperForConditionalGeneration.from_pretrained(paths.weights, dtype=torch.float32)
        training = self._examples("train", tokenizer, model.config.num_mel_bins)
        validation = self._examples("validation", tokenizer, model.config.num_mel_bins)
        trained_s, loss = self._train(model, tokenizer, training, validation)
        self.report(phase="convert")
        model.save_pretrained(paths.weights)
        to_ctranslate2(paths.weights, paths.model)
        self._write_card()
        self._write_result(trained_s, loss, training, validation)
        self.report(phase="done")

    def report(self, **values: Any) -> None:
        """Append an event."""
        event = TrainingEvent(at_s=round(time.monotonic() - self._started, 3), **values)
        append_event(self._paths.events, event)

    def _examples(self, split: str, tokenizer: Any, bins: int) -> list[Example]:
        made = []
        lines = (self._paths.data / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
        for row in map(json.loads, lines):
            clip = audio.read(self._paths.data / row["audio_path"])
            if clip.duration_s > self._recipe.max_clip_s:
                continue
            positions = self._recipe.context.positions(clip.duration_s)
            # Whisper's own text starts with a space; the special tokens before it come from the
            # template, less <|startoftranscript|>, which the model puts in front by itself.
            text = " " + row["reference"] if row["reference"] else ""
            labels = tokenizer(text).input_ids[1:]
            if len(labels) > _GENERATED_TOKENS:
                continue
            features = log_mel(clip.samples, positions, bins=bins)
            made.append(Example(features=features, labels=labels, reference=row["reference"]))
        return made

    def _train(
        self, model: Any, tokenizer: Any, training: list[Example], validation: list[Example]
    ) -> tuple[float, float]:
        """Tune `model` in place; seconds taken and the mean loss."""
        recipe = self._recipe
        normalize = normalizer(self._order.normalizer)

        def word_error_rate(prediction: Any) -> dict[str, float]:
            tokens = np.where(
                prediction.predictions < 0, tokenizer.pad_token_id, prediction.predictions
            )
            texts = tokenizer.batch_decode(tokens, skip_special_tokens=True)
            counts = count_errors(
                [normalize(example.reference).split() for example in validation],
                [normalize(text).split() for text in texts],
            )
            rate = counts.rate
            self._rates.append(rate)
            return {"wer": rate}

        model.generation_config.max_length = None
        trainer = RightSizedTrainer(
            model=model,
            args=Seq2SeqTrainingArguments(
                output_dir=str(self._paths.scratch),
                num_train_epochs=recipe.epochs,
                per_device_train_batch_size=recipe.batch_size,
                per_device_eval_batch_size=recipe.batch_size,
                learning_rate=recipe.learning_rate,
                warmup_steps=recipe.warmup_share,
                max_grad_norm=recipe.max_gradient_norm,
                eval_strategy="epoch" if validation else "no",
                predict_with_generate=True,
                generation_max_length=_GENERATED_TOKENS,
                save_strategy="no",
                logging_steps=5,
                logging_nan_inf_filter=False,
                report_to=[],
                disable_tqdm=True,
                remove_unused_columns=False,
                label_names=["labels"],
                seed=recipe.seed,
                dataloader_pin_memory=False,
                bf16=True,
                use_cpu=True,
            ),
            train_dataset=training,
            eval_dataset=validation or None,
            data_collator=Collator(tokenizer.pad_token_id),
            processing_class=tokenizer,
            compute_metrics=word_error_rate,
            callbacks=[_Reporter(self)],
        )
        started = time.monotonic()
        outcome = trainer.train()
        return time.monotonic() - started, float(outcome.training_loss)

    def _write_card(self) -> None:
        ModelCard(
            base=self._order.base_name,
            dataset_id=self._order.dataset_id,
            recipe_id=self._recipe.id,
            context=self._recipe.context,
        ).write(self._paths.model)

    def _write_result(
        self, trained_s: float, loss: float, training: list[Example], validation: list[Example]
    ) -> None:
        result = {
            "training_loss": loss,
            "trained_s": round(trained_s, 1),
            "training_clips": len(training),
            "validation_clips": len(validation),
            "validation_wer": self._rates,
        }
        partial = self._paths.result.with_suffix(".partial")
        partial.write_text(json.dumps(result, indent=2), encoding="utf-8")
        partial.rename(self._paths.result)


class Collator:
    """Clips of one batch in the window of the longest."""

    def __init__(self, pad_token: int) -> None:
        self._pad_token = pad_token

    def __call__(self, examples: list[Example]) -> dict[str, torch.Tensor]:
        """`input_features` of shape (batch, bins, 2 × positions) and `labels` (batch, tokens)."""
        frames = max(example.features.shape[1] for example in examples)
        tokens = max(len(example.labels) for example in examples)
        features = np.stack([_pad(example.features, frames) for example in examples])
        labels = [
            example.labels + [_IGNORED_LABEL] * (tokens - len(example.labels))
            for example in examples
        ]
        return {"input_features": torch.from_numpy(features), "labels": torch.tensor(labels)}


def _pad(features: np.ndarray[Any, Any], frames: int) -> np.ndarray[Any, Any]:
    # The window ends in silence, so the lowest value is what more silence would look like.
    missing = frames - features.shape[1]
    return np.pad(features, ((0, 0), (0, missing)), constant_values=features.min())


class BatchesByLength(Sampler[int]):
    """Clips of like length together, the batches in random order, anew each epoch."""

    def __init__(self, positions: list[int], batch_size: int, seed: int) -> None:
        self._positions = positions
        self._batch_size = batch_size
        self._random = random.Random(seed)

    def __len__(self) -> int:
        return len(self._positions)

    def __iter__(self) -> Iterator[int]:
        order = sorted(
            range(len(self._positions)), key=lambda i: (self._positions[i], self._random.random())
        )
        size = self._batch_size
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        self._random.shuffle(batches)
        return iter([index for batch in batches for index in batch])


class RightSizedTrainer(Seq2SeqTrainer):
    """Transformers' trainer, each batch in its own window."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        examples: list[Example] = train_dataset or self.train_dataset
        return BatchesByLength(
            [example.positions for example in examples],
            self.args.per_device_train_batch_size,
            self.args.seed,
        )

    def compute_loss(self, model: Any, inputs: dict[str, torch.Tensor], **others: Any) -> Any:
        """The loss of one batch."""
        with right_sized(model, inputs["input_features"].shape[-1] // 2):
            return super().compute_loss(model, inputs, **others)

    def prediction_step(
        self, model: Any, inputs: dict[str, torch.Tensor], *others: Any, **more: Any
    ) -> Any:
        """Generated tokens of one batch."""
        with right_sized(model, inputs["input_features"].shape[-1] // 2):
            return super().prediction_step(model, inputs, *others, **more)


class _Reporter(TrainerCallback):
    """Turns the trainer's log into events."""

    def __init__(self, run: TrainingRun) -> None:
        self._run = run
        self._started = time.monotonic()

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._started = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        del args, control
        logs = logs or {}
        if "loss" not in logs and "eval_wer" not in logs:
            return
        elapsed_s = time.monotonic() - self._started
        self._run.report(
            phase="train",
            step=state.global_step,
            steps=state.max_steps,
            epoch=round(state.epoch or 0.0, 3),
            loss=logs.get("loss"),
            validation_wer=logs.get("eval_wer"),
            left_s=round(
                elapsed_s / max(state.global_step, 1) * (state.max_steps - state.global_step)
            ),
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
