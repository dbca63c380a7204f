"""Transformers' trainer, for every family; only `train` imports it, for it needs torch."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import distributed
from torch.utils.data import Sampler
from transformers import Trainer, TrainerCallback

from misheard.finetune.families.family import IGNORED_LABEL, Example, Family
from misheard.finetune.paths import JobPaths
from misheard.finetune.plan import Plan, Showing

_AVERAGE = "average.safetensors"
_WARM = 10
"""The average follows closely for about so many steps, or it would still hold the first weights."""


class Batches(Sampler[Showing]):
    """The showings of one epoch in the order of its batches."""

    def __init__(self, plan: Plan, batch_size: int) -> None:
        self._plan = plan
        self._batch_size = batch_size
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Which epoch comes next, from 0."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._plan)

    def __iter__(self) -> Iterator[Showing]:
        batches = self._plan.batches(self._epoch, self._batch_size)
        return iter([showing for batch in batches for showing in batch])


class FamilyTrainer(Trainer):
    """Transformers' trainer; each batch in parts, each part in its own window."""

    def __init__(self, family: Family, batches: Batches, **others: Any) -> None:
        # What the constructor calls already asks for both.
        self._family = family
        self._batches = batches
        self._share = 1.0
        super().__init__(data_collator=self._collate, **others)
        # The trainer takes every model whose `forward` has `**kwargs` for one that divides its loss
        # by the tokens of a whole step. Whisper's does not: two passes a step would count twice,
        # and so would two processes.
        self.model_accepts_loss_kwargs = False
        self.add_callback(_EpochSetter(batches))

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[Showing]:
        del train_dataset
        return self._batches

    def _collate(self, examples: list[Example]) -> dict[str, list[dict[str, torch.Tensor]]]:
        return {"parts": [self._family.collate(part) for part in self._family.parts(examples)]}

    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Add up the gradients of the parts, and their losses, each by its share of the tokens."""
        parts = inputs["parts"]
        tokens = [int((part["labels"] != IGNORED_LABEL).sum()) for part in parts]
        losses = []
        for number, (part, count) in enumerate(zip(parts, tokens, strict=True), 1):
            self._share = count / sum(tokens) if len(parts) > 1 else 1.0
            # Several processes exchange gradients once they are whole.
            last = number == len(parts)
            with nullcontext() if last else self.accelerator.no_sync(model):
                losses.append(super().training_step(model, part, num_items_in_batch))
        return torch.stack(losses).sum()

    def compute_loss(self, model: Any, inputs: dict[str, torch.Tensor], **others: Any) -> Any:
        """The loss of one part, as far as it counts in its batch."""
        with self._family.window(self.accelerator.unwrap_model(model), inputs):
            return self._share * super().compute_loss(model, inputs, **others)


class _EpochSetter(TrainerCallback):
    """The trainer's own way to say so does not reach a sampler below several wrappers."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        del args, control
        self._batches.set_epoch(int(state.epoch or 0))


class WeightAverage(TrainerCallback):
    """The moving average of the weights that are trained (Polyak and Juditsky 1992).

    The decay rises from nothing to what is wanted over the first steps, so that the average does
    not remember where training began. It is part of each checkpoint.
    """

    def __init__(self, decay: float) -> None:
        self._decay = decay
        self._average: dict[str, torch.Tensor] = {}

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, **_: Any
    ) -> None:
        """Start from the weights, or from what the checkpoint holds."""
        del control
        if not self._decay:
            return
        kept = Path(args.output_dir) / f"checkpoint-{state.global_step}" / _AVERAGE
        resumed = load_file(kept) if state.global_step else {}
        self._average = {
            name: resumed[name].to(value.device) if resumed else value.detach().clone()
            for name, value in _trained(model)
        }

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Move a little towards the weights."""
        del args, control
        step = state.global_step
        decay = min(self._decay, (1 + step) / (_WARM + step))
        if self._average:
            with torch.no_grad():
                names, values = zip(*_trained(model), strict=True)
                torch._foreach_lerp_([self._average[name] for name in names], values, 1 - decay)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Put it beside the weights of the checkpoint."""
        del control
        if self._average and state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            save_file(self._average, folder / _AVERAGE)

    @contextmanager
    def in_place(self, model: Any) -> Iterator[None]:
        """Put the average into `model` while the block runs."""
        changed = [(value, self._average[name]) for name, value in _trained(model) if self._average]
        for value, average in changed:
            value.data, average.data = average.data, value.data
        try:
            yield
        finally:
            for value, average in changed:
                value.data, average.data = average.data, value.data


class Checkpoints(TrainerCallback):
    """Marks a checkpoint once it is whole, drops older ones only then, and asks for new ones."""

    def __init__(self, paths: JobPaths, every_s: float) -> None:
        self._paths = paths
        self._every_s = every_s
        self._saved_s = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """An epoch may take hours."""
        del args
        late = time.monotonic() - self._saved_s > self._every_s
        # Its last step is left to its end: who goes on from there is past the validation.
        if agreed(state.is_world_process_zero and late) and state.epoch % 1:
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Mark it; the others may go."""
        del args, control
        self._saved_s = time.monotonic()
        if distributed.is_initialized():
            distributed.barrier()  # each process has a file of its own in it
        if not state.is_world_process_zero:
            return
        mark = self._paths.complete_mark(state.global_step)
        mark.touch()
        for other in self._paths.scratch.iterdir():
            if other != mark.parent:
                shutil.rmtree(other)


def agreed(flag: bool) -> bool:
    """What the first of several processes says; all wait for it."""
    if not distributed.is_initialized():
        return flag
    said = [flag]
    distributed.broadcast_object_list(said, 0)
    return said[0]


def _trained(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    return ((name, value) for name, value in model.named_parameters() if value.requires_grad)
