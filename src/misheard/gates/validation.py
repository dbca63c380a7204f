"""The first gate: is the candidate better than what is live, on speech that neither has seen?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Select, func, insert, select

from misheard.blobs.store import BlobStore
from misheard.database.engine import new_id, now, writing
from misheard.database.paging import older_than
from misheard.database.schema import validations
from misheard.datasets.datasets import Dataset, Datasets
from misheard.datasets.split import Split
from misheard.errors import BadInputError, UnknownIdError
from misheard.gates.comparison import Comparison
from misheard.gates.contender import Contender, Transcribe, from_function, from_version
from misheard.gates.hypotheses import Hypotheses
from misheard.gates.judging import ValidationRules, judge
from misheard.gates.pairing import Pairing, pair
from misheard.gates.verdict import Verdict, from_columns, to_columns
from misheard.scoring.normalize import Normalizer
from misheard.speech.transcriber import Progress, no_progress


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
    general: Comparison | None = None
    """The same two on the general set, where there is one."""


@dataclass(frozen=True, kw_only=True)
class ValidationCounts:
    """How often the gate was passed."""

    passed: int
    failed: int
    """Inconclusive ones included."""


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
        normalizer: Normalizer,
        replicates: int,
    ) -> None:
        self._engine = engine
        self._datasets = datasets
        self._hypotheses = hypotheses
        self._blobs = blobs
        self._rules = rules
        self._normalizer = normalizer
        self._replicates = replicates

    @property
    def rules(self) -> ValidationRules:
        """What a candidate must show."""
        return self._rules

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
        return self.listen(candidate, baseline, dataset, progress=progress)[1]

    def listen(
        self,
        candidate: str | Contender,
        baseline: str | Contender,
        dataset: Dataset,
        *,
        progress: Progress = no_progress,
    ) -> tuple[Pairing, Comparison]:
        """`compare`, with every utterance beside the figures."""
        paired = self._pair(candidate, baseline, dataset, progress)
        return paired, self._measured(paired)

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

        `set_name` is what the set is called in the figures; by default the dataset's own name. The
        general set is looked at, too, where there is one and it is not `dataset` itself.
        """
        if validation_id is not None and (known := self._find(validation_id)) is not None:
            return known
        paired = self._pair(candidate, baseline, dataset, progress)
        comparison = self._timed(self._measured(paired), candidate, baseline, paired)
        general_set = self.general_set(dataset)
        general = (
            self.compare(candidate, baseline, general_set, progress=progress)
            if general_set is not None
            else None
        )
        lines = [json.dumps(one, ensure_ascii=False) + "\n" for one in paired.utterances()]
        made = Validation(
            id=validation_id or new_id("val"),
            created_at=now(),
            candidate_id=id_of(candidate),
            baseline_id=id_of(baseline),
            dataset_id=dataset.id,
            set_name=dataset.name if set_name is None else set_name,
            verdict=judge(comparison, self._rules, general=general),
            comparison=comparison,
            utterances_sha256=self._blobs.put_bytes("".join(lines).encode()),
            general=general,
        )
        with writing(self._engine) as connection:
            # Another process may have come to the same in the meantime.
            row = connection.execute(_by_id(made.id)).mappings().one_or_none()
            if row is not None:
                return _validation(dict(row))
            connection.execute(insert(validations).values(**_columns(made)))
        return made

    def general_set(self, dataset: Dataset) -> Dataset | None:
        """The set of speech that nothing is tuned for, unless it is the one that decides."""
        name = self._rules.general_set
        found = self._datasets.latest(name) if name else None
        if found is None or found.id == dataset.id or not found.counts.get(Split.TEST):
            return None
        return found

    def clips(self, dataset: Dataset) -> int:
        """How many clips `run` has to hear, of both sides, for its progress."""
        general = self.general_set(dataset)
        return 2 * sum(len(self._datasets.test_rows(one)) for one in (dataset, general) if one)

    def utterances(self, validation: Validation) -> list[dict[str, Any]]:
        """Every utterance of a validation with both texts and both counts of word errors.

        Keys: audio_sha256, reference, words, baseline, candidate, baseline_errors,
        candidate_errors, speaker_group, duration_s, tags; baseline_error and candidate_error say
        why a transcriber failed there. Empty for a validation that was kept without them.
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

    def listed(
        self, *, limit: int = 20, candidate_id: str | None = None, before: str | None = None
    ) -> list[Validation]:
        """The newest verdicts, newest first; those after the one with the id `before`."""
        query = select(validations).order_by(
            validations.c.created_at.desc(), validations.c.id.desc()
        )
        if candidate_id is not None:
            query = query.where(validations.c.candidate_id == candidate_id)
        with self._engine.connect() as connection:
            if before is not None:
                query = query.where(older_than(connection, validations, before))
            rows = connection.execute(query.limit(limit)).mappings()
            return [_validation(dict(row)) for row in rows]

    def newest_on(self, dataset_id: str, *, version_id: str) -> Validation | None:
        """The newest verdict on a set that heard this version there, on whichever side."""
        sides = (validations.c.candidate_id == version_id) | (
            validations.c.baseline_id == version_id
        )
        query = select(validations).where(validations.c.dataset_id == dataset_id, sides)
        query = query.order_by(validations.c.created_at.desc(), validations.c.id.desc()).limit(1)
        with self._engine.connect() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return _validation(dict(row)) if row is not None else None

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
        return _validation(dict(row)) if row is not None else None

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
        return pair(rows, before, after, normalizer=self._normalizer)

    def _measured(self, paired: Pairing) -> Comparison:
        return paired.compare(
            replicates=self._replicates,
            alpha=self._rules.alpha,
            slice_limits=self._rules.slice_limits,
        )

    def _timed(
        self,
        comparison: Comparison,
        candidate: str | Contender,
        baseline: str | Contender,
        paired: Pairing,
    ) -> Comparison:
        """With both timed again in turn, where the candidate would fail for being slow."""
        failed = comparison.baseline.failed or comparison.candidate.failed
        if failed or not comparison.is_slower_than(self._rules.max_slowdown):
            return comparison
        if isinstance(candidate, Contender) or isinstance(baseline, Contender):
            return comparison
        ratio = self._hypotheses.in_turn(baseline, candidate, paired.rows)
        return replace(comparison, timed_in_turn=ratio)

    def _contender(self, side: str | Contender) -> Contender:
        return from_version(side, self._hypotheses) if isinstance(side, str) else side

    def _find(self, validation_id: str) -> Validation | None:
        with self._engine.connect() as connection:
            row = connection.execute(_by_id(validation_id)).mappings().one_or_none()
        return _validation(dict(row)) if row is not None else None


def _columns(made: Validation) -> dict[str, Any]:
    values = to_columns(made)
    general = values.pop("general")
    kept = {"general": general.to_dict()} if general is not None else {}
    return values | {"figures": values["figures"] | kept}


def _by_id(validation_id: str) -> Select[Any]:
    return select(validations).where(validations.c.id == validation_id)


def _validation(row: dict[str, Any]) -> Validation:
    figures = dict(row["figures"])
    general = figures.pop("general", None)
    fields = from_columns(row | {"figures": figures})
    return Validation(
        **fields, general=Comparison.from_dict(general) if general is not None else None
    )


def id_of(side: str | Contender) -> str:
    """What the rows call a side."""
    return side if isinstance(side, str) else side.id
