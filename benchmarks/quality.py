"""How much better the default recipe makes the model, over several seeds.

    python -m benchmarks.quality              # three seeds: about 20 minutes on 2 cores
    python -m benchmarks.quality --seeds 1

Each seed is a job as `misheard` runs it, on the training and validation prompts; settings were
chosen on those alone. What is judged is the artefact that would be served, in int8, on the test
split up to 30 s, against OpenAI's tiny.en in its 30 s. The p-value is the exact test that swaps
whole menus (`docs/significance.md`).

The last line is JSON: for each seed `errors`, `reduction`, `p_value`, `silent_with_text`,
`seconds` (of the whole job) and `share` (of new weights); and over all of them `errors_base`,
`words`, `reduction_mean`, `reduction_min`, `reduction_max`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.phone import clips_of, err, prompts_of, scored, train
from misheard.datasets.split import Split
from misheard.finetune.recipe import Recipe
from misheard.scoring.permutation import permutation_test
from misheard.speech.sources import DEFAULT_MODEL, served_directory
from misheard.speech.whisper import WhisperTranscriber


def measure(seeds: int, epochs: int, most: int | None, keep: Path | None) -> dict[str, Any]:
    """Train with each seed, judge, and put the models into `keep`."""
    prompts = prompts_of(Split.TEST, most=most)
    clips = clips_of(prompts)

    def heard_by(directory: Path) -> list[str]:
        return [one.text for one in WhisperTranscriber(directory).transcribe(clips)]

    with served_directory(DEFAULT_MODEL) as directory:
        base = scored(prompts, heard_by(directory))
    base_errors, words = int(base.words.errors.sum()), int(base.words.reference_length.sum())
    print(f"tiny.en, 30 s: {base_errors} word errors in {words} words ({base.wer:.2%})")
    rows: list[dict[str, Any]] = []
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            paths = train(Path(folder) / "job", Recipe(seed=seed, epochs=epochs), most=most)
            spent_s = time.perf_counter() - started
            result = json.loads(paths.result.read_text(encoding="utf-8"))
            texts = heard_by(paths.model)
            if keep is not None:
                shutil.copytree(paths.model, keep / f"seed-{seed}")
        made = scored(prompts, texts)
        errors = int(made.words.errors.sum())
        test = permutation_test(
            base.words.errors, made.words.errors, [prompt.group for prompt in prompts]
        )
        silent = sum(bool(t) for t, p in zip(texts, prompts, strict=True) if not p.reference)
        rows.append(
            {
                "seed": seed,
                "errors": errors,
                "wer": round(made.wer, 4),
                "cer": round(made.cer, 4),
                "reduction": round(1 - errors / base_errors, 4),
                "p_value": test.p_value,
                "silent_with_text": silent,
                "seconds": round(spent_s),
                "share": result["share"],
                "best_epoch": result["best_epoch"],
                "checked": result["checked"],
                "peak_memory_mb": result["peak_memory_mb"],
            }
        )
        err.print(json.dumps(result["validation_wer"]))
        err.print(json.dumps(result["sweep"]))
        print(
            f"seed {seed}: {errors} word errors ({made.wer:.2%}), {1 - errors / base_errors:.0%} "
            f"fewer, p = {test.p_value:.2g}, {silent} of "
            f"{sum(not p.reference for p in prompts)} clips without speech were given words, "
            f"{spent_s / 60:.1f} minutes"
        )
    reductions = [row["reduction"] for row in rows]
    return {
        "errors_base": base_errors,
        "words": words,
        "reduction_mean": round(statistics.mean(reductions), 4),
        "reduction_min": min(reductions),
        "reduction_max": max(reductions),
        "seeds": rows,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=Recipe().epochs)
    parser.add_argument("--clips", type=int, help="only so many clips of each split")
    parser.add_argument("--keep", type=Path, help="where to put the models (seed-0, …)")
    given = parser.parse_args()
    print(json.dumps(measure(given.seeds, given.epochs, given.clips, given.keep)))


if __name__ == "__main__":
    main()
