"""What people have said of transcripts, as a model of suspicion learns from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import Connection, Select, func, select

from misheard.capture.signals import Signals
from misheard.capture.suspicion import features
from misheard.capture.suspicion_fit import FOLDS, MIN_OF_EACH, Examples
from misheard.database.schema import corrections, inferences, selections

MOST_LABELS = 50_000
"""The newest labels that a fit reads: more of them hardly move seventeen weights."""


@dataclass(frozen=True, kw_only=True)
class LabelCounts:
    """What there is to learn from."""

    errors: int
    right: int
    groups: int
    """Of speakers."""
    new: int
    """Of them, what no fit has seen yet."""

    @property
    def are_enough(self) -> bool:
        """Whether a fit of them could be judged."""
        return min(self.errors, self.right) >= MIN_OF_EACH and self.groups >= FOLDS


def counted(connection: Connection, since: datetime | None) -> LabelCounts:
    """What a fit would read, where the newest began to learn at `since`."""
    newest = newest_labels().subquery()
    total = func.count()
    query = select(
        total.label("total"),
        total.filter(newest.c.is_error.is_(True)).label("errors"),
        func.count(newest.c.speaker_group.distinct()).label("groups"),
        (total.filter(newest.c.labelled_at > since) if since else total).label("new"),
    )
    row = connection.execute(query.select_from(newest)).one()
    return LabelCounts(
        errors=row.errors, right=row.total - row.errors, groups=row.groups, new=row.new
    )


def came_since(connection: Connection, moment: datetime | None, *, most: int) -> int:
    """How many transcripts were labelled, or labelled anew, since then, up to `most`."""
    query = newest_labels().with_only_columns(corrections.c.number)
    if moment is not None:
        query = query.where(corrections.c.created_at > moment)
    query = query.order_by(None).limit(most)
    return int(connection.execute(select(func.count()).select_from(query.subquery())).scalar_one())


def newest_labels() -> Select[Any]:
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
        .limit(MOST_LABELS)
    )


def examples_of(rows: Sequence[Any], signals: Sequence[Signals]) -> Examples:
    """Rows of `newest_labels`, whose signals are these."""
    return Examples(
        features=features(signals),
        errors=np.array([row.is_error for row in rows], np.bool_),
        weights=np.array([_weight(row) for row in rows], np.float64),
        groups=np.array([row.speaker_group for row in rows], np.object_),
    )


def is_audited(row: Any) -> bool:
    """Drawn, and answered by who was asked, not by somebody who came because it is wrong."""
    return row.stream == "audit" and row.answered_at is not None


def _weight(row: Any) -> float:
    # Drawn at random with this chance, it stands for so many; what was chosen stands for itself.
    return 1.0 / row.probability if is_audited(row) else 1.0
