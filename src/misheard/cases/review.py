"""The review queue: what a person should listen to next, and why it is there."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import zip_longest
from typing import Any

from sqlalchemy import Connection, Engine, Select, case, func, literal, or_, select, tuple_

from misheard.cases.measure import Outcome
from misheard.cases.records import AUDIT_METHOD, UNASKED_METHODS, CaseStatus, Correction
from misheard.database.engine import now
from misheard.database.schema import UtcDateTime, error_cases, inferences, selections
from misheard.errors import BadInputError

COUNTED_AT_MOST = 10_000
"""Of a queue; a status page need not know more, and half a million take a second to count."""
PAGE_AT_MOST = 1_000
_HEARD = {"heard_at": "created_at", "version_id": "version_id", "speaker_group": "speaker_group"}
"""Columns that a labelled audit has from its transcript, by their name there."""
_NO_LABEL = dict.fromkeys(("labelled_at", "is_error", "words", "word_errors", *_HEARD))


class Stream(StrEnum):
    """Why a transcript is in the queue."""

    AUDIT = "audit"
    """Drawn at random, whatever it is: what the error rate is known by."""
    REPORTED = "reported"
    """An open error case: somebody said that it is wrong."""
    SUSPICIOUS = "suspicious"
    """Likely to be wrong, by what can be seen without listening."""


@dataclass(frozen=True, kw_only=True)
class QueueItem:
    """A transcript that waits for a person."""

    stream: Stream
    inference_id: str
    heard_at: datetime
    version_id: str
    text: str
    source: str
    audio_sha256: str
    """Empty where the audio is only referred to, by `source`."""
    duration_s: float | None
    suspicion: float | None
    """The chance that it is wrong; None of an audit, which is to be judged without it, and of a
    reported one where its reporter gave none."""
    probability: float | None
    """The chance that the draw had; None of a reported one, which nobody has drawn."""
    speaker_group: str
    tags: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Page:
    """A part of the queue."""

    items: tuple[QueueItem, ...]
    after: str
    """What to ask for the next page with; empty where this was the last."""


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """How many wait."""

    count: int
    is_more: bool
    """There are more than `count`; no more were counted."""

    def __str__(self) -> str:
        return f"more than {self.count:,}" if self.is_more else f"{self.count:,}"


@dataclass(frozen=True)
class _Place:
    """One row of a queue, and where it stands in it."""

    inference_id: str
    suspicion: float | None
    probability: float | None
    key: tuple[float | None, str]


class ReviewQueue:
    """Hands out what waits; a correction takes it out."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def page(self, stream: Stream | None = None, *, limit: int = 20, after: str = "") -> Page:
        """The next of one stream, or of all in turn, so that none has to wait for another.

        `after` is that of the page before. Suspicious ones come by their suspicion, highest first.
        Audits come in random order: what of them is labelled first is a random part of them, too.
        Reported ones without a suspicion come first, the oldest first; then the others by it. What
        is in two streams may come twice. Raises `BadInputError` for an `after` that is none.
        """
        if not 1 <= limit <= PAGE_AT_MOST:
            raise BadInputError(f"A page has 1 to {PAGE_AT_MOST:,} transcripts, not {limit}.")
        keys = _read_cursor(after)
        streams = list(Stream) if stream is None else [stream]
        with self._engine.connect() as connection:
            # One more each, to know whether there is another page.
            found = [
                [(one, place) for place in _places(connection, one, keys.get(one), limit + 1)]
                for one in streams
            ]
            in_turn = [one for turn in zip_longest(*found) for one in turn if one is not None]
            chosen = in_turn[:limit]
            items = _items(connection, chosen)
        for one, place in chosen:
            keys[one] = place.key
        return Page(items=items, after=_cursor(keys) if len(in_turn) > limit else "")

    def waiting(self) -> dict[Stream, Waiting]:
        """How many of each stream wait, up to 10,000."""
        with self._engine.connect() as connection:
            return {stream: count_waiting(connection, stream) for stream in Stream}


def _waiting_of(stream: Stream) -> Any:
    if stream is Stream.REPORTED:
        return error_cases.c.status == CaseStatus.OPEN
    return (selections.c.stream == stream) & selections.c.labelled_at.is_(None)


def count_waiting(connection: Connection, stream: Stream) -> Waiting:
    """How many of a stream wait, up to 10,000."""
    # What the index holds, so that no row has to be looked up.
    column = error_cases.c.id if stream is Stream.REPORTED else selections.c.inference_id
    some = select(column).where(_waiting_of(stream)).limit(COUNTED_AT_MOST + 1)
    count = connection.execute(select(func.count()).select_from(some.subquery())).scalar_one()
    return Waiting(count=min(count, COUNTED_AT_MOST), is_more=count > COUNTED_AT_MOST)


def answer(connection: Connection, correction: Correction, outcome: Outcome) -> None:
    """What the audit, or the queue, came to; most corrections are of neither.

    An audit is answered only by who was asked. Were it answered by those who came because something
    is wrong, too, then what is labelled would be wrong more often than what was drawn. It stays in
    the queue then, and somebody else hears it once more.
    """
    this = selections.c.inference_id == correction.inference_id
    if correction.method != AUDIT_METHOD:
        open_case = select(error_cases.c.id).where(
            error_cases.c.inference_id == correction.inference_id,
            error_cases.c.status == CaseStatus.OPEN,
        )
        # Once it is labelled, the newest word counts, whoever says it.
        answers = or_(selections.c.stream != Stream.AUDIT, selections.c.labelled_at.is_not(None))
        if correction.method not in UNASKED_METHODS:
            answers = or_(answers, ~open_case.exists())
        this = this & answers
    label = {
        # When it was labelled first: what is wrong is more often labelled twice, and would be most
        # of what was labelled last.
        "labelled_at": func.coalesce(selections.c.labelled_at, literal(now(), UtcDateTime)),
        "is_error": bool(outcome.types),
        "words": outcome.words,
        "word_errors": outcome.errors,
        **{name: _of_audit(column) for name, column in _HEARD.items()},
    }
    connection.execute(selections.update().where(this).values(**label))


def _of_audit(column: str) -> Any:
    of_transcript = select(inferences.c[column])
    of_transcript = of_transcript.where(inferences.c.id == selections.c.inference_id)
    return case((selections.c.stream == Stream.AUDIT, of_transcript.scalar_subquery()))


def forget_answers(connection: Connection) -> None:
    """Everything that was ever selected waits again."""
    labelled = selections.c.labelled_at.is_not(None)
    connection.execute(selections.update().where(labelled).values(**_NO_LABEL))


_Key = tuple[float | None, str]


def _places(connection: Connection, stream: Stream, key: _Key | None, count: int) -> list[_Place]:
    if stream is not Stream.REPORTED:
        rows = connection.execute(_selected(stream, key, count))
        suspicious = stream is Stream.SUSPICIOUS
        return [
            _Place(
                row.inference_id,
                row.priority if suspicious else None,
                row.probability,
                (row.priority, row.inference_id),
            )
            for row in rows
        ]
    places: list[_Place] = []
    for query in _reported(key, count):
        places += [
            _Place(row.inference_id, row.suspicion, None, (row.suspicion, row.id))
            for row in connection.execute(query.limit(count - len(places)))
        ]
    return places


def _selected(stream: Stream, key: _Key | None, count: int) -> Select[Any]:
    """The next `count` selections of a stream, after the one with that priority and id."""
    column = selections.c
    query: Select[Any] = select(column.inference_id, column.priority, column.probability)
    # PostgreSQL does not see that labelled_at is the same in all, and would sort half a million
    # rows unless it is named as the index has it.
    query = query.where(_waiting_of(stream)).order_by(
        column.labelled_at.desc(), column.priority.desc(), column.inference_id.desc()
    )
    if key is not None:
        query = query.where(tuple_(column.priority, column.inference_id) < tuple_(*key))
    return query.limit(count)


def _reported(key: _Key | None, count: int) -> list[Select[Any]]:
    """The next open cases: those without a suspicion, oldest first, then the others.

    In two queries, since SQLite and PostgreSQL do not sort NULL to the same end.
    """
    column = error_cases.c
    query: Select[Any] = select(column.inference_id, column.suspicion, column.id)
    query = query.where(_waiting_of(Stream.REPORTED)).limit(count)
    sure = query.where(column.suspicion.is_(None)).order_by(column.suspicion, column.id)
    others = query.where(column.suspicion.is_not(None))
    others = others.order_by(column.suspicion.desc(), column.id.desc())
    if key is None:
        return [sure, others]
    suspicion, case_id = key
    if suspicion is None:
        return [sure.where(column.id > case_id), others]
    return [others.where(tuple_(column.suspicion, column.id) < tuple_(suspicion, case_id))]


def _items(
    connection: Connection, chosen: Sequence[tuple[Stream, _Place]]
) -> tuple[QueueItem, ...]:
    """With what was heard; one that is in two streams stands once."""
    names = [name for name in QueueItem.__dataclass_fields__ if name in inferences.c]
    query = select(
        inferences.c.id.label("inference_id"),
        inferences.c.created_at.label("heard_at"),
        *(inferences.c[name] for name in names),
    ).where(inferences.c.id.in_([place.inference_id for _, place in chosen]))
    heard = {row["inference_id"]: dict(row) for row in connection.execute(query).mappings()}
    made = []
    for stream, place in chosen:
        known = heard.pop(place.inference_id, None)
        if known is not None:
            made.append(
                QueueItem(
                    stream=stream,
                    suspicion=place.suspicion,
                    probability=place.probability,
                    **known,
                )
            )
    return tuple(made)


def _cursor(keys: Mapping[Stream, _Key]) -> str:
    text = json.dumps(keys, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_cursor(given: str) -> dict[Stream, _Key]:
    if not given:
        return {}
    try:
        text = base64.urlsafe_b64decode(given + "=" * (-len(given) % 4))
        return {Stream(name): _key(value) for name, value in json.loads(text).items()}
    except (binascii.Error, ValueError, AttributeError, TypeError) as error:
        raise BadInputError(
            f"'{given}' is no place in the queue. Give what the page before says, or nothing to "
            "begin with the first."
        ) from error


def _key(value: Any) -> _Key:
    number, name = value
    if not isinstance(name, str):
        raise TypeError(f"no id: {name!r}")
    return (None if number is None else float(number), name)
