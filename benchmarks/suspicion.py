"""How many wrong transcripts somebody finds who reviews the most suspicious ones first.

    python -m benchmarks.suspicion                     # about 3 minutes on 2 cores
    python -m benchmarks.suspicion --heard heard.json  # keeps what was heard for the next time
    python -m benchmarks.suspicion --plot FILE.svg     # and draws precision against the share

OpenAI's tiny.en hears all telephone prompts up to 30 s in its 30-s window; a transcript is wrong if
it differs from the reference after normalisation. What is judged are those of the test split. The
second model is the one that `misheard demo` made, which was trained on the other splits; what it
heard in the test split is in `data/`, so elsewhere that signal is missing.

- random: whichever; the mean over all orders.
- log-probability: the lowest mean log-probability first, nothing else.
- defaults: the documented weights. They were chosen on training and validation prompts.
- fitted: learnt from the labels of all splits as `misheard suspicion fit` does. Each transcript is
  scored by a model that saw no label of its menu. All ways of ranking are compared by places within
  the five parts that this takes.

The intervals are 95 %, percentiles of 2,000 draws of whole menus. Then the time to score a row, as
a digest does it: 20,000 rows of a SQLite database, 4,000 at once; processor time, the median.

The last line is JSON: `transcripts`, `errors`, `average_precision` and `precision` (at 5, 10 and
20 %) by way of ranking, `gain_over_logprob` (fitted, without the second model, less the
log-probability, and its interval), and `score_us` (microseconds a row).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import select

from benchmarks.phone import NORMALIZER, clips_of, err, prompts_of
from benchmarks.scoring import TRANSCRIPTS
from misheard.blobs.directory import DirectoryBlobs
from misheard.capture.captured import Captured
from misheard.capture.inferences import InferenceLog
from misheard.capture.ranking import SHARES, at_budgets, average_precision
from misheard.capture.signals import Signals, Speeds, signals_of
from misheard.capture.suspicion import DEFAULTS, Floats, features
from misheard.capture.suspicion_fit import Examples, out_of_fold, within_folds
from misheard.capture.suspicions import Suspicions
from misheard.cases.measure import compare
from misheard.database.engine import migrate, open_engine, writing
from misheard.database.schema import inferences
from misheard.datasets.split import Split
from misheard.demo.phone_prompts import Prompt
from misheard.scoring.normalize import normalizer
from misheard.speech.sources import DEFAULT_MODEL, served_directory
from misheard.speech.whisper import WhisperTranscriber

AT = datetime(2026, 1, 1, tzinfo=UTC)
SPEAKER = "Allison Smith"
DRAWS = 2_000
TIMED_ROWS, PORTION, ROUNDS = 20_000, 4_000, 3
Told = list[dict[str, Any]]


def heard_by_tiny(prompts: Sequence[Prompt], kept: Path | None) -> Told:
    """What tiny.en made of each prompt, as its recogniser would tell us."""
    if kept is not None and kept.exists():
        known: Told = json.loads(kept.read_text(encoding="utf-8"))
        return known
    clips = clips_of(prompts)
    with served_directory(DEFAULT_MODEL) as directory:
        transcripts = WhisperTranscriber(directory).transcribe(clips)
    told = [
        {
            "audio": prompt.id,
            "text": one.text,
            "avg_logprob": one.avg_logprob,
            "no_speech_prob": one.no_speech_prob,
            "compression_ratio": one.compression_ratio,
            "duration_s": clip.duration_s,
            "speaker": SPEAKER,
            "speaker_group": prompt.group,
        }
        for prompt, clip, one in zip(prompts, clips, transcripts, strict=True)
    ]
    if kept is not None:
        kept.write_text(json.dumps(told), encoding="utf-8")
    return told


def second_texts(prompts: Sequence[Prompt]) -> list[str | None]:
    """What the demo's model heard, by menu and words; None outside the test split."""
    known: dict[tuple[str, str], list[str]] = defaultdict(list)
    for line in TRANSCRIPTS.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        known[row["group"], row["reference"]].append(row["candidate"])
    made: list[str | None] = []
    for prompt in prompts:
        texts = known.get((prompt.group, prompt.reference))
        # Prompts without words share menu and reference: one by one, in the order of the file.
        made.append(texts.pop(0) if texts and prompt.split is Split.TEST else None)
    return made


def captured(told: Told, second: Sequence[str | None]) -> list[Captured]:
    """As they would be logged."""
    return [
        Captured(heard_at=AT, second_text=other, **one)
        for one, other in zip(told, second, strict=True)
    ]


def signals(rows: Sequence[Captured]) -> list[Signals]:
    """In their order, the speaker's norm growing as it would in production."""
    speeds, normalize = Speeds({}), normalizer(NORMALIZER)
    return [signals_of(row, speeds.heard, normalize=normalize) for row in rows]


def examples_of(prompts: Sequence[Prompt], rows: Sequence[Captured]) -> Examples:
    """With the labels that a person would give."""
    normalize = normalizer(NORMALIZER)
    wrong = [
        bool(compare(row.text, prompt.reference, normalize=normalize).types)
        for row, prompt in zip(rows, prompts, strict=True)
    ]
    return Examples(
        features=features(signals(rows)),
        errors=np.array(wrong, np.bool_),
        weights=np.ones(len(wrong)),
        groups=np.array([prompt.group for prompt in prompts], np.object_),
    )


def rankings(prompts: Sequence[Prompt], told: Told) -> tuple[dict[str, Floats], Examples]:
    """Scores of the test split by each way of ranking, and what is wrong there."""
    second = second_texts(prompts)
    alone = examples_of(prompts, captured(told, [None] * len(told)))
    both = examples_of(prompts, captured(told, second))
    judged = np.array([prompt.split is Split.TEST for prompt in prompts], np.bool_)
    doubt = -np.array([one["avg_logprob"] for one in told])
    scores = {
        "random": np.zeros(len(told)),
        "log-probability": doubt,
        "defaults": DEFAULTS.log_odds(alone.features),
        "fitted": out_of_fold(alone),
        "defaults, second model": DEFAULTS.log_odds(both.features),
        "fitted, second model": out_of_fold(both),
    }
    # All in the same way, so that none has an advantage of it.
    places = {name: within_folds(one, alone)[judged] for name, one in scores.items()}
    return places, alone.part(judged)


def gain(one: Floats, other: Floats, examples: Examples) -> list[float]:
    """Average precision of `one` less that of `other`, and the ends of its interval."""
    names, at = np.unique(examples.groups.astype(str), return_inverse=True)
    random, found = np.random.default_rng(0), []
    for _ in range(DRAWS):
        times = np.bincount(random.integers(0, len(names), len(names)), minlength=len(names))
        weights = times[at].astype(np.float64)
        if weights @ examples.errors:
            found.append(
                average_precision(one, examples.errors, weights)
                - average_precision(other, examples.errors, weights)
            )
    whole = average_precision(one, examples.errors) - average_precision(other, examples.errors)
    return [round(float(value), 3) for value in (whole, *np.percentile(found, [2.5, 97.5]))]


def microseconds_a_row(told: Told) -> float:
    """What a digest pays for it, speakers' norms among it."""
    with tempfile.TemporaryDirectory() as folder:
        engine = open_engine(f"sqlite:///{folder}/misheard.db")
        migrate(engine)
        log = InferenceLog(engine, DirectoryBlobs(Path(folder) / "blobs"))
        items = captured(told, [None] * len(told))
        log.capture((items[n % len(items)] for n in range(TIMED_ROWS)), live="tiny.en")
        suspicions, spent = Suspicions(engine, normalize=normalizer(NORMALIZER)), []
        query = select(inferences).order_by(inferences.c.number)
        with writing(engine) as connection:
            rows = connection.execute(query).all()
            for _ in range(ROUNDS):
                for start in range(0, len(rows), PORTION):
                    some = rows[start : start + PORTION]
                    started = time.process_time()
                    suspicions.score(connection, some)
                    spent.append((time.process_time() - started) / len(some))
        engine.dispose()
    return 1e6 * statistics.median(spent)


def as_table(scores: dict[str, Floats], examples: Examples) -> str:
    """Precision at each share, and recall at the largest, as Markdown."""
    shares = " | ".join(f"{share:.0%}" for share in SHARES)
    lines = [
        f"| first comes | average precision | {shares} | of all errors within {SHARES[-1]:.0%} |",
        "| --- " * (3 + len(SHARES)) + "|",
    ]
    for name, one in scores.items():
        budgets = at_budgets(one, examples.errors)
        cells = [f"{average_precision(one, examples.errors):.3f}"]
        cells += [f"{budget.precision:.0%}" for budget in budgets]
        lines.append(f"| {name} | {' | '.join(cells)} | {budgets[-1].recall:.0%} |")
    return "\n".join(lines)


def plot(scores: dict[str, Floats], examples: Examples, path: Path) -> None:
    """Precision against the share that is reviewed."""
    import matplotlib  # noqa: PLC0415 - only for the picture

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "misheard"
    from matplotlib import pyplot  # noqa: PLC0415 - as above

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    styles: dict[str, dict[str, Any]] = {
        "fitted, second model": {"color": "#0b6e4f", "linewidth": 2.5},
        "fitted": {"color": "#0b6e4f", "linestyle": "--", "linewidth": 2},
        "defaults": {"color": "#3d6fb4"},
        "log-probability": {"color": "#b3541e"},
        "random": {"color": "#888888", "linestyle": ":"},
    }
    shares = np.linspace(0.01, 1.0, 100)
    for name, style in styles.items():
        budgets = at_budgets(scores[name], examples.errors, shares=shares.tolist())
        axes.plot(100 * shares, [100 * one.precision for one in budgets], label=name, **style)
    axes.set(
        xlabel="reviewed, % of all transcripts",
        ylabel="of the reviewed are wrong, %",
        xlim=(0, 100),
        ylim=(0, 102),
    )
    axes.grid(visible=True, alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--heard", type=Path, help="where to keep what tiny.en heard (JSON)")
    parser.add_argument("--plot", type=Path, help="where to draw precision against share (SVG)")
    given = parser.parse_args(arguments)
    prompts = [prompt for split in Split for prompt in prompts_of(split)]
    told = heard_by_tiny(prompts, given.heard)
    scores, examples = rankings(prompts, told)
    err.print(f"{len(prompts)} prompts, {len(examples)} of them judged")
    print(as_table(scores, examples))
    if given.plot is not None:
        plot(scores, examples, given.plot)
    precision = {
        name: [round(one.precision, 3) for one in at_budgets(part, examples.errors)[2:]]
        for name, part in scores.items()
    }
    figures = {
        "transcripts": len(examples),
        "errors": int(examples.errors.sum()),
        "average_precision": {
            name: round(average_precision(one, examples.errors), 3) for name, one in scores.items()
        },
        "precision": precision,
        "gain_over_logprob": gain(scores["fitted"], scores["log-probability"], examples),
        "score_us": round(microseconds_a_row(told), 1),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
