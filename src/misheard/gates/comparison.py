"""Two versions on the same utterances: rates, intervals, the paired test. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from misheard.datasets.manifest import Row
from misheard.gates.hypotheses import Hypothesis
from misheard.gates.slices import Slice, SliceKind, slices
from misheard.scoring.normalize import normalizer
from misheard.scoring.score import Score, score
from misheard.scoring.significance import (
    Interval,
    MatchedPairs,
    matched_pairs,
    paired_bootstrap,
)

DEGRADATION = 0.2
"""An utterance has got worse when its own WER rises by more than this: one word in five."""

_CHANGED = (
    "audio_sha256",
    "reference",
    "words",
    "baseline",
    "candidate",
    "baseline_errors",
    "candidate_errors",
)


@dataclass(frozen=True, kw_only=True)
class Side:
    """One version in a comparison."""

    wer: float
    cer: float
    errors: int
    substitutions: int
    deletions: int
    insertions: int
    wer_interval: Interval
    """95 %, by bootstrap over groups."""
    silent_with_text: int
    """Clips in which nobody speaks and that were given words."""
    compute_s: float
    """Time to transcribe all clips."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A candidate beside a baseline, on the same utterances."""

    utterances: int
    words: int
    silent: int
    audio_s: float
    normalizer: str
    baseline: Side
    candidate: Side
    reduction_interval: Interval
    """95 % interval of baseline WER minus candidate WER."""
    p_value: float
    """Matched-pairs test, two-sided."""
    z: float
    changed: tuple[dict[str, Any], ...]
    """Utterances whose number of errors differs: audio, reference and its number of words, both
    texts, both counts."""
    slices: tuple[Slice, ...] = ()
    """Parts of the set, each with a test of its own."""

    @property
    def relative_reduction(self) -> float:
        """Share of the baseline's word errors that the candidate no longer makes."""
        if not self.baseline.errors:
            return 0.0 if not self.candidate.errors else float("-inf")
        return 1 - self.candidate.errors / self.baseline.errors

    @property
    def speedup(self) -> float:
        """How many times faster the candidate transcribed; NaN where no time was measured."""
        if not self.candidate.compute_s:
            return math.nan
        return self.baseline.compute_s / self.candidate.compute_s

    @property
    def degraded(self) -> int:
        """Utterances whose own WER rises by more than `DEGRADATION`."""
        return len(self.worse_by(DEGRADATION))

    def worse_by(self, threshold: float) -> tuple[dict[str, Any], ...]:
        """The utterances whose own WER rises by more than `threshold`; silence counts as a word."""
        return tuple(row for row in self.changed if _rises(row, threshold))

    def better_by(self, threshold: float) -> tuple[dict[str, Any], ...]:
        """The utterances whose own WER falls by more than `threshold`."""
        return tuple(row for row in self.changed if _rises(row, threshold, sign=-1))

    def to_dict(self) -> dict[str, Any]:
        """For storage; not-a-number becomes None, since JSON has no word for it."""
        values: dict[str, Any] = _without_nan(asdict(self))
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Comparison:
        """Read what `to_dict` wrote."""
        filled, normalizer_name = _with_nan(values), values["normalizer"]
        sides = {
            name: Side(**filled[name] | {"wer_interval": tuple(filled[name]["wer_interval"])})
            for name in ("baseline", "candidate")
        }
        return cls(
            **filled
            | sides
            | {
                "reduction_interval": tuple(filled["reduction_interval"]),
                "changed": tuple(_with_words(row, normalizer_name) for row in values["changed"]),
                "slices": tuple(
                    Slice(**one | {"kind": SliceKind(one["kind"])})
                    for one in values.get("slices", ())
                ),
            }
        )


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """Two sides scored on the same rows; the lists and arrays have one entry a row."""

    rows: Sequence[Row]
    baseline: Sequence[Hypothesis]
    candidate: Sequence[Hypothesis]
    before: Score
    after: Score

    def utterances(self) -> list[dict[str, Any]]:
        """Every utterance with both texts and both counts of errors, in the order of the rows."""
        return [
            {
                "audio_sha256": row.audio_sha256,
                "reference": row.reference,
                "words": int(words),
                "baseline": baseline.text,
                "candidate": candidate.text,
                "baseline_errors": int(before),
                "candidate_errors": int(after),
                "speaker_group": row.speaker_group,
                "duration_s": row.duration_s,
            }
            | ({"baseline_error": baseline.error} if baseline.error is not None else {})
            | ({"candidate_error": candidate.error} if candidate.error is not None else {})
            for row, baseline, candidate, words, before, after in zip(
                self.rows,
                self.baseline,
                self.candidate,
                self.before.words.reference_length,
                self.before.words.errors,
                self.after.words.errors,
                strict=True,
            )
        ]

    def compare(self, *, replicates: int, alpha: float) -> Comparison:
        """Rates and intervals, the test of the difference, and the slices at level `alpha`."""
        words = self.before.words.reference_length
        before, after = self.before.words.errors, self.after.words.errors
        test: MatchedPairs = matched_pairs(before, after)
        intervals = paired_bootstrap(
            before,
            after,
            words,
            [row.speaker_group for row in self.rows],
            replicates=replicates,
        )
        return Comparison(
            utterances=len(self.rows),
            words=int(words.sum()),
            silent=int(self.before.silent.sum()),
            audio_s=round(sum(row.duration_s for row in self.rows), 3),
            normalizer=self.before.normalizer,
            baseline=_side(self.before, intervals.baseline, self.baseline),
            candidate=_side(self.after, intervals.candidate, self.candidate),
            reduction_interval=intervals.reduction,
            p_value=test.p_value,
            z=test.z,
            changed=tuple(
                {key: one[key] for key in _CHANGED}
                for one in self.utterances()
                if one["baseline_errors"] != one["candidate_errors"]
            ),
            slices=slices(self.rows, before, after, words, alpha=alpha),
        )


def pair(
    rows: Sequence[Row],
    baseline: Sequence[Hypothesis],
    candidate: Sequence[Hypothesis],
    *,
    normalizer_name: str,
) -> Pairing:
    """Score both sides on `rows`."""
    references = [row.reference for row in rows]
    before, after = (_score(references, side, normalizer_name) for side in (baseline, candidate))
    return Pairing(rows=rows, baseline=baseline, candidate=candidate, before=before, after=after)


def _score(references: list[str], side: Sequence[Hypothesis], normalizer_name: str) -> Score:
    scored = score(references, [one.text for one in side], normalizer_name=normalizer_name)
    # A failure has no text, so all that was spoken is missing. On silence that would be right.
    wrong = np.array([one.error is not None for one in side], bool) & scored.silent
    return replace(
        scored,
        words=replace(scored.words, insertions=scored.words.insertions + wrong),
        characters=replace(scored.characters, insertions=scored.characters.insertions + wrong),
    )


def _side(scored: Score, interval: Interval, hypotheses: Sequence[Hypothesis]) -> Side:
    words = scored.words
    return Side(
        wer=scored.wer,
        cer=scored.cer,
        errors=int(words.errors.sum()),
        substitutions=int(words.substitutions.sum()),
        deletions=int(words.deletions.sum()),
        insertions=int(words.insertions.sum()),
        wer_interval=interval,
        silent_with_text=int((words.insertions[scored.silent] > 0).sum()),
        compute_s=sum(hypothesis.compute_s for hypothesis in hypotheses),
    )


def _rises(row: dict[str, Any], threshold: float, *, sign: int = 1) -> bool:
    more = sign * (row["candidate_errors"] - row["baseline_errors"])
    # In whole errors, since 0.1 + 0.2 is not 0.3.
    return bool(more > threshold * max(row["words"], 1) + 1e-9)


def _with_words(row: dict[str, Any], normalizer_name: str) -> dict[str, Any]:
    """For comparisons that were kept before the number of words was."""
    if "words" in row:
        return row
    return row | {"words": len(normalizer(normalizer_name)(row["reference"]).split())}


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _with_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_nan(item) for item in value]
    return float("nan") if value is None else value
