"""Suites as they are kept: the newest of a name counts, and one of them grows by itself."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property

from sqlalchemy import Engine, insert, select

from misheard.database.engine import new_id, now, writing
from misheard.database.schema import suites
from misheard.datasets.datasets import Dataset, Datasets, Purpose
from misheard.datasets.manifest import PERMANENT, Row
from misheard.errors import InvalidSuiteError, UnknownIdError
from misheard.gates.suite_cases import CORRECTIONS, SuiteCases
from misheard.gates.suite_rows import suite_of
from misheard.gates.suites import Suite, SuiteKind


class SuiteStore:
    """Keeps suites."""

    def __init__(self, engine: Engine, datasets: Datasets) -> None:
        self._engine = engine
        self._datasets = datasets

    def add(
        self,
        name: str,
        kind: SuiteKind,
        dataset: Dataset,
        *,
        description: str = "",
        baseline_version: str = "",
        baseline_wer: float | None = None,
        baseline_cer: float | None = None,
        max_wer_degradation: float | None = None,
        max_cer_degradation: float | None = None,
    ) -> Suite:
        """Keep a suite.

        One of the same name and content is the one that is there; with other content the new one
        replaces it. Raises `InvalidSuiteError` for figures that no error rate can have.
        """
        figures = {
            "baseline_wer": baseline_wer,
            "baseline_cer": baseline_cer,
            "max_wer_degradation": max_wer_degradation,
            "max_cer_degradation": max_cer_degradation,
        }
        for key, value in figures.items():
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise InvalidSuiteError(f"'{name}', {key} = {value}: it must be 0 or more.")
        made = Suite(
            id=new_id("suite"),
            created_at=now(),
            name=name,
            kind=kind,
            dataset_id=dataset.id,
            description=description,
            baseline_version=baseline_version,
            **figures,
        )
        with writing(self._engine) as connection:
            query = select(suites).where(suites.c.name == name)
            query = query.order_by(suites.c.created_at.desc(), suites.c.id.desc()).limit(1)
            row = connection.execute(query).mappings().one_or_none()
            if row is not None:
                known = suite_of(dict(row))
                if replace(made, id=known.id, created_at=known.created_at) == known:
                    return known
            connection.execute(insert(suites).values(**vars(made)))
        return made

    def get(self, suite_id: str) -> Suite:
        """A suite by its id, also one that was replaced."""
        with self._engine.connect() as connection:
            query = select(suites).where(suites.c.id == suite_id)
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            raise UnknownIdError(f"There is no suite '{suite_id}'. See: misheard suite list")
        return suite_of(dict(row))

    def named(self, name: str) -> Suite:
        """The newest suite of a name."""
        found = [suite for suite in self.listed() if suite.name == name]
        if not found:
            raise UnknownIdError(f"There is no suite '{name}'. See: misheard suite list")
        return found[0]

    def listed(self) -> list[Suite]:
        """The newest suite of each name, in the order the names were first added."""
        return list({suite.name: suite for suite in self._every()}.values())

    @cached_property
    def cases(self) -> SuiteCases:
        """Corrections that a suite keeps for good."""
        return SuiteCases(self._engine)

    def permanent_rows(self) -> list[Row]:
        """The permanent cases: whatever is said of them later, they are never trained on."""
        found = {one.audio_sha256: one.row for one in self.cases.of_suite(CORRECTIONS)}
        # After the cases themselves were cleared, the suite has them still.
        for row in self._rows_named(CORRECTIONS):
            if row.kind == PERMANENT:
                found.setdefault(row.audio_sha256, row)
        return list(found.values())

    def keep_corrections(self, dataset: Dataset) -> Suite | None:
        """Make permanent cases of the corrections in a dataset's test split.

        The suite `CORRECTIONS` has them, beside whatever else it was given; it is made, a broad
        benchmark, where there is none. None while there is no case. Doing it again changes nothing.
        """
        self.cases.keep(CORRECTIONS, self._datasets.test_rows(dataset), dataset.id)
        permanent = self.permanent_rows()
        if not permanent:
            return None
        rows = {row.audio_sha256: row for row in self._rows_named(CORRECTIONS)}
        rows |= {row.audio_sha256: row for row in permanent}
        together = self._datasets.add(f"suite {CORRECTIONS}", Purpose.EVALUATION, rows.values())
        known = next((one for one in self.listed() if one.name == CORRECTIONS), None)
        if known is None:
            told = "every correction that fell into the test split"
            return self.add(CORRECTIONS, SuiteKind.BENCHMARK, together, description=told)
        if known.dataset_id == together.id:
            return known
        # Figures that were given were measured on other utterances: see `_first_baseline`.
        return self.add(
            CORRECTIONS,
            known.kind,
            together,
            description=known.description,
            max_wer_degradation=known.max_wer_degradation,
            max_cer_degradation=known.max_cer_degradation,
        )

    def _rows_named(self, name: str) -> list[Row]:
        """The utterances of the newest suite of a name; none where there is none."""
        found = next((one for one in self.listed() if one.name == name), None)
        return self._datasets.rows(self._datasets.get(found.dataset_id)) if found else []

    def _every(self) -> list[Suite]:
        """Replaced ones, too, oldest first."""
        with self._engine.connect() as connection:
            query = select(suites).order_by(suites.c.created_at, suites.c.id)
            return [suite_of(dict(row)) for row in connection.execute(query).mappings()]
