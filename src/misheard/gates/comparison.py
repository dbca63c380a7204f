"""Two versions on the same utterances: rates, intervals, the paired test. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from misheard.datasets.manifest import Row
from misheard.gates.hypotheses import Hypothesis
from misheard.scoring.score import Score, score
from misheard.scoring.significance import (
    Interval,
    MatchedPairs,
    matched_pairs,
    paired_bootstrap,
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
    """Utterances whose number of errors differs: audio, reference, both texts, both counts."""

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

    def to_dict(self) -> dict[str, Any]:
        """For storage; not-a-number becomes None, since JSON has no word for it."""
        values: dict[str, Any] = _without_nan(asdict(self))
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Comparison:
        """Read what `to_dict` wrote."""
        filled = _with_nan(values)
        sides = {
            name: Side(**filled[name] | {"wer_interval": tuple(filled[name]["wer_interval"])})
            for name in ("baseline", "candidate")
        }
        return cls(
            **filled
            | sides
            | {
                "reduction_interval": tuple(filled["reduction_interval"]),
                "changed": tuple(values["changed"]),
            }
        )


def compare(
    rows: Sequence[Row],
    baseline: Sequence[Hypothesis],
    candidate: Sequence[Hypothesis],
    *,
    normalizer_name: str,
    replicates: int,
) -> Comparison:
    """Score both versions on `rows` and test the difference."""
    references = [row.reference for row in rows]
    scores = [
        score(references, [hypothesis.text for hypothesis in side], normalizer_name=normalizer_name)
        for side in (baseline, candidate)
    ]
    before, after = (one.words.errors for one in scores)
    test: MatchedPairs = matched_pairs(before, after)
    intervals = paired_bootstrap(
        before,
        after,
        scores[0].words.reference_length,
        [row.speaker_group for row in rows],
        replicates=replicates,
    )
    return Comparison(
        utterances=len(rows),
        words=int(scores[0].words.reference_length.sum()),
        silent=int(scores[0].silent.sum()),
        audio_s=round(sum(row.duration_s for row in rows), 3),
        normalizer=normalizer_name,
        baseline=_side(scores[0], intervals.baseline, baseline),
        candidate=_side(scores[1], intervals.candidate, candidate),
        reduction_interval=intervals.reduction,
        p_value=test.p_value,
        z=test.z,
        changed=tuple(
            {
                "audio_sha256": rows[i].audio_sha256,
                "reference": rows[i].reference,
                "baseline": baseline[i].text,
                "candidate": candidate[i].text,
                "baseline_errors": int(before[i]),
                "candidate_errors": int(after[i]),
            }
            for i in map(int, np.flatnonzero(before != after))
        ),
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
