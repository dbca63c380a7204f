"""How often transcripts are wrong, from those that were drawn at random and labelled by people.

What people report, and what looks suspicious, is wrong far more often than the rest, so no rate can
be told from it. An audit is drawn whatever it is, with a chance that is kept. Whoever wants to know
asks here: the trigger, alerts, trends, metrics, the status page and `misheard review`.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, case, func, select

from misheard.cases.review import COUNTED_AT_MOST, Stream, count_waiting
from misheard.database.schema import LABELLED_AUDIT, inferences, selections
from misheard.scoring.survey import Estimate, GroupSums, rate, share

NEWEST = 500
"""Labels that the trigger looks at: what it can sum in a millisecond."""
LATELY = 5_000
"""Labels that the status page, alerts and the expected gain look at: what can be summed in some
hundredths of a second. Their interval is a tenth as wide as that of fifty."""
_ROW = selections.c


@dataclass(frozen=True, kw_only=True)
class AuditedRate:
    """What an audit says of the traffic."""

    error_rate: Estimate
    """Share of transcripts that were wrong."""
    wer: Estimate
    """Word errors over the words that were spoken."""
    labelled: int
    """What it rests on."""
    words: int
    """Words that were spoken in these."""
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
    newest: int | None = None,
    count_drawn: bool = True,
) -> AuditedRate:
    """Error rate and WER of what was heard from `since` on, by one version or by all.

    Its cost grows with what was labelled in that time, and not with the traffic. With `newest` only
    so many labels are looked at, those of what was heard last: it is then the rate from when the
    oldest of these was heard, and as unbiased, since when something was heard says nothing of
    whether it was drawn. `count_drawn` off leaves out what waits to be labelled: up to 10,000 are
    looked at, which takes some tenths of a second where `since` or `version_id` is given.
    """
    found = _sums_in(connection.execute(_sums(since, version_id, newest=newest)).one())
    if not count_drawn:
        return _rate(found, waiting=None)
    if since is None and version_id is None:
        everything = count_waiting(connection, Stream.AUDIT)
        return _rate(found, waiting=everything.count, is_more=everything.is_more)
    waiting, is_more = _waiting(connection, since)
    there = waiting.total() if version_id is None else waiting[version_id]
    return _rate(found, waiting=there, is_more=is_more)


def audited_rates(
    connection: Connection, since: datetime | None = None, *, count_drawn: bool = True
) -> dict[str, AuditedRate]:
    """`audited_rate` of each version that anything was drawn of, those with most labels first.

    `count_drawn` off leaves out what waits, and versions of which nothing is labelled.
    """
    rows = {row.version_id: row for row in connection.execute(_sums(since, by_version=True))}
    waiting, is_more = _waiting(connection, since) if count_drawn else (Counter[str](), False)
    made = {
        name: _rate(
            _sums_in(rows.get(name)),
            waiting=waiting[name] if count_drawn else None,
            is_more=is_more,
        )
        for name in {*rows, *waiting}
    }
    return dict(sorted(made.items(), key=lambda one: (-one[1].labelled, one[0])))


def audited_over_time(
    connection: Connection,
    start_of: Callable[[datetime], datetime],
    *,
    since: datetime,
    version_id: str | None = None,
    slice_name: str = "",
) -> dict[datetime, AuditedRate]:
    """`audited_rate` of each period in which anything labelled was heard, by its start.

    `start_of` says when the period of a time began; `slice_name` is a tag and its value, as in
    "channel=mobile", or empty. What waits to be labelled is not counted.
    """
    name, _, value = slice_name.partition("=")
    query = _labels(since, version_id)
    if slice_name:
        query = query.join(inferences, inferences.c.id == _ROW.inference_id)
        query = query.add_columns(inferences.c.tags)
    periods: defaultdict[datetime, _Period] = defaultdict(_Period)
    for row in connection.execute(query):
        if not slice_name or row.tags.get(name) == value:
            periods[start_of(row.heard_at)].add(row)
    return {start: _rate(period.sums(), waiting=None) for start, period in periods.items()}


@dataclass(frozen=True, kw_only=True)
class _Sums:
    """All that the estimates need."""

    labelled: int
    words: int
    weight_squared: float
    transcripts: GroupSums
    """Weights of the wrong ones, and of all."""
    spoken: GroupSums
    """Weighted word errors, and words."""


@dataclass
class _Period:
    """Labels of some time, as they are added up."""

    labelled: int = 0
    words: int = 0
    weight_squared: float = 0.0
    groups: defaultdict[str, list[float]] = field(
        default_factory=lambda: defaultdict(lambda: [0.0] * 4)
    )
    """Of each: weights of the wrong ones and of all, weighted word errors and words."""

    def add(self, row: Any) -> None:
        """One row of `_labels`."""
        self.labelled += 1
        self.words += row.words
        self.weight_squared += row.weight**2
        counts = (bool(row.is_error), 1, row.word_errors, row.words)
        of_group = self.groups[row.speaker_group]
        for place, count in enumerate(counts):
            of_group[place] += row.weight * count

    def sums(self) -> _Sums:
        """The same as a database would have summed."""
        wrong, weight, errors, words = zip(*self.groups.values(), strict=True)
        return _Sums(
            labelled=self.labelled,
            words=self.words,
            weight_squared=self.weight_squared,
            transcripts=GroupSums.of(wrong, weight),
            spoken=GroupSums.of(errors, words),
        )


def _labels(
    since: datetime | None, version_id: str | None = None, *, newest: int | None = None
) -> Select[Any]:
    """What was drawn and labelled, each with its weight; of the log nothing is read."""
    query: Select[Any] = select(
        _ROW.inference_id,
        _ROW.heard_at,
        _ROW.version_id,
        _ROW.speaker_group,
        (1.0 / _ROW.probability).label("weight"),
        _ROW.is_error,
        _ROW.words,
        _ROW.word_errors,
    ).where(LABELLED_AUDIT)
    if since is not None:
        query = query.where(_ROW.heard_at >= since)
    if version_id is not None:
        query = query.where(_ROW.version_id == version_id)
    if newest is not None:
        query = query.order_by(_ROW.heard_at.desc(), _ROW.inference_id.desc()).limit(newest)
    return query


def _sums(
    since: datetime | None,
    version_id: str | None = None,
    *,
    newest: int | None = None,
    by_version: bool = False,
) -> Select[Any]:
    """Sums over groups of what each comes to, so that one row comes out of any number."""
    one = _labels(since, version_id, newest=newest).subquery().c
    group = [one.speaker_group, *([one.version_id] if by_version else [])]
    inner: Select[Any] = select(
        *group,
        func.count().label("n"),
        func.sum(one.words).label("said"),
        func.sum(one.weight).label("w"),
        func.sum(one.weight * one.weight).label("square"),
        func.sum(case((one.is_error.is_(True), one.weight), else_=0.0)).label("wrong"),
        func.sum(one.word_errors * one.weight).label("errors"),
        func.sum(one.words * one.weight).label("words"),
    ).group_by(*group)
    of = inner.subquery().c
    outer: Any = select(
        func.count().label("groups"),
        *(
            func.sum(column).label(name)
            for name, column in {
                "n": of.n,
                "said": of.said,
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


def _sums_in(row: Any | None) -> _Sums:
    """What a row of `_sums` holds; zeros where nothing is labelled."""

    def number(name: str) -> float:
        return float(getattr(row, name) or 0.0) if row is not None else 0.0

    def of_groups(y: str, x: str) -> GroupSums:
        return GroupSums(
            groups=int(number("groups")),
            y=number(y),
            x=number(x),
            yy=number(f"{y}_{y}"),
            xy=number(f"{y}_{x}"),
            xx=number(f"{x}_{x}"),
        )

    return _Sums(
        labelled=int(number("n")),
        words=int(number("said")),
        weight_squared=number("square"),
        transcripts=of_groups("wrong", "w"),
        spoken=of_groups("errors", "words"),
    )


def _rate(found: _Sums, *, waiting: int | None, is_more: bool = False) -> AuditedRate:
    n = found.labelled
    transcripts = share(found.transcripts, n=n, weight_squared=found.weight_squared)
    return AuditedRate(
        error_rate=transcripts,
        wer=rate(found.spoken, n=n, highest_share=transcripts.high),
        labelled=n,
        words=found.words,
        drawn=None if waiting is None else n + waiting,
        drawn_is_more=is_more,
    )


def _waiting(connection: Connection, since: datetime | None) -> tuple[Counter[str], bool]:
    """Of each version, how many were drawn and wait for a label; whether there are more.

    The first of the queue are looked at, which is in random order.
    """
    first = (
        select(_ROW.inference_id)
        .where(_ROW.stream == Stream.AUDIT, _ROW.labelled_at.is_(None))
        .limit(COUNTED_AT_MOST + 1)
        .subquery()
    )
    after = case((inferences.c.created_at >= since, 1), else_=0) if since is not None else 1
    query: Select[Any] = (
        select(inferences.c.version_id, func.count(), func.sum(after))
        .select_from(first)
        .join(inferences, inferences.c.id == first.c.inference_id)
        .group_by(inferences.c.version_id)
    )
    rows = connection.execute(query).all()
    looked_at = sum(row[1] for row in rows)
    return Counter({row[0]: int(row[2]) for row in rows if row[2]}), looked_at > COUNTED_AT_MOST
