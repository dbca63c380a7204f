"""What each epoch comes to on the validation split, which is the best, and when to stop."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save_model
from transformers import TrainerCallback

from misheard.finetune.adaptation import merged
from misheard.finetune.examples import Utterance
from misheard.finetune.families.family import Family
from misheard.finetune.paths import JobPaths
from misheard.finetune.served import Heard, Listener
from misheard.finetune.trainer import WeightAverage, agreed
from misheard.finetune.written import write_json
from misheard.speech.context import ModelCard


class Curve:
    """The rates of each epoch, kept in a file so that a restart goes on with them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        self._epochs: dict[int, Heard] = {int(n): Heard(**rates) for n, rates in kept.items()}

    @property
    def best_epoch(self) -> int | None:
        """The last epoch that heard as well as any, but for chance; None before there is one.

        On a few hundred words one epoch often seems better than the next by luck alone, and what
        has been trained longer knows its windows better.
        """
        return _best(self._epochs)

    def add(self, epoch: int, heard: Heard) -> None:
        """Remember what an epoch came to."""
        self._epochs[epoch] = heard
        self._epochs = dict(sorted(self._epochs.items()))
        write_json(self._path, {str(n): asdict(rates) for n, rates in self._epochs.items()})

    def rates(self) -> list[float]:
        """The word error rate of each epoch, in order."""
        return [heard.wer for heard in self._epochs.values()]

    def would_be_best(self, epoch: int, heard: Heard) -> bool:
        """Whether an epoch that came to this is the best so far."""
        return _best({**self._epochs, epoch: heard}) == epoch

    def should_stop(self, epoch: int, patience: int) -> bool:
        """Whether so many epochs have brought nothing better."""
        return self.best_epoch is not None and epoch - self.best_epoch >= patience

    def is_over(self, epochs: int, patience: int) -> bool:
        """Whether nothing is left to train: the last epoch has been, or there is reason to stop."""
        last = max(self._epochs, default=0)
        return last >= epochs or self.should_stop(last, patience)


def _best(epochs: Mapping[int, Heard]) -> int | None:
    if not epochs:
        return None
    first = min(epochs.values(), key=lambda heard: heard.rank)
    return max(n for n, heard in epochs.items() if heard.is_as_good_as(first))


class Validator(TrainerCallback):
    """Reports progress, validates after each epoch, keeps the best weights, and stops in time."""

    def __init__(
        self,
        paths: JobPaths,
        family: Family,
        average: WeightAverage,
        listener: Listener,
        rows: Sequence[Utterance],
        *,
        card: ModelCard,
        patience: int,
        report: Callable[..., None],
    ) -> None:
        self.curve = Curve(paths.curve)
        self._paths = paths
        self._family = family
        self._average = average
        self._listener = listener
        self._rows = rows
        self._card = card
        self._patience = patience
        self._report = report
        self._begun_s, self._begun_step = time.monotonic(), 0
        self._epoch_begun_s = self._begun_s
        self.stepped_s = 0.0
        """Seconds spent in epochs, less validation, since the program was last started."""

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Validation between two epochs is no part of either."""
        del args, state, control
        self._epoch_begun_s = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Time is measured from here; a restart may begin in the middle."""
        del args, control
        self._begun_s, self._begun_step = time.monotonic(), state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Say how far it is."""
        del args, control
        if logs and "loss" in logs:
            self._say(state, loss=float(logs["loss"]))

    def on_epoch_end(
        self, args: Any, state: Any, control: Any, model: Any = None, **_: Any
    ) -> None:
        """Validate in the first process; all of them stop together."""
        del args
        self.stepped_s += time.monotonic() - self._epoch_begun_s
        if not self._rows:
            return
        epoch = round(state.epoch)
        if state.is_world_process_zero:
            self._say(state, validation_wer=self._validate(model, epoch).wer)
        if agreed(state.is_world_process_zero and self.curve.should_stop(epoch, self._patience)):
            control.should_training_stop = True

    def keep(self, model: Any) -> None:
        """Keep the weights as they are now: the best there are."""
        with self._average.in_place(model):
            self._save(merged(model))

    def _validate(self, model: Any, epoch: int) -> Heard:
        tried = self._paths.tried
        shutil.rmtree(tried, ignore_errors=True)
        with self._average.in_place(model):
            plain = merged(model)
            self._family.export(plain, tried)
            self._card.write(tried)
            heard = self._listener.hear(tried, self._rows)
            # The weights first: what the curve calls the best is there, wherever a kill comes.
            if self.curve.would_be_best(epoch, heard):
                self._save(plain)
            self.curve.add(epoch, heard)
        shutil.rmtree(tried)
        return heard

    def _save(self, plain: Any) -> None:
        partial = self._paths.best.with_suffix(".partial")
        save_model(plain, str(partial))
        partial.rename(self._paths.best)

    def _say(self, state: Any, **values: float) -> None:
        spent_s = time.monotonic() - self._begun_s
        done, left = state.global_step - self._begun_step, state.max_steps - state.global_step
        self._report(
            phase="train",
            step=state.global_step,
            steps=state.max_steps,
            epoch=round(state.epoch or 0.0, 3),
            left_s=round(spent_s / max(done, 1) * left),
            **values,
        )
