"""The first gate: is the candidate better than what is live, on speech that neither has seen?"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, func, insert, select

from misheard.blobs.store import BlobStore
from misheard.database.engine import new_id, now, writing
from misheard.database.schema import validations
from misheard.datasets.datasets import Dataset, Datasets
from misheard.errors import BadInputError, UnknownIdError
from misheard.gates.comparison import DEGRADATION, Comparison, Pairing, pair
from misheard.gates.contender import Contender, Transcribe, from_function, from_version
from misheard.gates.hypotheses import Hypotheses
from misheard.gates.verdict import Verdict, from_columns, to_columns
from misheard.speech.transcriber import Progress, no_progress

# Far below what one error changes in any rate, far above what floats lose.
_ROUNDING = 1e-12


@dataclass(frozen=True, kw_only=True)
class ValidationRules:
    """What a candidate must show, as configured; rates are absolute."""

    min_wer_improvement: float
    """Baseline WER minus candidate WER must be above it."""
    min_cer_improvement: float
    """Baseline CER minus candidate CER must not be below it."""
    require_significance: bool
    alpha: float
    """Level of the test of the whole set, and of those of all slices together."""
    max_wer_degradation_rate: float
    """Share of utterances whose own WER may rise by more than `comparison.DEGRADATION`."""
    require_no_major_degradation: bool
    """No slice may be worse by more than chance."""


@dataclass(frozen=True, kw_only=True)
class Validation:
    """A candidate that was compared with a baseline."""

    id: str
    created_at: datetime
    candidate_id: str
    baseline_id: str
    dataset_id: str
    set_name: str
    """What the set is called where figures are shown."""
    verdict: Verdict
    comparison: Comparison
    utterances_sha256: str = ""
    """Blob of JSON lines: every utterance with both texts and both counts of errors."""


@dataclass(frozen=True, kw_only=True)
class ValidationCounts:
    """How often the gate was passed."""

    passed: int
    failed: int


def judge(comparison: Comparison, rules: ValidationRules) -> Verdict:
    """Decide from the figures alone; each rule that is not kept is a failure of its own."""
    return Verdict.of(_findings(comparison, rules))


def _findings(comparison: Comparison, rules: ValidationRules) -> Iterable[tuple[bool, str]]:
    before, after = comparison.baseline, comparison.candidate
    gain = before.wer - after.wer
    # The comparisons with NaN are written so that a set without words is refused.
    better = gain > rules.min_wer_improvement + _ROUNDING
    yield (
        better,
        f"WER {before.wer:.2%} → {after.wer:.2%} on {comparison.words} words, "
        + ("an improvement of" if better else "no improvement of more than")
        + (f" {gain:.2%}" if better else f" {rules.min_wer_improvement:.2%}"),
    )
    if rules.require_significance:
        significant = comparison.p_value < rules.alpha
        verb = "is" if significant else "is not"
        yield significant, f"p = {comparison.p_value:.2g} {verb} below {rules.alpha:g}"
    enough = before.cer - after.cer >= rules.min_cer_improvement - _ROUNDING
    short = "" if enough else f", no improvement of at least {rules.min_cer_improvement:.2%}"
    yield enough, f"CER {before.cer:.2%} → {after.cer:.2%}{short}"
    degraded = comparison.degraded
    few = degraded <= rules.max_wer_degradation_rate * comparison.utterances + _ROUNDING
    yield (
        few,
        f"WER rises by more than {DEGRADATION:g} on {degraded} of {comparison.utterances} "
        f"utterances" + ("" if few else f", more than {rules.max_wer_degradation_rate:.2%}"),
    )
    if rules.require_no_major_degradation:
        worse = [
            f"{one.name} ({one.baseline_errors} → {one.candidate_errors} word errors "
            f"in {one.words} words)"
            for one in comparison.slices
            if one.worse
        ]
        tested = sum(one.p_value is not None for one in comparison.slices)
        if worse:
            yield False, f"worse by more than chance on {', '.join(worse)}"
        elif tested:
            yield True, f"none of {tested} slices is worse by more than chance"


class Validations:
    """Runs the gate and keeps its verdicts."""

    def __init__(
        self,
        engine: Engine,
        datasets: Datasets,
        hypotheses: Hypotheses,
        *,
        blobs: BlobStore,
        rules: ValidationRules,
        normalizer_name: str,
        replicates: int,
    ) -> None:
        self._engine = engine
        self._datasets = datasets
        self._hypotheses = hypotheses
        self._blobs = blobs
        self._rules = rules
        self._normalizer_name = normalizer_name
        self._replicates = replicates

    def contender(
        self,
        name: str,
        function: Transcribe,
        *,
        paths: Mapping[str, Path] | None = None,
        arrays: Mapping[str, Any] | None = None,
    ) -> Contender:
        """A plain function as one side of a comparison; see `contender.from_function`."""
        return from_function(name, function, self._blobs, paths=paths, arrays=arrays)

    def compare(
        self,
        candidate: str | Contender,
        baseline: str | Contender,
        dataset: Dataset,
        *,
        progress: Progress = no_progress,
    ) -> Comparison:
        """Both sides (ids of versions, or contenders) on `dataset`, without a verdict."""
        return self._measured(self._pair(candidate, baseline, dataset, progress))

    def run(
        self,
        candidate: str | Contender,
        baseline: str | Contender,
        dataset: Dataset,
        *,
        validation_id: str | None = None,
        set_name: str | None = None,
        progress: Progress = no_progress,
    ) -> Validation:
        """Compare, judge, and keep the verdict; a known id gives the verdict that is kept.

        `set_name` is what the set is called in the figures; by default the dataset's own name.
        """
        if validation_id is not None and (known := self._find(validation_id)) is not None:
            return known
        paired = self._pair(candidate, baseline, dataset, progress)
        comparison = self._measured(paired)
        lines = [json.dumps(one, ensure_ascii=False) + "\n" for one in paired.utterances()]
        made = Validation(
            id=validation_id or new_id("val"),
            created_at=now(),
            candidate_id=id_of(candidate),
            baseline_id=id_of(baseline),
            dataset_id=dataset.id,
            set_name=dataset.name if set_name is None else set_name,
            verdict=judge(comparison, self._rules),
            comparison=comparison,
            utterances_sha256=self._blobs.put_bytes("".join(lines).encode()),
        )
        with writing(self._engine) as connection:
            connection.execute(insert(validations).values(**to_columns(made)))
        return made

    def utterances(self, validation: Validation) -> list[dict[str, Any]]:
        """Every utterance of a validation with both texts and both counts of word errors.

        Keys: audio_sha256, reference, words, baseline, candidate, baseline_errors,
        candidate_errors, speaker_group, duration_s; baseline_error and candidate_error say why a
        transcriber failed there. Empty for a validation that was kept without them.
        """
        if not validation.utterances_sha256:
            return []
        text = self._blobs.get_bytes(validation.utterances_sha256).decode()
        return [json.loads(line) for line in text.split("\n") if line]

    def get(self, validation_id: str) -> Validation:
        """A verdict by its id."""
        found = self._find(validation_id)
        if found is None:
            raise UnknownIdError(f"There is no validation '{validation_id}'.")
        return found

    def latest_of(self, candidate_id: str) -> Validation | None:
        """The newest verdict on a candidate."""
        return next(iter(self.listed(limit=1, candidate_id=candidate_id)), None)

    def listed(self, *, limit: int = 20, candidate_id: str | None = None) -> list[Validation]:
        """The newest verdicts, newest first."""
        query = select(validations).order_by(
            validations.c.created_at.desc(), validations.c.id.desc()
        )
        if candidate_id is not None:
            query = query.where(validations.c.candidate_id == candidate_id)
        with self._engine.connect() as connection:
            rows = connection.execute(query.limit(limit)).mappings()
            return [Validation(**from_columns(dict(row))) for row in rows]

    def counts(self) -> ValidationCounts:
        """How many verdicts of each kind are kept."""
        query = select(validations.c.passed, func.count()).group_by(validations.c.passed)
        with self._engine.connect() as connection:
            by_verdict = {bool(passed): times for passed, times in connection.execute(query)}
        return ValidationCounts(passed=by_verdict.get(True, 0), failed=by_verdict.get(False, 0))

    def best(self, metric: str = "wer", *, only_passed: bool = True) -> Validation | None:
        """The verdict whose candidate has the lowest rate, wer or cer; the newest of equals.

        All sets are in one list: rates on different sets do not say which version is better.
        """
        if metric not in ("wer", "cer"):
            raise BadInputError(f"There is no metric '{metric}'. Known: wer, cer.")
        rate = validations.c.figures[("candidate", metric)].as_float()
        query = select(validations).where(rate.is_not(None))
        if only_passed:
            query = query.where(validations.c.passed)
        query = query.order_by(rate, validations.c.created_at.desc()).limit(1)
        with self._engine.connect() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return Validation(**from_columns(dict(row))) if row is not None else None

    def _pair(
        self,
        candidate: str | Contender,
        baseline: str | Contender,
        dataset: Dataset,
        progress: Progress,
    ) -> Pairing:
        rows = self._datasets.test_rows(dataset)
        before, after = (
            self._contender(side).hypothesise(rows, progress) for side in (baseline, candidate)
        )
        return pair(rows, before, after, normalizer_name=self._normalizer_name)

    def _measured(self, paired: Pairing) -> Comparison:
        return paired.compare(replicates=self._replicates, alpha=self._rules.alpha)

    def _contender(self, side: str | Contender) -> Contender:
        return from_version(side, self._hypotheses) if isinstance(side, str) else side

    def _find(self, validation_id: str) -> Validation | None:
        with self._engine.connect() as connection:
            query = select(validations).where(validations.c.id == validation_id)
            row = connection.execute(query).mappings().one_or_none()
        return Validation(**from_columns(dict(row))) if row is not None else None


def id_of(side: str | Contender) -> str:
    """What the rows call a side."""
    return side if isinstance(side, str) else side.id
