"""The phone prompts as a training job sees them, and jobs on them: shared by the benchmarks."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from misheard import audio
from misheard.datasets.split import Split
from misheard.demo.phone_prompts import Prompt, read_prompts, read_samples
from misheard.finetune.backends.local import LocalBackend
from misheard.finetune.events import read_events
from misheard.finetune.order import Order
from misheard.finetune.paths import JobPaths
from misheard.finetune.recipe import Recipe
from misheard.scoring.normalize import normalizer
from misheard.scoring.score import Score, score
from misheard.speech.sources import DEFAULT_MODEL, served_directory

NORMALIZER = "whisper-english"
LONGEST_S = 30.0
err = Console(stderr=True, highlight=False)


def prompts_of(
    split: Split, *, most: int | None = None, longest_s: float = LONGEST_S
) -> list[Prompt]:
    """The prompts of a split of up to `longest_s` seconds; `most` of them, spread over all."""
    found = [one for one in read_prompts() if one.split is split and one.duration_s <= longest_s]
    return found if most is None else found[:: max(1, len(found) // most)][:most]


def clips_of(prompts: Sequence[Prompt]) -> list[audio.Audio]:
    """Their audio, decoded."""
    return [audio.decode(sample.data, name=sample.name) for sample in read_samples(list(prompts))]


def scored(prompts: Sequence[Prompt], texts: Sequence[str]) -> Score:
    """`texts` against what was said."""
    references = [prompt.reference for prompt in prompts]
    return score(references, list(texts), normalizer=normalizer(NORMALIZER))


def prepare(
    root: Path, recipe: Recipe, *, most: int | None = None, validate: bool = True
) -> JobPaths:
    """The files of a job on training and validation prompts, as `Jobs` would write them."""
    paths = JobPaths(root)
    shutil.rmtree(root, ignore_errors=True)
    (paths.data / "audio").mkdir(parents=True)
    for split in (Split.TRAIN, Split.VALIDATION):
        chosen = prompts_of(split, most=most) if validate or split is Split.TRAIN else []
        lines = []
        for prompt, sample in zip(chosen, read_samples(chosen), strict=True):
            name = f"audio/{prompt.sha256}"
            (paths.data / name).write_bytes(sample.data)
            row = {"audio_path": name, "reference": prompt.reference, "kind": "error"}
            lines.append(json.dumps(row) + "\n")
        (paths.data / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")
    with served_directory(DEFAULT_MODEL) as base:
        paths.base.symlink_to(base)
    order = Order(
        base_name=DEFAULT_MODEL,
        dataset_id="phone prompts",
        normalizer=NORMALIZER,
        language="en",
        recipe=recipe,
    )
    order.write(paths.order)
    return paths


def train(
    root: Path,
    recipe: Recipe,
    *,
    most: int | None = None,
    validate: bool = True,
) -> JobPaths:
    """Run a job in a process of its own, as `misheard` does, with a bar; its files."""
    paths = prepare(root, recipe, most=most, validate=validate)
    backend = LocalBackend()
    backend.start(paths)
    with Progress(console=err) as progress:
        task = progress.add_task("training", total=None)
        while not backend.state(paths).is_final:
            told = [event for event in read_events(paths.events) if event.steps]
            if told:
                progress.update(
                    task,
                    total=told[-1].steps,
                    completed=told[-1].step,
                    description=told[-1].phase,
                )
            progress.refresh()
            time.sleep(1.0)
    if not paths.result.exists():
        raise SystemExit(paths.log.read_text(encoding="utf-8"))
    return paths
