"""How often the traffic is wrong, by what was drawn at random and looked at by a person."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Integer, cast, func, select

from misheard.database.schema import selections
from misheard.scoring.proportions import Proportion, weighted_proportion

_AUDIT = "audit"
NEWEST = 1_000
"""Labels that are looked at, so that the answer costs the same after any time."""


@dataclass(frozen=True, kw_only=True)
class Audited:
    """What the audit has found."""

    utterances: Proportion
    """The share of them that is wrong."""
    words: float
    """Reference words of an utterance, on average."""
    wer: float | None
    """Word errors over reference words; None where no word was spoken."""


def audited(
    connection: Connection, *, since: datetime | None, limit: int = NEWEST
) -> Audited | None:
    """By the newest `limit` labels that were given after `since`; None where there is none.

    Each counts as one over the chance that it had of being drawn, so that a change of
    `capture.audit_share` in between does no harm.
    """
    drawn = select(
        (1.0 / selections.c.probability).label("weight"),
        cast(selections.c.is_error, Integer).label("is_error"),
        func.coalesce(selections.c.words, 0).label("words"),
        func.coalesce(selections.c.word_errors, 0).label("word_errors"),
    ).where(selections.c.stream == _AUDIT, selections.c.labelled_at.is_not(None))
    if since is not None:
        drawn = drawn.where(selections.c.labelled_at > since)
    one = drawn.order_by(selections.c.labelled_at.desc()).limit(limit).subquery().c
    found = connection.execute(
        select(
            func.count(),
            func.sum(one.weight),
            func.sum(one.weight * one.is_error),
            func.sum(one.weight * one.weight),
            func.sum(one.weight * one.words),
            func.sum(one.weight * one.word_errors),
        )
    ).one()
    trials, weight, hits, squared, words, errors = found
    utterances = weighted_proportion(
        trials=trials, weight=weight or 0.0, hits=hits or 0.0, squared_weight=squared or 0.0
    )
    if utterances is None:
        return None
    return Audited(
        utterances=utterances, words=words / weight, wer=errors / words if words else None
    )
