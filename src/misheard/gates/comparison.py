"""Two versions on the same utterances: rates, intervals, tests, and what changed. Records only."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from misheard.gates.plain import with_nan, without_nan
from misheard.gates.slices import Slice
from misheard.scoring.normalize import normalizer
from misheard.scoring.significance import Interval

ROUNDING = 1e-12
"""Far below what one error changes in any rate, far above what floats lose."""
DEGRADATION = 0.2
"""An utterance has got worse when its own WER rises by more than this: one word in five."""
UNNOTICED = 0.01
"""Below this share of the audio's own length nobody notices which of two models is slower."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One version in a comparison."""

    wer: float
    cer: float
    mer: float = math.nan
    """Match error rate: the chance that a pair of aligned words is wrong."""
    wil: float = math.nan
    """Share of the word information that is lost."""
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
    real_time_factor: float = math.nan
    """Seconds of compute for a second of audio, over what it could transcribe: who fails is no
    faster for it. NaN where it could transcribe nothing."""
    failed: int = 0
    """Utterances without a transcript; each counts as fully wrong."""
    formatting_only: int = 0
    """Utterances whose text differs from the reference in case, punctuation or spelling alone."""
    confusions: dict[str, Any] = field(default_factory=dict)
    """Which words are confused, inserted and deleted most; see `scoring.confusions`."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A candidate beside a baseline, on the same utterances."""

    utterances: int
    words: int
    silent: int
    audio_s: float
    normalizer: str
    """Name of what both sides and the references went through."""
    baseline: Side
    candidate: Side
    reduction_interval: Interval
    """95 % interval of baseline WER minus candidate WER, by bootstrap over groups."""
    reduction_se: float = math.nan
    """Standard error of that difference, over groups."""
    p_value: float
    """The test that decides: groups swap sides, two-sided. See `significance.permutation_test`."""
    exact: bool = False
    """Whether `p_value` is exact; else by its normal approximation."""
    blocks: int = 0
    """Groups of utterances that move together."""
    mapsswe_p: float = math.nan
    """NIST's matched-pair sentence-segment test, two-sided, for whoever wants to compare."""
    segments: int = 0
    """Segments of that test."""
    changed: tuple[dict[str, Any], ...]
    """Utterances whose number of errors differs: audio, reference and its number of words, both
    texts, both counts, and all three texts as they were compared."""
    slices: tuple[Slice, ...] = ()
    """Parts of the set, each with a test of its own."""
    timed_in_turn: float = math.nan
    """Times that the candidate takes as long as the baseline, both timed in turn in one run; NaN
    where that was not done."""
    must_pass: int = 0
    """Utterances of which a candidate has to get every word right."""
    missed: tuple[dict[str, Any], ...] = ()
    """Those of them that it did not."""

    @property
    def gain(self) -> float:
        """Baseline WER minus candidate WER."""
        return self.baseline.wer - self.candidate.wer

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
    def real_time_factor(self) -> float:
        """Seconds the candidate needs for a second of audio."""
        return self._real_time_factor(self.candidate)

    @property
    def slowdown(self) -> float:
        """Times that the candidate takes as long as the baseline, by the best measure at hand."""
        if not math.isnan(self.timed_in_turn):
            return self.timed_in_turn
        before = self._real_time_factor(self.baseline)
        return self.real_time_factor / before if before else math.nan

    def is_slower_than(self, times: float) -> bool:
        """Whether it takes more than so many times as long, and that is worth a thought."""
        more = self.real_time_factor - self._real_time_factor(self.baseline)
        return more > UNNOTICED and self.slowdown > times

    def _real_time_factor(self, side: Side) -> float:
        """Of all the audio, where it was kept for all of it alone (revision 0001)."""
        if not math.isnan(side.real_time_factor):
            return side.real_time_factor
        return side.compute_s / self.audio_s if self.audio_s else math.nan

    @property
    def degraded(self) -> int:
        """Utterances whose own WER rises by more than `DEGRADATION`."""
        return len(self.worse_by(DEGRADATION))

    @property
    def fixed(self) -> tuple[dict[str, Any], ...]:
        """The utterances that were wrong and are right now."""
        return tuple(row for row in self.changed if not row["candidate_errors"])

    @property
    def broken(self) -> tuple[dict[str, Any], ...]:
        """The utterances that were right and are wrong now."""
        return tuple(row for row in self.changed if not row["baseline_errors"])

    def worse_by(self, threshold: float) -> tuple[dict[str, Any], ...]:
        """The utterances whose own WER rises by more than `threshold`; silence counts as a word."""
        return tuple(row for row in self.changed if _rises(row, threshold))

    def better_by(self, threshold: float) -> tuple[dict[str, Any], ...]:
        """The utterances whose own WER falls by more than `threshold`."""
        return tuple(row for row in self.changed if _rises(row, threshold, sign=-1))

    def to_dict(self) -> dict[str, Any]:
        """For storage; not-a-number becomes None, since JSON has no word for it."""
        values: dict[str, Any] = without_nan(asdict(self))
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Comparison:
        """Read what `to_dict` wrote."""
        rows = {key: values.get(key, ()) for key in ("changed", "slices", "missed")}
        # Revision 0001 kept the statistic of another test.
        apart = {"z", *rows}
        filled = with_nan({key: item for key, item in values.items() if key not in apart})
        sides = {
            name: Side(**filled[name] | {"wer_interval": tuple(filled[name]["wer_interval"])})
            for name in ("baseline", "candidate")
        }
        return cls(
            **filled
            | sides
            | {
                "reduction_interval": tuple(filled["reduction_interval"]),
                "changed": tuple(_completed(row, values["normalizer"]) for row in rows["changed"]),
                "slices": tuple(Slice(**one) for one in rows["slices"]),
                "missed": tuple(rows["missed"]),
            }
        )


def _rises(row: dict[str, Any], threshold: float, *, sign: int = 1) -> bool:
    more = sign * (row["candidate_errors"] - row["baseline_errors"])
    # In whole errors, since 0.1 + 0.2 is not 0.3.
    return bool(more > threshold * max(row["words"], 1) + 1e-9)


def _completed(row: dict[str, Any], normalizer_name: str) -> dict[str, Any]:
    """A row of revision 0001 did not say what was compared; its normaliser is one of ours."""
    if "words" in row and "reference_words" in row:
        return row
    normalize = normalizer(normalizer_name)
    texts = {f"{key}_words": normalize(row[key]) for key in ("reference", "baseline", "candidate")}
    return {"words": len(texts["reference_words"].split())} | row | texts
