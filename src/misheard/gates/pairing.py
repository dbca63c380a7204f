"""Score two versions on the same rows, and test the difference. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from misheard.datasets.manifest import Row
from misheard.gates.comparison import Comparison, Side
from misheard.gates.hypotheses import Hypothesis
from misheard.gates.plain import without_nan
from misheard.gates.slices import slices
from misheard.scoring.alignment import ErrorCounts
from misheard.scoring.confusions import errors_by_type
from misheard.scoring.normalize import Normalizer
from misheard.scoring.score import Score, score
from misheard.scoring.significance import (
    Interval,
    mapsswe,
    paired_bootstrap,
    permutation_test,
)
from misheard.tags import MUST_PASS

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST = 20
"""Words of each kind of error that are kept."""

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
class Pairing:
    """Two sides scored on the same rows; the lists and arrays have one entry a row."""

    rows: Sequence[Row]
    baseline: Sequence[Hypothesis]
    candidate: Sequence[Hypothesis]
    before: Score
    after: Score
    normalizer: Normalizer

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
                "tags": dict(row.tags),
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

    def compare(
        self, *, replicates: int, alpha: float, slice_limits: Mapping[str, float] | None = None
    ) -> Comparison:
        """Rates and intervals, the tests of the difference, and the slices at level `alpha`."""
        words = self.before.words.reference_length
        before, after = self.before.words.errors, self.after.words.errors
        groups = [row.speaker_group for row in self.rows]
        test = permutation_test(before, after, groups)
        intervals = paired_bootstrap(before, after, words, groups, replicates=replicates)
        nist = mapsswe(*self._texts())
        utterances = self.utterances()
        return Comparison(
            utterances=len(self.rows),
            words=int(words.sum()),
            silent=int(self.before.silent.sum()),
            audio_s=round(sum(row.duration_s for row in self.rows), 3),
            normalizer=self.before.normalizer,
            baseline=self._side(self.before, intervals.baseline, self.baseline),
            candidate=self._side(self.after, intervals.candidate, self.candidate),
            reduction_interval=intervals.reduction,
            reduction_se=intervals.standard_error,
            p_value=test.p_value,
            exact=test.exact,
            blocks=intervals.blocks,
            mapsswe_p=nist.p_value,
            segments=nist.segments,
            changed=tuple(
                {key: one[key] for key in _CHANGED} | self._as_compared(one)
                for one in utterances
                if one["baseline_errors"] != one["candidate_errors"]
            ),
            slices=slices(self.rows, before, after, words, alpha=alpha, limits=slice_limits or {}),
            **self._must_pass(utterances),
        )

    def _texts(self) -> tuple[list[str], list[str], list[str]]:
        """References and both sides, as they are compared."""
        return (
            [self.normalizer(row.reference) for row in self.rows],
            [self.normalizer(one.text) for one in self.baseline],
            [self.normalizer(one.text) for one in self.candidate],
        )

    def _as_compared(self, one: dict[str, Any]) -> dict[str, str]:
        keys = ("reference", "baseline", "candidate")
        return {f"{key}_words": self.normalizer(one[key]) for key in keys}

    def _must_pass(self, utterances: Sequence[dict[str, Any]]) -> dict[str, Any]:
        held = [one for one in utterances if one["tags"].get(MUST_PASS, "").lower() == "true"]
        missed = [one for one in held if one["candidate_errors"]]
        return {
            "must_pass": len(held),
            "missed": tuple({key: one[key] for key in _CHANGED} for one in missed),
        }

    def _side(self, scored: Score, interval: Interval, heard: Sequence[Hypothesis]) -> Side:
        words = scored.words
        audible = [
            (one.compute_s, row.duration_s)
            for one, row in zip(heard, self.rows, strict=True)
            if one.error is None
        ]
        audible_s = sum(duration_s for _, duration_s in audible)
        found = errors_by_type(
            [row.reference for row in self.rows],
            [one.text for one in heard],
            normalizer=self.normalizer,
        )
        return Side(
            wer=scored.wer,
            cer=scored.cer,
            mer=scored.mer,
            wil=scored.wil,
            errors=int(words.errors.sum()),
            substitutions=int(words.substitutions.sum()),
            deletions=int(words.deletions.sum()),
            insertions=int(words.insertions.sum()),
            wer_interval=interval,
            silent_with_text=int((words.insertions[scored.silent] > 0).sum()),
            compute_s=sum(hypothesis.compute_s for hypothesis in heard),
            real_time_factor=(
                sum(compute_s for compute_s, _ in audible) / audible_s if audible_s else math.nan
            ),
            failed=sum(hypothesis.error is not None for hypothesis in heard),
            formatting_only=found.formatting_only,
            confusions=without_nan(found.most(MOST).to_dict()),
        )


def pair(
    rows: Sequence[Row],
    baseline: Sequence[Hypothesis],
    candidate: Sequence[Hypothesis],
    *,
    normalizer: Normalizer,
) -> Pairing:
    """Score both sides on `rows`; an utterance that a side has failed on is fully wrong for it."""
    references = [row.reference for row in rows]
    before, after = (
        score(references, [one.text for one in side], normalizer=normalizer)
        for side in (baseline, candidate)
    )
    before = _with_failures(before, baseline, None)
    return Pairing(
        rows=rows,
        baseline=baseline,
        candidate=candidate,
        before=before,
        after=_with_failures(after, candidate, before),
        normalizer=normalizer,
    )


def _with_failures(scored: Score, side: Sequence[Hypothesis], other: Score | None) -> Score:
    """The score with every failed utterance fully wrong.

    A failure has no text, so all that was spoken is missing; on silence that would be right, so it
    counts as a word that nobody spoke. A candidate's failure is no better than what it is compared
    with (`other`): else it could win by failing wherever the live version babbles.
    """
    failed = np.array([one.error is not None for one in side], bool)
    if not failed.any():
        return scored
    return replace(
        scored,
        words=_wrong(scored.words, failed, other.words.errors if other else None),
        characters=_wrong(scored.characters, failed, other.characters.errors if other else None),
    )


def _wrong(
    counts: ErrorCounts, failed: NDArray[np.bool_], at_least: NDArray[np.int64] | None
) -> ErrorCounts:
    least = np.maximum(counts.reference_length, 1)
    if at_least is not None:
        least = np.maximum(least, at_least)
    missing = np.where(failed, np.maximum(least - counts.errors, 0), 0)
    return replace(counts, insertions=counts.insertions + missing)
