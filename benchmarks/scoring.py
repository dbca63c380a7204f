"""How fast a million transcripts are scored, beside jiwer and NIST's sclite.

    python -m benchmarks.scoring            # about 10 minutes on 2 cores
    python -m benchmarks.scoring --quick    # seconds, and no figures to quote

The transcripts are real: 211 telephone prompts with what two models heard (`data/`). That is too
few and too repetitive to be fair, so 3 to 6 random ones (seeded) are joined to an utterance, as in
a call through several menus: 30 words on average, and 98 % of the references differ from all
others. Twenty utterances are a group: a million fall into 50,000. All texts are normalised before
anything is timed, so that both sides are given the same and no normaliser is part of the figures.

- Word and character errors of one model by `score`, and by jiwer's `process_words` and
  `process_characters`; hits, substitutions, deletions and insertions must be equal. On the smaller
  set in turn, three times, medians. On the larger one once, each in a process of its own. jiwer is
  given slices of 100,000: all at once it is slower and takes gigabytes.
- Both models on the larger set, word and character errors, and every significance test, beside
  jiwer's `wer` alone for one model.
- sclite on the smaller set. It pays 4 for a substitution and 3 for an insertion or a deletion,
  where the fewest errors count 1 each, so that it may find a few more.

The last line is JSON. `speedup_vs_jiwer` is of the smaller set, `speedup_vs_jiwer_million` of the
larger. `million_with_significance_vs_jiwer_wer` is jiwer's seconds over ours: above 1, scoring two
models with all tests takes less time than jiwer takes for the WER of one. `peak_mb` is the most
memory that our process took for that, its texts (about 650 MB) included.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from misheard.scoring.alignment import ErrorCounts
from misheard.scoring.bootstrap import paired_bootstrap
from misheard.scoring.mapsswe import mapsswe
from misheard.scoring.matched_pairs import matched_pairs
from misheard.scoring.normalize import normalizer
from misheard.scoring.permutation import permutation_test
from misheard.scoring.score import Score, score

TRANSCRIPTS = Path(__file__).with_name("data") / "phone_transcripts.jsonl"
AS_GIVEN = normalizer("none")
SLICE = 100_000
"""Pairs that jiwer is given at a time."""
GROUP_SIZE = 20
ROUNDS = 3
SMALL, LARGE = 100_000, 1_000_000
QUICK_SMALL, QUICK_LARGE = 1_000, 4_000

T = TypeVar("T")
Counts = list[int]
"""Hits, substitutions, deletions, insertions."""


@dataclass(frozen=True, kw_only=True)
class Calls:
    """Utterances with what two models heard, and the call that each belongs to."""

    references: list[str]
    baseline: list[str]
    candidate: list[str]
    groups: list[str]

    def slices(self) -> Iterator[tuple[list[str], list[str]]]:
        """References and what the baseline heard, `SLICE` at a time."""
        for first in range(0, len(self.references), SLICE):
            chosen = slice(first, first + SLICE)
            yield self.references[chosen], self.baseline[chosen]


def make_calls(utterances: int) -> Calls:
    """The same ones for the same number."""
    clean = normalizer("whisper-english")
    with TRANSCRIPTS.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    sides = [[clean(row[side]) for row in rows] for side in ("reference", "baseline", "candidate")]
    random = np.random.default_rng(0)
    joined: tuple[list[str], list[str], list[str]] = ([], [], [])
    for size in random.integers(3, 7, utterances):
        prompts = random.integers(0, len(rows), size).tolist()
        for into, side in zip(joined, sides, strict=True):
            into.append(" ".join(filter(None, [side[prompt] for prompt in prompts])))
    names = [f"call-{number}" for number in range(max(1, utterances // GROUP_SIZE))]
    return Calls(
        references=joined[0],
        baseline=joined[1],
        candidate=joined[2],
        groups=[names[at] for at in random.integers(0, len(names), utterances).tolist()],
    )


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Seconds, and what came of it."""
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found


def our_score(references: list[str], hypotheses: list[str]) -> Score:
    """Word and character errors."""
    return score(references, hypotheses, normalizer=AS_GIVEN)


def our_counts(counts: ErrorCounts) -> Counts:
    """Sums over all utterances."""
    columns = (counts.hits, counts.substitutions, counts.deletions, counts.insertions)
    return [int(column.sum()) for column in columns]


def jiwer_counts(calls: Calls) -> list[Counts]:
    """Word and character errors by jiwer, as `our_counts` sums them."""
    import jiwer  # noqa: PLC0415 - our own process is measured without it

    sums = np.zeros((2, 4), np.int64)
    found: Any
    for pairs in calls.slices():
        for row, found in enumerate(
            (jiwer.process_words(*pairs), jiwer.process_characters(*pairs))
        ):
            sums[row] += (found.hits, found.substitutions, found.deletions, found.insertions)
    return sums.tolist()


def small_against_jiwer(calls: Calls) -> dict[str, float]:
    """Both in turn; the figures must be equal."""
    ours, theirs = [], []
    for _ in range(ROUNDS):
        seconds, scored = timed(lambda: our_score(calls.references, calls.baseline))
        ours.append(seconds)
        seconds, counted = timed(lambda: jiwer_counts(calls))
        theirs.append(seconds)
        assert counted == [our_counts(scored.words), our_counts(scored.characters)]
    return {"small_s": statistics.median(ours), "small_jiwer_s": statistics.median(theirs)}


def small_against_sclite(calls: Calls) -> dict[str, float | None]:
    """Its seconds and its WER; None where it is not installed."""
    command = ["sclite"] if shutil.which("sclite") else ["sctk", "sclite"]
    if not shutil.which(command[0]):
        return {"sclite_s": None, "sclite_wer": None}
    with tempfile.TemporaryDirectory() as folder:
        for name, texts in (("ref", calls.references), ("hyp", calls.baseline)):
            lines = (f"{text} (all_{number})\n" for number, text in enumerate(texts))
            (Path(folder) / f"{name}.trn").write_text("".join(lines), encoding="utf-8")
        inputs = ["-r", "ref.trn", "trn", "-h", "hyp.trn", "trn"]
        arguments = [*inputs, "-i", "spu_id", "-o", "rsum", "stdout"]
        seconds, done = timed(
            lambda: subprocess.run(
                [*command, *arguments], cwd=folder, check=True, capture_output=True, text=True
            )
        )
    # | Sum | utterances words | right substituted deleted inserted errors wrong utterances |
    total = re.search(r"\| Sum .*", done.stdout)
    assert total, done.stdout
    _, words, _, _, _, _, errors, _ = (int(number) for number in re.findall(r"\d+", total[0]))
    return {"sclite_s": seconds, "sclite_wer": errors / words}


def our_million(calls: Calls) -> dict[str, Any]:
    """Both models with every test; seconds of each step, and the figures."""
    texts = (calls.references, calls.baseline, calls.candidate)
    baseline_s, baseline = timed(lambda: our_score(texts[0], texts[1]))
    candidate_s, candidate = timed(lambda: our_score(texts[0], texts[2]))
    before, after = baseline.words.errors, candidate.words.errors
    length = baseline.words.reference_length
    steps: dict[str, Callable[[], Any]] = {
        "matched_pairs": lambda: matched_pairs(before, after),
        "mapsswe": lambda: mapsswe(*texts),
        "bootstrap": lambda: paired_bootstrap(before, after, length, calls.groups),
        "permutation": lambda: permutation_test(before, after, calls.groups),
    }
    seconds = {name: timed(step)[0] for name, step in steps.items()}
    return {
        "score_s": baseline_s,
        "score_both_s": baseline_s + candidate_s,
        **{f"{name}_s": figure for name, figure in seconds.items()},
        "all_s": baseline_s + candidate_s + sum(seconds.values()),
        "wer": [baseline.wer, candidate.wer],
        "counts": [our_counts(baseline.words), our_counts(baseline.characters)],
        # Linux counts in KiB.
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
    }


def jiwer_million(calls: Calls) -> dict[str, Any]:
    """The same figures of one model, and its `wer` alone."""
    import jiwer  # noqa: PLC0415 - our own process is measured without it

    wer_s, _ = timed(lambda: [jiwer.wer(*pairs) for pairs in calls.slices()])
    counts_s, counts = timed(lambda: jiwer_counts(calls))
    return {"wer_s": wer_s, "counts_s": counts_s, "counts": counts}


PARTS = {"ours": our_million, "jiwer": jiwer_million}


def in_own_process(part: str, utterances: int) -> dict[str, Any]:
    """What `PARTS[part]` finds where nothing else is in memory."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scoring", "--part", part, str(utterances)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(small: int, large: int) -> dict[str, Any]:
    """Everything, as the last line shows it."""
    calls = make_calls(small)
    against_jiwer = small_against_jiwer(calls)
    against_sclite = small_against_sclite(calls)
    wer = our_score(calls.references, calls.baseline).wer
    del calls
    ours, theirs = (in_own_process(part, large) for part in PARTS)
    assert ours.pop("counts") == theirs["counts"]
    return {
        "speedup_vs_jiwer": against_jiwer["small_jiwer_s"] / against_jiwer["small_s"],
        "million_with_significance_vs_jiwer_wer": theirs["wer_s"] / ours["all_s"],
        "peak_mb": ours.pop("peak_mb"),
        "speedup_vs_jiwer_million": theirs["counts_s"] / ours["score_s"],
        "small_pairs": small,
        **against_jiwer,
        "small_wer": wer,
        **against_sclite,
        "large_pairs": large,
        **{f"large_{name}": figure for name, figure in ours.items()},
        "large_jiwer_s": theirs["counts_s"],
        "large_jiwer_wer_s": theirs["wer_s"],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Scoring beside jiwer and sclite.")
    parser.add_argument("--quick", action="store_true", help="thousands of pairs, not a million")
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.part:
        part, utterances = asked.part
        print(json.dumps(PARTS[part](make_calls(int(utterances)))))
        return
    figures = measure(*((QUICK_SMALL, QUICK_LARGE) if asked.quick else (SMALL, LARGE)))
    figures = json.loads(json.dumps(figures), parse_float=lambda number: round(float(number), 4))
    for name, value in figures.items():
        print(f"{name:>39}  {value}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
