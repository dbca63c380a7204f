"""How often transcripts are wrong, from those that were drawn at random and labelled by people.

What people report, and what looks suspicious, is wrong far more often than the rest, so no rate can
be told from it. An audit is drawn whatever it is, with a chance that is kept.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, case, func, select

from misheard.cases.review import COUNTED_AT_MOST, Stream, count_waiting
from misheard.database.schema import inferences, selections
from misheard.scoring.survey import Estimate, GroupSums, rate, share


@dataclass(frozen=True, kw_only=True)
class AuditedRate:
    """What an audit says of the traffic."""

    error_rate: Estimate
    """Share of transcripts that were wrong."""
    wer: Estimate
    """Word errors over the words that were spoken."""
    labelled: int
    """What it rests on."""
    drawn: int | None
    """With what nobody has labelled yet; None where that was not asked."""
    drawn_is_more: bool
    """`drawn` is the least that it can be: more than 10,000 wait, and no more were looked at."""

    @property
    def answered(self) -> float:
        """Share of what was drawn that is labelled, at most; NaN where it is not known."""
        return self.labelled / self.drawn if self.drawn else math.nan


def audited_rate(
    connection: Connection,
    since: datetime | None = None,
    version_id: str | None = None,
    *,
    count_drawn: bool = True,
) -> AuditedRate:
    """Error rate and WER of what was heard after `since`, by one version or by all.

    Its cost grows with what was labelled in that time, and not with the traffic. `count_drawn` off
    leaves out what waits to be labelled: up to 10,000 are looked at, which takes some tenths of a
    second where `since` or `version_id` is given.
    """
    found = connection.execute(_sums(since, version_id)).one()
    if not count_drawn:
        return _rate(found, waiting=None, is_more=False)
    if since is None and version_id is None:
        everything = count_waiting(connection, Stream.AUDIT)
        return _rate(found, waiting=everything.count, is_more=everything.is_more)
    waiting, is_more = _waiting(connection, since)
    there = waiting.total() if version_id is None else waiting[version_id]
    return _rate(found, waiting=there, is_more=is_more)


def audited_rates(connection: Connection, since: datetime | None = None) -> dict[str, AuditedRate]:
    """`audited_rate` of each version that anything was drawn of, those with most labels first."""
    rows = {row.version_id: row for row in connection.execute(_sums(since, by_version=True))}
    waiting, is_more = _waiting(connection, since)
    made = {
        name: _rate(rows.get(name), waiting=waiting[name], is_more=is_more)
        for name in {*rows, *waiting}
    }
    return dict(sorted(made.items(), key=lambda one: (-one[1].labelled, one[0])))


def _sums(
    since: datetime | None, version_id: str | None = None, *, by_version: bool = False
) -> Select[Any]:
    """Sums over groups of what each comes to, so that one row comes out of any number."""
    weight = 1.0 / selections.c.probability
    group = [inferences.c.speaker_group, *([inferences.c.version_id] if by_version else [])]
    inner: Select[Any] = (
        select(
            *group,
            func.count().label("n"),
            func.sum(weight).label("w"),
            func.sum(weight * weight).label("square"),
            func.sum(case((selections.c.is_error.is_(True), weight), else_=0.0)).label("wrong"),
            func.sum(selections.c.word_errors * weight).label("errors"),
            func.sum(selections.c.words * weight).label("words"),
        )
        .select_from(selections)
        .join(inferences, inferences.c.id == selections.c.inference_id)
        .where(selections.c.stream == Stream.AUDIT, selections.c.labelled_at.is_not(None))
        .group_by(*group)
    )
    if since is not None:
        # What was heard later was labelled later, too: so the index leads to it.
        inner = inner.where(selections.c.labelled_at > since, inferences.c.created_at > since)
    if version_id is not None:
        inner = inner.where(inferences.c.version_id == version_id)
    of = inner.subquery().c
    outer: Any = select(
        func.count().label("groups"),
        *(
            func.sum(column).label(name)
            for name, column in {
                "n": of.n,
                "square": of.square,
                "w": of.w,
                "wrong": of.wrong,
                "wrong_wrong": of.wrong * of.wrong,
                "wrong_w": of.wrong * of.w,
                "w_w": of.w * of.w,
                "errors": of.errors,
                "words": of.words,
                "errors_errors": of.errors * of.errors,
                "errors_words": of.errors * of.words,
                "words_words": of.words * of.words,
            }.items()
        ),
    )
    if by_version:
        outer = outer.add_columns(of.version_id).group_by(of.version_id)
    made: Select[Any] = outer
    return made


def _rate(found: Any, *, waiting: int | None, is_more: bool) -> AuditedRate:
    """`found` is a row of `_sums`, or None where nothing is labelled."""
    n = int(found.n) if found is not None and found.n else 0
    if n:
        transcripts = share(_group_sums(found, "wrong", "w"), n=n, weight_squared=found.square)
        wer = rate(_group_sums(found, "errors", "words"), n=n, highest_share=transcripts.high)
    else:
        transcripts = Estimate(n=0, groups=0, estimate=math.nan, low=0.0, high=1.0)
        wer = Estimate(n=0, groups=0, estimate=math.nan, low=0.0, high=math.inf)
    return AuditedRate(
        error_rate=transcripts,
        wer=wer,
        labelled=n,
        drawn=None if waiting is None else n + waiting,
        drawn_is_more=is_more,
    )


def _group_sums(found: Any, y: str, x: str) -> GroupSums:
    names: Sequence[str] = (y, x, f"{y}_{y}", f"{y}_{x}", f"{x}_{x}")
    sums = [float(getattr(found, name)) for name in names]
    return GroupSums(groups=found.groups, y=sums[0], x=sums[1], yy=sums[2], xy=sums[3], xx=sums[4])


def _waiting(connection: Connection, since: datetime | None) -> tuple[Counter[str], bool]:
    """Of each version, how many were drawn and wait for a label; whether there are more.

    The first of the queue are looked at, which is in random order.
    """
    first = (
        select(selections.c.inference_id)
        .where(selections.c.stream == Stream.AUDIT, selections.c.labelled_at.is_(None))
        .limit(COUNTED_AT_MOST + 1)
        .subquery()
    )
    after = case((inferences.c.created_at > since, 1), else_=0) if since is not None else 1
    query: Select[Any] = (
        select(inferences.c.version_id, func.count(), func.sum(after))
        .select_from(first)
        .join(inferences, inferences.c.id == first.c.inference_id)
        .group_by(inferences.c.version_id)
    )
    rows = connection.execute(query).all()
    looked_at = sum(row[1] for row in rows)
    return Counter({row[0]: int(row[2]) for row in rows if row[2]}), looked_at > COUNTED_AT_MOST
