"""The training program: `python -m misheard.finetune.train JOB_DIRECTORY`, or through `torchrun`.

It runs in a process of its own (or several), reads an order, and writes only inside the job's
directory (`JobPaths`). After each epoch the model is exported and decodes the validation split
as it would be served, so that the curve shows what a user would hear. Killed anywhere, it
goes on from its last checkpoint when it is started again.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import gc
import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import TrainingArguments

from misheard.errors import DiskFullError, MemoryFullError, MisheardError
from misheard.finetune.adaptation import adapted, freeze
from misheard.finetune.curve import Validator
from misheard.finetune.events import TrainingEvent, append_event, course, read_events
from misheard.finetune.examples import Examples, read_rows, usable
from misheard.finetune.families.family import Family, family_name, open_family
from misheard.finetune.order import Order
from misheard.finetune.paths import JobPaths
from misheard.finetune.plan import Plan
from misheard.finetune.served import Listener
from misheard.finetune.shipping import Shipping, card
from misheard.finetune.trainer import Batches, Checkpoints, FamilyTrainer, WeightAverage
from misheard.finetune.written import finite, write_json
from misheard.speech.cuda import CUDA, require_cuda, require_cuda_of_ctranslate2
from misheard.speech.families.known import WHISPER

_LOGGED_STEPS = 5
_PATIENT_S = 86_400
"""What the other processes wait for the first one to validate; gloo's own 30 min are too few."""
_LITTLE_BYTES = 16 << 20
_TORCHRUN = "TORCHELASTIC_RUN_ID"
"""Set by torchrun, and by nobody else."""
_PR_SET_PDEATHSIG = 1
_OUT_OF_MEMORY = ("can't allocate", "Cannot allocate", "std::bad_alloc")
"""What PyTorch, the kernel and C++ say, each in an error of its own."""
_LOST = ("Connection closed by peer", "Connection reset by peer")
"""What gloo says when another process is gone."""


def main(arguments: list[str]) -> int:
    """Run the job in the directory that is the only argument; 0 on success."""
    if len(arguments) != 1:
        sys.stderr.write((__doc__ or "") + "\n")
        return 2
    paths = JobPaths(Path(arguments[0]))
    if _TORCHRUN in os.environ:
        _die_with_parent()
    if _rank():
        with _reasons(paths):
            TrainingRun(paths).run()
        return 0
    with paths.lock.open("w") as lock:
        # Whoever started this may have been killed before it could write down that it did, and
        # what it started trains on. Then there is nothing to do but to wait for that.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not paths.result.exists():
            with _reasons(paths):
                TrainingRun(paths).run()
    return 0


def _die_with_parent() -> None:
    """Have the kernel end this process with torchrun, which gives each a session of its own.

    See PR_SET_PDEATHSIG in prctl(2). Left behind, it would hold the lock that a restart waits for.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1:
        sys.exit("torchrun is gone")


def _rank() -> int:
    """Which of torchrun's processes this is; 0 without torchrun."""
    return int(os.environ.get("RANK", "0"))


@contextmanager
def _reasons(paths: JobPaths) -> Iterator[None]:
    """Turn a full disk and a lack of memory into errors that say what to do."""
    try:
        yield
    except Exception as error:
        paths.reserve.unlink(missing_ok=True)
        text = "".join(traceback.format_exception(error))
        if any(sign in text for sign in _LOST):
            # No error of this process, so no traceback: the job goes on when it is started again.
            sys.exit("another process of this training is gone")
        if _is_full(error, text, paths.root):
            raise DiskFullError(
                f"'{paths.root}': a job needs room for about {_room(paths) / 1e6:.0f} MB of "
                "checkpoints and artefacts. Make room, then: misheard cycle begin"
            ) from error
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
            sign in text for sign in _OUT_OF_MEMORY
        ):
            raise MemoryFullError(
                "lower recipe.seconds_at_once, or recipe.batch_size and raise "
                "recipe.gradient_accumulation, lower recipe.max_clip_s, or set recipe.method to "
                "lora."
            ) from error
        raise


def _is_full(error: Exception, text: str, folder: Path) -> bool:
    # Not every library hands the number on: PyTorch and safetensors have errors of their own.
    return (
        (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT))
        or "No space left on device" in text
        or (not isinstance(error, MisheardError) and _has_little_room(folder))
    )


def _has_little_room(folder: Path) -> bool:
    return shutil.disk_usage(folder).free < _LITTLE_BYTES


def _room(paths: JobPaths) -> int:
    """Bytes that a job writes at most: two checkpoints with Adam's moments, best and artefacts."""
    model = sum(file.stat().st_size for file in paths.base.rglob("*") if file.is_file())
    return 24 * model


class TrainingRun:
    """One job from its order to its result; with torchrun, one of its processes."""

    def __init__(self, paths: JobPaths) -> None:
        self.paths = paths
        self.order = Order.read(paths.order)
        self.recipe = replace(
            self.order.recipe, precision=settled_precision(self.order.recipe.precision)
        )
        self._started = time.monotonic()
        self._rank = _rank()

    def run(self) -> None:
        """Prepare, train, choose the weights to ship, and write the result last."""
        paths, recipe = self.paths, self.recipe
        processes = int(os.environ.get("WORLD_SIZE", "1"))
        torch.set_num_threads(recipe.threads or max(1, (os.cpu_count() or 1) // processes))
        # Where it is computed is decided for good by the order of its sums; on a CPU that costs
        # nothing.
        torch.use_deterministic_algorithms(not torch.cuda.is_available())
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        self._require_device()
        self.report(phase="prepare")
        paths.temporary.mkdir(exist_ok=True)
        if not paths.trained.exists():
            self._train()
            # The trainer and its optimiser hold each other; what follows needs their room.
            gc.collect()
            torch.cuda.empty_cache()
        if self._rank == 0:
            self._ship()

    def report(self, **values: Any) -> None:
        """Append an event."""
        if self._rank == 0:
            at_s = round(time.monotonic() - self._started, 3)
            append_event(self.paths.events, TrainingEvent(at_s=at_s, **values))

    def _require_device(self) -> None:
        """Raise now what the first validation would."""
        if self.order.device != CUDA:
            return
        if family_name(self.paths.base) == WHISPER:
            require_cuda_of_ctranslate2()
        else:
            require_cuda(torch.cuda.device_count())

    def open_family(self) -> Family:
        """The model that training begins from."""
        scratch = self.paths.weights / str(self._rank)
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.parent.mkdir(exist_ok=True)
        return open_family(
            self.paths.base, scratch=scratch, language=self.order.language, recipe=self.recipe
        )

    def _train(self) -> None:
        """Tune the model; the best epoch's weights and the figures are files afterwards."""
        paths, recipe = self.paths, self.recipe
        started = time.monotonic()
        transformers.set_seed(recipe.seed)
        family = self.open_family()
        clips, refused = usable(read_rows(paths.data / "train.jsonl"), family, recipe)
        plan = Plan(clips, recipe)
        validation = read_rows(paths.data / "validation.jsonl")
        freeze(family, recipe)
        average = WeightAverage(recipe.average_decay)
        validator = Validator(
            paths,
            family,
            average,
            Listener(self.order),
            validation,
            card=card(self.order, family),
            patience=recipe.patience,
            report=self.report,
        )
        trainer = FamilyTrainer(
            family,
            Batches(plan, recipe.batch_size),
            model=adapted(family, recipe),
            args=self._arguments(len(plan)),
            train_dataset=Examples(plan, family),
            callbacks=[average, validator, Checkpoints(paths, recipe.checkpoint_every_s)],
        )
        # It may have been killed after its last epoch, and one step more would be one too many.
        if not validator.curve.is_over(recipe.epochs, recipe.patience):
            last = max(paths.checkpoints(), default=None)
            resumed = None if last is None else str(paths.complete_mark(last).parent)
            trainer.train(resume_from_checkpoint=resumed)
        if self._rank:
            return
        if not validation:
            validator.keep(trainer.model)
        figures = {
            "training_loss": _mean_loss(course(read_events(paths.events))),
            "trained_s": round(time.monotonic() - started, 1),
            "stepped_s": round(validator.stepped_s, 1),
            "training_clips": len(clips),
            "shown_an_epoch": len(plan),
            "left_out": len(refused),
            "refused": [asdict(one) for one in refused[:100]],
            "validation_clips": len(validation),
            "validation_wer": [finite(rate) for rate in validator.curve.rates()],
            "best_epoch": validator.curve.best_epoch,
            "precision": recipe.precision,
            "processes": trainer.args.world_size,
            "peak_memory_mb": peak_memory_mb(),
        }
        write_json(paths.trained, figures)

    def _arguments(self, shown: int) -> TrainingArguments:
        recipe = self.recipe
        clips_a_step = recipe.batch_size * recipe.gradient_accumulation * recipe.processes
        return TrainingArguments(
            output_dir=str(self.paths.scratch),
            num_train_epochs=recipe.epochs,
            per_device_train_batch_size=recipe.batch_size,
            gradient_accumulation_steps=recipe.gradient_accumulation,
            learning_rate=recipe.learning_rate,
            warmup_steps=recipe.warmup_share,
            weight_decay=recipe.weight_decay,
            max_grad_norm=recipe.max_gradient_norm,
            bf16=recipe.precision == "bfloat16",
            save_strategy="epoch",
            logging_steps=max(1, min(_LOGGED_STEPS, shown // clips_a_step)),
            logging_nan_inf_filter=False,
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
            seed=recipe.seed,
            dataloader_pin_memory=torch.cuda.is_available(),
            use_cpu=not torch.cuda.is_available(),
            ddp_timeout=_PATIENT_S,
        )

    def _ship(self) -> None:
        paths = self.paths
        shutil.rmtree(paths.scratch, ignore_errors=True)
        gc.collect()  # the trainer and what it knows hold each other, and three times the model
        figures = json.loads(paths.trained.read_text(encoding="utf-8"))
        figures |= Shipping(paths, self.order, self.open_family(), self.report).run()
        figures["peak_memory_mb"] = max(figures["peak_memory_mb"], peak_memory_mb())
        for folder in (paths.weights, paths.temporary):
            shutil.rmtree(folder, ignore_errors=True)
        # Whoever waits for the result looks at no event that comes after it.
        self.report(phase="done")
        write_json(paths.result, figures)
        # Only now: without the best weights this could not be done again.
        for leftover in (paths.best, paths.reserve):
            leftover.unlink(missing_ok=True)


def _mean_loss(events: list[TrainingEvent]) -> float | None:
    """Of all steps, also those before a restart; None where none is known."""
    losses = [event.loss for event in events if event.loss is not None]
    return sum(losses) / len(losses) if losses else None


def peak_memory_mb() -> int:
    """The most memory that this process has held, in megabytes.

    Not by getrusage(2): what it tells begins with what the parent held when it started this.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (peak,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(peak.split()[1]) // 1024


def settled_precision(wanted: str) -> str:
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
