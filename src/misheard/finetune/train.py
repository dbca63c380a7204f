"""The training program: `python -m misheard.finetune.train JOB_DIRECTORY`.

It runs in a process of its own, reads an order, and writes only inside the job's directory
(`JobPaths`). After each epoch the model is converted and decodes the validation split exactly as it
would be served, so that the curve shows what a user would hear.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    AutoTokenizer,
    Seq2SeqTrainingArguments,
    TrainerCallback,
    WhisperForConditionalGeneration,
)

from misheard import audio
from misheard.finetune.events import TrainingEvent, append_event
from misheard.finetune.order import Order
from misheard.finetune.paths import JobPaths
from misheard.finetune.trainer import Example, RightSizedTrainer, collate
from misheard.scoring.normalize import normalizer
from misheard.scoring.score import score
from misheard.speech.context import ModelCard
from misheard.speech.convert import to_ctranslate2, to_transformers
from misheard.speech.features import log_mel
from misheard.speech.whisper import DecodingOptions, WhisperTranscriber

_MOST_TOKENS = 224
"""Of a clip's text: half of Whisper's decoder context, as in OpenAI's `transcribe`."""


def main(arguments: list[str]) -> int:
    """Run the job in the directory that is the only argument; 0 on success."""
    if len(arguments) != 1:
        sys.stderr.write((__doc__ or "") + "\n")
        return 2
    paths = JobPaths(Path(arguments[0]))
    with paths.lock.open("w") as lock:
        # Whoever started this may have been killed before it could write down that it did.
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        TrainingRun(paths).run()
    return 0


class TrainingRun:
    """One job from its order to its result."""

    def __init__(self, paths: JobPaths) -> None:
        self._paths = paths
        self._order = Order.read(paths.order)
        self._recipe = self._order.recipe
        self._started = time.monotonic()
        self._rates: list[float] = []
        self._left_out = 0

    def run(self) -> None:
        """Prepare, train, convert, and write the result last."""
        paths, recipe = self._paths, self._recipe
        torch.set_num_threads(recipe.threads or os.cpu_count() or 1)
        transformers.set_seed(recipe.seed)
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        self.report(phase="prepare")
        for leftover in (paths.weights, paths.scratch, paths.model):
            shutil.rmtree(leftover, ignore_errors=True)
        to_transformers(paths.base, paths.weights)
        tokenizer = AutoTokenizer.from_pretrained(paths.weights)
        model = WhisperForConditionalGeneration.from_pretrained(paths.weights, dtype=torch.float32)
        if model.generation_config.is_multilingual:
            tokenizer.set_prefix_tokens(
                language=self._order.language, task="transcribe", predict_timestamps=False
            )
        training = self._examples("train", tokenizer, model.config.num_mel_bins)
        validation = self._rows("validation")
        precision = _precision(recipe.precision)
        started = time.monotonic()
        loss = self._train(model, training, validation, precision)
        trained_s = time.monotonic() - started
        if not validation:
            self.report(phase="convert")
            self._convert(model)
        figures = {
            "training_loss": loss,
            "trained_s": round(trained_s, 1),
            "training_clips": len(training),
            "left_out": self._left_out,
            "validation_clips": len(validation),
            "validation_wer": self._rates,
            "precision": precision,
        }
        partial = paths.result.with_suffix(".partial")
        partial.write_text(json.dumps(figures, indent=2), encoding="utf-8")
        partial.rename(paths.result)
        self.report(phase="done")

    def report(self, **values: Any) -> None:
        """Append an event."""
        event = TrainingEvent(at_s=round(time.monotonic() - self._started, 3), **values)
        append_event(self._paths.events, event)

    def _rows(self, split: str) -> list[dict[str, Any]]:
        text = (self._paths.data / f"{split}.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.split("\n") if line]

    def _examples(self, split: str, tokenizer: Any, bins: int) -> list[Example]:
        made = []
        for row in self._rows(split):
            clip = audio.read(self._paths.data / row["audio_path"])
            # Whisper's own text starts with a space; the special tokens before it come from the
            # template, less <|startoftranscript|>, which the model puts in front by itself.
            text = " " + row["reference"] if row["reference"] else ""
            labels = tokenizer(text).input_ids[1:]
            if clip.duration_s > self._recipe.max_clip_s or len(labels) > _MOST_TOKENS:
                self._left_out += 1
                continue
            positions = self._recipe.context.positions(clip.duration_s)
            features = log_mel(clip.samples, positions, bins=bins)
            made.append(Example(features=features, labels=labels, weight=row.get("weight", 1.0)))
        return made

    def _train(
        self,
        model: Any,
        training: list[Example],
        validation: list[dict[str, Any]],
        precision: str,
    ) -> float:
        """Tune `model` in place; the mean loss of all steps."""
        recipe = self._recipe
        for name, value in recipe.spec_augment.items():
            setattr(model.config, name, value)
        trainer = RightSizedTrainer(
            model=model,
            args=Seq2SeqTrainingArguments(
                output_dir=str(self._paths.scratch),
                num_train_epochs=recipe.epochs,
                per_device_train_batch_size=recipe.batch_size,
                learning_rate=recipe.learning_rate,
                warmup_steps=recipe.warmup_share,
                max_grad_norm=recipe.max_gradient_norm,
                bf16=precision == "bfloat16",
                save_strategy="no",
                logging_steps=5,
                logging_nan_inf_filter=False,
                report_to=[],
                disable_tqdm=True,
                remove_unused_columns=False,
                seed=recipe.seed,
                dataloader_pin_memory=False,
                use_cpu=not torch.cuda.is_available(),
            ),
            train_dataset=training,
            data_collator=collate,
            callbacks=[_Reporter(self, validation)],
        )
        return float(trainer.train().training_loss)

    def validate(self, model: Any, rows: list[dict[str, Any]]) -> float:
        """Convert the model as it is now and decode `rows` as it would be served: the WER."""
        self._convert(model)
        clips = [audio.read(self._paths.data / row["audio_path"]) for row in rows]
        engine = WhisperTranscriber(
            self._paths.model,
            options=DecodingOptions(language=self._order.language),
            threads=self._recipe.threads,
        )
        transcripts = engine.transcribe(clips)
        rate = score(
            [row["reference"] for row in rows],
            [transcript.text for transcript in transcripts],
            normalizer=normalizer(self._order.normalizer, self._order.equivalents),
        ).wer
        self._rates.append(rate)
        return rate

    def _convert(self, model: Any) -> None:
        paths = self._paths
        model.save_pretrained(paths.weights)
        shutil.rmtree(paths.model, ignore_errors=True)
        to_ctranslate2(paths.weights, paths.model)
        ModelCard(
            base=self._order.base_name,
            dataset_id=self._order.dataset_id,
            recipe_id=self._recipe.id,
            context=self._recipe.context,
        ).write(paths.model)


class _Reporter(TrainerCallback):
    """Turns the trainer's log into events, and validates after each epoch."""

    def __init__(self, run: TrainingRun, validation: list[dict[str, Any]]) -> None:
        self._run = run
        self._validation = validation
        self._started = time.monotonic()

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._started = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        del args, control
        if logs and "loss" in logs:
            self._report(state, loss=float(logs["loss"]))

    def on_epoch_end(
        self, args: Any, state: Any, control: Any, model: Any = None, **_: Any
    ) -> None:
        del args, control
        if self._validation:
            self._report(state, validation_wer=self._run.validate(model, self._validation))

    def _report(self, state: Any, **values: float) -> None:
        elapsed_s = time.monotonic() - self._started
        left = state.max_steps - state.global_step
        self._run.report(
            phase="train",
            step=state.global_step,
            steps=state.max_steps,
            epoch=round(state.epoch or 0.0, 3),
            left_s=round(elapsed_s / max(state.global_step, 1) * left),
            **values,
        )


def _precision(wanted: str) -> str:
    """What "auto" means here: bfloat16 where the processor computes in it, else float32."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported()
    else:
        cpu = Path("/proc/cpuinfo")
        flags = cpu.read_text(encoding="utf-8").split() if cpu.exists() else []
        native = bool({"avx512_bf16", "amx_bf16"} & set(flags))
    return "bfloat16" if native else "float32"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
