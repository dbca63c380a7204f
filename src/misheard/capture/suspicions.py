"""Suspicion in a workspace: scores what comes, knows how fast speakers speak, keeps its models."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import Connection, Engine, Select, func, insert, select

from misheard.capture.norms import keep_norms, norms_of
from misheard.capture.ranking import Budget, at_budgets, average_precision
from misheard.capture.signals import Signals, Speeds, signals_of
from misheard.capture.suspicion import DEFAULTS, Floats, SuspicionModel, features
from misheard.capture.suspicion_fit import (
    Examples,
    fit,
    log_loss,
    out_of_fold,
    require_enough,
    within_folds,
)
from misheard.database import audit
from misheard.database.engine import now, writing
from misheard.database.schema import (
    corrections,
    inferences,
    selections,
    suspicion_models,
)

MOST_LABELS = 50_000
"""The newest labels that a fit reads: more of them hardly move seventeen weights."""


@dataclass(frozen=True, kw_only=True)
class FitFigures:
    """How a fitted model does on transcripts of groups that it has not seen."""

    labels: int
    errors: int
    groups: int
    audited: int
    """Of the labels: how many answer an audit, so that they stand for the traffic."""
    error_rate: float
    """Share that is wrong, weighted; what random choice has as precision."""
    average_precision: float
    current_average_precision: float
    """Of the model that was in use, on the same labels, and out of fold if it was fitted."""
    log_loss: float
    current_log_loss: float
    budgets: tuple[Budget, ...]
    current_budgets: tuple[Budget, ...]
    is_used: bool
    reason: str
    """Why it is used, or why not."""


@dataclass(frozen=True, kw_only=True)
class KeptModel:
    """A model of the workspace."""

    number: int
    """0: the defaults."""
    created_at: datetime | None
    """When it began to learn: it knows no label that is newer."""
    model: SuspicionModel
    figures: FitFigures | None


@dataclass(frozen=True, kw_only=True)
class LabelCounts:
    """What there is to learn from."""

    errors: int
    right: int


class Suspicions:
    """Scores transcripts, and learns from corrections."""

    def __init__(self, engine: Engine, *, normalize: Callable[[str], str]) -> None:
        """`normalize` is what two models' texts go through before they are compared."""
        self._engine = engine
        self._normalize = normalize

    def score(self, connection: Connection, rows: Sequence[Any]) -> list[float | None]:
        """The suspicion of each row of `inferences`, in the transaction of a digest.

        In their order, so that a speaker's norm is what was known before; then they are part of it.
        None for one that the normaliser cannot read.
        """
        if not rows:
            return []
        norms = norms_of(connection, {row.speaker for row in rows if row.speaker})
        signals = self._signals(rows, Speeds(norms).heard)
        keep_norms(connection, norms)
        known = [one for one in signals if one is not None]
        scores = iter(_current(connection).model.score(known).tolist())
        return [None if one is None else next(scores) for one in signals]

    def current(self) -> KeptModel:
        """The model in use."""
        with self._engine.connect() as connection:
            return _current(connection)

    def newest(self) -> KeptModel | None:
        """What was fitted last, used or not."""
        with self._engine.connect() as connection:
            return _first(connection, select(suspicion_models))

    def labels(self) -> LabelCounts:
        """How many transcripts people have corrected, and confirmed as right."""
        with self._engine.connect() as connection:
            newest = _newest_labels().subquery()
            wrong = func.count().filter(newest.c.is_error.is_(True))
            total, errors = connection.execute(
                select(func.count(), wrong).select_from(newest)
            ).one()
        return LabelCounts(errors=errors, right=total - errors)

    def fit(self, *, actor: str) -> KeptModel:
        """Learn from the newest word on each transcript, judge, and keep what came of it.

        It is used if its average precision is not below that of the model in use. Raises
        `TooFewLabelsError`, and `MissingExtraError` without scikit-learn.
        """
        moment = now()
        with self._engine.connect() as connection:
            before = _current(connection)
            rows = connection.execute(_newest_labels().limit(MOST_LABELS)).all()
            rows, signals = self._signals_now(connection, rows)
        examples = Examples(
            features=features(signals),
            errors=np.array([row.is_error for row in rows], np.bool_),
            weights=np.array([_weight(row) for row in rows], np.float64),
            groups=np.array([row.speaker_group for row in rows], np.object_),
        )
        require_enough(examples)
        figures = _judged(examples, rows, before)
        model = fit(examples)
        values = {
            "created_at": moment,
            "weights": model.to_dict(),
            "figures": asdict(figures),
        }
        with writing(self._engine) as connection:
            made = connection.execute(insert(suspicion_models).values(**values))
            number = int(made.inserted_primary_key[0])  # type: ignore[index]
            entry = audit.AuditEntry(
                actor=actor,
                action="fit suspicion",
                subject=f"suspicion model {number}",
                from_value=_name(before.number),
                to_value=_name(number if figures.is_used else before.number),
                reason=figures.reason,
            )
            audit.record(connection, entry)
        return KeptModel(number=number, created_at=moment, model=model, figures=figures)

    def _signals_now(
        self, connection: Connection, rows: Sequence[Any]
    ) -> tuple[list[Any], list[Signals]]:
        """By the norms of today, for those of then are gone; of the rows that can be read."""
        speeds = Speeds(norms_of(connection, {row.speaker for row in rows if row.speaker}))
        signals = self._signals(rows, speeds.deviation)
        read = [(row, one) for row, one in zip(rows, signals, strict=True) if one is not None]
        return [row for row, _ in read], [one for _, one in read]

    def _signals(
        self, rows: Sequence[Any], deviation: Callable[[str | None, float], float]
    ) -> list[Signals | None]:
        found: list[Signals | None] = []
        failures: list[str] = []
        for row in rows:
            try:
                found.append(signals_of(row, deviation, normalize=self._normalize))
            except Exception as error:  # noqa: BLE001 - a normaliser may be anybody's program
                found.append(None)
                failures.append(f"{row.id}: {type(error).__name__}")
        if failures:
            logging.getLogger("misheard").warning(
                "%d transcripts have no suspicion, since their signals cannot be read, such as %s.",
                len(failures),
                failures[0],
            )
        return found


def _judged(examples: Examples, rows: Sequence[Any], before: KeptModel) -> FitFigures:
    """The new model beside the one before, both on groups that they have not seen."""
    scores = out_of_fold(examples)
    if before.created_at is None:
        previous: Floats = DEFAULTS.log_odds(examples.features)
    else:
        # It has seen some of these labels, so it is made again from those, fold by fold.
        had = np.array([row.labelled_at <= before.created_at for row in rows], np.bool_)
        previous = out_of_fold(examples, learn_from=had, otherwise=before.model)
    errors, weights = examples.errors, examples.weights
    places, before_places = (within_folds(one, examples) for one in (scores, previous))
    new, old = (average_precision(one, errors, weights) for one in (places, before_places))
    is_used = new >= old
    name = _name(before.number)
    return FitFigures(
        labels=len(examples),
        errors=int(errors.sum()),
        groups=len(set(examples.groups.tolist())),
        audited=sum(map(_is_audited, rows)),
        error_rate=float(np.average(errors, weights=weights)),
        average_precision=new,
        current_average_precision=old,
        log_loss=log_loss(scores, examples),
        current_log_loss=log_loss(previous, examples),
        budgets=tuple(at_budgets(places, errors, weights)),
        current_budgets=tuple(at_budgets(before_places, errors, weights)),
        is_used=is_used,
        reason=(
            f"average precision {new:.3f} out of fold, {old:.3f} of {name}: "
            f"{'it is used' if is_used else f'{name} stays in use'}"
        ),
    )


def _name(number: int) -> str:
    return f"model {number}" if number else "the defaults"


def _weight(row: Any) -> float:
    # Drawn at random with this chance, it stands for so many; what was chosen stands for itself.
    return 1.0 / row.probability if _is_audited(row) else 1.0


def _is_audited(row: Any) -> bool:
    """Drawn, and answered by who was asked, not by somebody who came because it is wrong."""
    return row.stream == "audit" and row.answered_at is not None


def _newest_labels() -> Select[Any]:
    """The newest word on each transcript of the traffic, newest first."""
    later = corrections.alias("later")
    followed = select(later.c.number).where(
        later.c.inference_id == corrections.c.inference_id, later.c.number > corrections.c.number
    )
    return (
        select(
            inferences,
            corrections.c.created_at.label("labelled_at"),
            corrections.c.is_error,
            selections.c.stream,
            selections.c.probability,
            selections.c.labelled_at.label("answered_at"),
        )
        .select_from(
            corrections.join(inferences, inferences.c.id == corrections.c.inference_id).outerjoin(
                selections, selections.c.inference_id == inferences.c.id
            )
        )
        # Reported because they are wrong: no sample of anything.
        .where(inferences.c.reported.is_(False), ~followed.exists())
        .order_by(corrections.c.number.desc())
    )


def _current(connection: Connection) -> KeptModel:
    used = suspicion_models.c.figures["is_used"].as_boolean()
    found = _first(connection, select(suspicion_models).where(used))
    return found or KeptModel(number=0, created_at=None, model=DEFAULTS, figures=None)


def _first(connection: Connection, query: Select[Any]) -> KeptModel | None:
    """The newest that `query` finds; None, too, where it was made for other signals."""
    newest = query.order_by(suspicion_models.c.number.desc()).limit(1)
    row = connection.execute(newest).first()
    model = SuspicionModel.from_dict(row.weights) if row else None
    if row is None or model is None:
        return None
    stored = dict(row.figures)
    for name in ("budgets", "current_budgets"):
        stored[name] = tuple(Budget(**one) for one in stored[name])
    return KeptModel(
        number=row.number,
        created_at=row.created_at,
        model=model,
        figures=FitFigures(**stored),
    )
