"""Suspicion in a workspace: scores what comes, knows how fast speakers speak, keeps its models."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection, Engine

from misheard.capture import suspicion_kept, suspicion_labels
from misheard.capture.norms import keep_norms, norms_of
from misheard.capture.signals import Heard, Signals, Speeds, signals_of
from misheard.capture.suspicion import DEFAULTS, Floats
from misheard.capture.suspicion_figures import FitFigures, Ranked, gain
from misheard.capture.suspicion_fit import (
    Examples,
    fit,
    out_of_fold,
    require_enough,
    within_folds,
)
from misheard.capture.suspicion_kept import KeptModel
from misheard.capture.suspicion_labels import LabelCounts
from misheard.database import audit
from misheard.database.engine import now, writing
from misheard.optional import optional

MORE = 0.2
"""Of what the newest fit has learnt from: so much more makes another worth it."""
MIN_MORE = 20


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
        scores = iter(suspicion_kept.in_use(connection).model.score(known).tolist())
        return [None if one is None else next(scores) for one in signals]

    def estimate(self, heard: Sequence[Heard]) -> list[float | None]:
        """The suspicion of transcripts that need not be logged; nothing is learnt from them.

        By the norms that speakers have now, and the model in use. None as with `score`.
        """
        with self._engine.connect() as connection:
            norms = norms_of(connection, {one.speaker for one in heard if one.speaker})
            model = suspicion_kept.in_use(connection).model
        signals = self._signals(heard, Speeds(norms).deviation)
        scores = iter(model.score([one for one in signals if one is not None]).tolist())
        return [None if one is None else next(scores) for one in signals]

    def current(self) -> KeptModel:
        """The model in use."""
        with self._engine.connect() as connection:
            return suspicion_kept.in_use(connection)

    def newest(self) -> KeptModel | None:
        """What was fitted last, used or not."""
        with self._engine.connect() as connection:
            return suspicion_kept.newest(connection)

    def labels(self) -> LabelCounts:
        """How many transcripts people have corrected, and confirmed as right."""
        with self._engine.connect() as connection:
            newest = suspicion_kept.newest(connection)
            return suspicion_labels.counted(connection, newest.created_at if newest else None)

    def fit(self, *, actor: str) -> KeptModel | None:
        """Learn from the newest word on each transcript, judge, and keep what came of it.

        It is used if it surely ranks better than the model in use. None where no label has come
        since the newest was fitted, and where another process has fitted one meanwhile: of several
        one keeps its fit. Raises `TooFewLabelsError`, and `MissingExtraError` without scikit-learn.
        """
        moment = now()
        with self._engine.connect() as connection:
            before, newest = suspicion_kept.in_use(connection), suspicion_kept.newest(connection)
            if newest is not None and not _came(connection, newest, most=1):
                return None
            rows = connection.execute(suspicion_labels.newest_labels()).all()
            rows, signals = self._signals_now(connection, rows)
        examples = suspicion_labels.examples_of(rows, signals)
        require_enough(examples)
        figures = _judged(examples, rows, before)
        model = fit(examples)
        with writing(self._engine) as connection:
            if suspicion_kept.newest(connection) != newest:
                return None
            made = suspicion_kept.keep(connection, model, figures, moment=moment)
            entry = audit.AuditEntry(
                actor=actor,
                action="fit suspicion",
                subject=f"suspicion model {made.number}",
                from_value=before.name,
                to_value=made.name if figures.is_used else before.name,
                reason=figures.reason,
            )
            audit.record(connection, entry)
        return made

    def fit_if_due(self, *, actor: str) -> KeptModel | None:
        """`fit`, where enough labels came since the newest fit; None where not.

        Enough are a fifth of those that it has learnt from, 20 at least; before the first, as many
        as a fit needs. Raises `MissingExtraError` where scikit-learn is missing for what is due.
        """
        with self._engine.connect() as connection:
            newest = suspicion_kept.newest(connection)
            known = newest.figures.labels if newest and newest.figures else 0
            enough = max(MIN_MORE, round(MORE * known))
            if _came(connection, newest, most=enough) < enough:
                return None
        if not self.labels().are_enough:
            return None
        optional("sklearn", extra="suspicion")
        return self.fit(actor=actor)

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
                what = getattr(row, "id", "one that is not logged yet")
                failures.append(f"{what}: {type(error).__name__}")
        if failures:
            logging.getLogger("misheard").warning(
                "%d transcripts have no suspicion, since their signals cannot be read, such as %s.",
                len(failures),
                failures[0],
            )
        return found


def _came(connection: Connection, newest: KeptModel | None, *, most: int) -> int:
    """How many labels the newest model does not know, up to `most`."""
    since = newest.created_at if newest else None
    return suspicion_labels.came_since(connection, since, most=most)


def _judged(examples: Examples, rows: Sequence[Any], before: KeptModel) -> FitFigures:
    """The new model beside the one before, both on groups that they have not seen."""
    scores, defaults = out_of_fold(examples), DEFAULTS.log_odds(examples.features)
    previous: Floats = defaults
    if before.created_at is not None:
        # It has seen some of these labels, so it is made again from those, fold by fold.
        had = np.array([row.labelled_at <= before.created_at for row in rows], np.bool_)
        previous = out_of_fold(examples, learn_from=had, otherwise=before.model)
    scored = (scores, previous, defaults)
    places = [within_folds(one, examples) for one in scored]
    fitted, current, default = (
        Ranked.of(one, place, examples) for one, place in zip(scored, places, strict=True)
    )
    gained = gain(places[0], places[1], examples)
    decided = "it is used" if gained.is_sure else f"not surely better, still in use: {before.name}"
    return FitFigures(
        labels=len(examples),
        errors=int(examples.errors.sum()),
        groups=len(set(examples.groups.tolist())),
        audited=sum(map(suspicion_labels.is_audited, rows)),
        error_rate=float(np.average(examples.errors, weights=examples.weights)),
        fitted=fitted,
        current=current,
        defaults=default,
        gain=gained,
        is_used=gained.is_sure,
        reason=(
            f"average precision {fitted.average_precision:.3f} out of fold, "
            f"{current.average_precision:.3f} of {before.name} ({gained}): {decided}"
        ),
    )
