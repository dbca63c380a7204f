"""What suites are held to: rows that are only added, each with who set it and why."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Engine, insert, or_, select

from misheard.database import audit
from misheard.database.engine import now, writing
from misheard.database.schema import suite_baselines, suite_runs, suites
from misheard.datasets.datasets import Datasets
from misheard.errors import (
    BaselineNotMovedError,
    BlobNotFoundError,
    ModelNotFoundError,
    UnknownIdError,
    UnsupportedModelError,
    VersionPrunedError,
)
from misheard.gates.comparison import Comparison, Side
from misheard.gates.contender import Contender
from misheard.gates.suite_rows import newest_runs_first, number_or_none, run_of, suite_of
from misheard.gates.suites import Baseline, HeldTo, Suite, held_to
from misheard.gates.validation import Validations, id_of
from misheard.speech.transcriber import Progress, no_progress

ACTOR = "misheard"
"""Who has set a baseline that nobody asked for: the first of a suite, and one carried over."""
FIRST_RUN = "the first run"

# A version that cannot be heard any more.
_GONE = (
    UnknownIdError,
    VersionPrunedError,
    ModelNotFoundError,
    UnsupportedModelError,
    BlobNotFoundError,
)


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """What a suite of the same name was held to before it was replaced."""

    version_id: str
    dataset_id: str
    baseline: Baseline | None
    """None: figures were given with it."""


def of_side(version_id: str, side: Side, *, actor: str, reason: str) -> Baseline:
    """A version's own figures as a baseline."""
    return Baseline(
        version_id=version_id,
        wer=side.wer,
        cer=side.cer,
        silent_with_text=side.silent_with_text,
        actor=actor,
        reason=reason,
        created_at=now(),
    )


def newest(connection: Connection, suite_id: str) -> Baseline | None:
    """What a suite is held to; None where nothing was ever set."""
    query = select(suite_baselines).where(suite_baselines.c.suite_id == suite_id)
    query = query.order_by(suite_baselines.c.number.desc()).limit(1)
    row = connection.execute(query).mappings().one_or_none()
    return _baseline(dict(row)) if row is not None else None


def every(connection: Connection, suite_id: str) -> list[Baseline]:
    """All baselines of a suite, newest first."""
    query = select(suite_baselines).where(suite_baselines.c.suite_id == suite_id)
    query = query.order_by(suite_baselines.c.number.desc())
    return [_baseline(dict(row)) for row in connection.execute(query).mappings()]


def earlier(connection: Connection, suite: Suite) -> Earlier | None:
    """What the newest suite of this name that was held to something was held to, before `suite`."""
    query = select(suites).where(suites.c.name == suite.name, suites.c.id != suite.id)
    query = query.where(suites.c.created_at <= suite.created_at)
    query = query.order_by(suites.c.created_at.desc(), suites.c.id.desc())
    for row in connection.execute(query).mappings().all():
        before = suite_of(dict(row))
        known = newest(connection, before.id)
        version_id = known.version_id if known is not None else before.baseline_version
        if known is not None or (before.has_given_figures and version_id):
            return Earlier(version_id=version_id, dataset_id=before.dataset_id, baseline=known)
    return None


def record(connection: Connection, suite: Suite, made: Baseline) -> Baseline:
    """Set a baseline, and write into the audit log from what to what."""
    known = newest(connection, suite.id)
    values = _columns(made) | {"suite_id": suite.id}
    number = connection.execute(
        insert(suite_baselines).values(**values).returning(suite_baselines.c.number)
    ).scalar_one()
    entry = audit.AuditEntry(
        actor=made.actor,
        action="baseline",
        subject=suite.id,
        from_value=str(known) if known is not None else _given(suite),
        to_value=str(made),
        reason=made.reason,
        evidence={
            "suite": suite.name,
            "from": _figures(known) if known is not None else {},
            "to": _figures(made),
        },
    )
    audit.record(connection, entry)
    return replace(made, number=number)


class SuiteBaselines:
    """Reads and moves what suites are held to."""

    def __init__(
        self,
        engine: Engine,
        datasets: Datasets,
        validations: Validations,
        contender: Callable[[str], str | Contender],
    ) -> None:
        """`contender` says how a version is heard."""
        self._engine = engine
        self._datasets = datasets
        self._validations = validations
        self._contender = contender

    def of(self, suite: Suite) -> Baseline | None:
        """What a suite is held to; None before its first run, and where figures were given."""
        with self._engine.connect() as connection:
            return newest(connection, suite.id)

    def every(self, suite: Suite) -> list[Baseline]:
        """Everything that a suite was ever held to, newest first."""
        with self._engine.connect() as connection:
            return every(connection, suite.id)

    def move(
        self,
        suite: Suite,
        version: str | Contender,
        *,
        actor: str,
        reason: str,
        progress: Progress = no_progress,
    ) -> Baseline:
        """Hold a suite to what `version` reaches on it from now on, and write down who and why."""
        if not reason.strip():
            raise BaselineNotMovedError(f"Say why '{suite.name}' should be held to something else.")
        dataset = self._datasets.get(suite.dataset_id)
        side = self._validations.compare(version, version, dataset, progress=progress).baseline
        made = of_side(id_of(version), side, actor=actor, reason=reason)
        with writing(self._engine) as connection:
            return record(connection, suite, made)

    def could_move(self, suite: Suite, live_id: str) -> bool:
        """Whether the live version, as it was last run on it, is clearly better than the baseline.

        See `is_clearly_better`.
        """
        baseline = self.of(suite)
        if baseline is not None and baseline.version_id == live_id:
            return False
        if baseline is None and suite.baseline_wer is None:
            return False
        ran = newest_runs_first().where(
            suite_runs.c.suite_id == suite.id,
            or_(suite_runs.c.candidate_id == live_id, suite_runs.c.baseline_id == live_id),
        )
        with self._engine.connect() as connection:
            row = connection.execute(ran.limit(1)).mappings().one_or_none()
        if row is None:
            return False
        run = run_of(dict(row))
        found = run.comparison
        side = found.candidate if run.candidate_id == live_id else found.baseline
        return is_clearly_better(side, held_to(found, suite, baseline))

    def first(self, suite: Suite, comparison: Comparison, baseline_id: str) -> Baseline | None:
        """What a suite that was never held to anything is held to from this run on.

        What its name was held to before counts on: the same version, measured on the utterances
        that the suite has now. None where the suite has a baseline or was given figures.
        """
        with self._engine.connect() as connection:
            if suite.has_given_figures or newest(connection, suite.id) is not None:
                return None
            before = earlier(connection, suite)
        side, version_id, reason = comparison.baseline, baseline_id, FIRST_RUN
        if before is not None:
            reason = "carried over: the suite was replaced"
            if before.baseline is not None and before.dataset_id == suite.dataset_id:
                same = replace(before.baseline, actor=ACTOR, reason=reason)
                return replace(same, created_at=now(), number=0)
            if before.version_id != baseline_id:
                try:
                    side = self._side(before.version_id, suite)
                    version_id = before.version_id
                except _GONE as error:
                    reason += f", and its baseline {before.version_id} cannot be heard: {error}"
        return of_side(version_id, side, actor=ACTOR, reason=reason)

    def _side(self, version_id: str, suite: Suite) -> Side:
        heard = self._contender(version_id)
        dataset = self._datasets.get(suite.dataset_id)
        return self._validations.compare(heard, heard, dataset).baseline


def is_clearly_better(side: Side, baseline: Baseline | HeldTo) -> bool:
    """Whether a version does better than a baseline by more than chance, and in nothing worse.

    The baseline's WER is above the upper end of the version's 95 % interval; or it puts words on
    fewer silent clips, with a WER that is no higher.
    """
    if side.silent_with_text > baseline.silent_with_text:
        return False
    fewer = side.silent_with_text < baseline.silent_with_text
    if math.isnan(baseline.wer) or math.isnan(side.wer):
        return fewer
    return side.wer_interval[1] < baseline.wer or (fewer and side.wer <= baseline.wer)


def _given(suite: Suite) -> str:
    rates = [("WER", suite.baseline_wer), ("CER", suite.baseline_cer)]
    return ", ".join(f"given {name} {rate:.2%}" for name, rate in rates if rate is not None)


def _figures(baseline: Baseline) -> dict[str, Any]:
    columns = _columns(baseline)
    return {key: columns[key] for key in ("version_id", "wer", "cer", "silent_with_text")}


def _columns(baseline: Baseline) -> dict[str, Any]:
    values = dict(vars(baseline))
    del values["number"]
    return values | {key: number_or_none(values[key]) for key in ("wer", "cer")}


def _baseline(row: dict[str, Any]) -> Baseline:
    del row["suite_id"]
    return Baseline(
        **row | {key: math.nan if row[key] is None else row[key] for key in ("wer", "cer")}
    )
