"""The first gate: is the candidate better than what is live, on speech that neither has seen?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, insert, select

from misheard.database.engine import new_id, now, writing
from misheard.database.schema import validations
from misheard.datasets.datasets import Dataset, Datasets
from misheard.errors import UnknownIdError
from misheard.gates.comparison import Comparison, compare
from misheard.gates.hypotheses import Hypotheses
from misheard.gates.verdict import Verdict, from_columns, to_columns
from misheard.speech.transcriber import Progress, no_progress


@dataclass(frozen=True, kw_only=True)
class ValidationRules:
    """What a candidate must show, as configured."""

    min_wer_improvement: float
    require_significance: bool
    alpha: float


@dataclass(frozen=True, kw_only=True)
class Validation:
    """A candidate that was compared with a baseline."""

    id: str
    created_at: datetime
    candidate_id: str
    baseline_id: str
    dataset_id: str
    verdict: Verdict
    comparison: Comparison


def judge(comparison: Comparison, rules: ValidationRules) -> Verdict:
    """Decide from the figures alone."""
    before, after = comparison.baseline, comparison.candidate
    gain = before.wer - after.wer
    # The comparison with NaN is written so that a set without words is refused.
    better = gain > rules.min_wer_improvement
    reasons = [
        f"WER {before.wer:.2%} → {after.wer:.2%} on {comparison.words} words, "
        + ("an improvement of" if better else "no improvement of more than")
        + (f" {gain:.2%}" if better else f" {rules.min_wer_improvement:.2%}")
    ]
    significant = comparison.p_value < rules.alpha
    if rules.require_significance:
        verb = "is" if significant else "is not"
        reasons.append(f"p = {comparison.p_value:.2g} {verb} below {rules.alpha:g}")
    return Verdict(
        passed=better and (significant or not rules.require_significance), reasons=tuple(reasons)
    )


class Validations:
    """Runs the gate and keeps its verdicts."""

    def __init__(
        self,
        engine: Engine,
        datasets: Datasets,
        hypotheses: Hypotheses,
        *,
        rules: ValidationRules,
        normalizer_name: str,
        replicates: int,
    ) -> None:
        self._engine = engine
        self._datasets = datasets
        self._hypotheses = hypotheses
        self._rules = rules
        self._normalizer_name = normalizer_name
        self._replicates = replicates

    def compare(
        self,
        candidate_id: str,
        baseline_id: str,
        dataset: Dataset,
        *,
        progress: Progress = no_progress,
    ) -> Comparison:
        """Both versions on the utterances of `dataset`, without a verdict."""
        rows = self._datasets.rows(dataset)
        baseline = self._hypotheses.of(baseline_id, rows, progress=progress)
        candidate = self._hypotheses.of(candidate_id, rows, progress=progress)
        return compare(
            rows,
            baseline,
            candidate,
            normalizer_name=self._normalizer_name,
            replicates=self._replicates,
        )

    def run(
        self,
        candidate_id: str,
        baseline_id: str,
        dataset: Dataset,
        *,
        validation_id: str | None = None,
        progress: Progress = no_progress,
    ) -> Validation:
        """Compare, judge, and keep the verdict; a known id gives the verdict that is kept."""
        if validation_id is not None and (known := self._find(validation_id)) is not None:
            return known
        comparison = self.compare(candidate_id, baseline_id, dataset, progress=progress)
        made = Validation(
            id=validation_id or new_id("val"),
            created_at=now(),
            candidate_id=candidate_id,
            baseline_id=baseline_id,
            dataset_id=dataset.id,
            verdict=judge(comparison, self._rules),
            comparison=comparison,
        )
        with writing(self._engine) as connection:
            connection.execute(insert(validations).values(**to_columns(made)))
        return made

    def get(self, validation_id: str) -> Validation:
        """A verdict by its id."""
        found = self._find(validation_id)
        if found is None:
            raise UnknownIdError(f"There is no validation '{validation_id}'.")
        return found

    def latest_of(self, candidate_id: str) -> Validation | None:
        """The newest verdict on a version."""
        query = select(validations).where(validations.c.candidate_id == candidate_id)
        with self._engine.connect() as connection:
            query = query.order_by(validations.c.created_at.desc()).limit(1)
            row = connection.execute(query).mappings().one_or_none()
        return Validation(**from_columns(dict(row))) if row is not None else None

    def _find(self, validation_id: str) -> Validation | None:
        with self._engine.connect() as connection:
            query = select(validations).where(validations.c.id == validation_id)
            row = connection.execute(query).mappings().one_or_none()
        return Validation(**from_columns(dict(row))) if row is not None else None
