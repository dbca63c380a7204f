"""The queries behind `Cases`: the newest correction of an utterance, found by its index."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, and_, func, select, union

from misheard.cases.measure import MEASURED
from misheard.cases.records import CaseStatus, ErrorCase, Labelled
from misheard.database.schema import case_types, corrections, error_cases, inferences

NEWEST = corrections.alias("newest")
_any = corrections.alias("any_correction")


def _is_newest_of(inference_id: Any) -> Any:
    last = select(func.max(_any.c.number)).where(_any.c.inference_id == inference_id)
    return and_(
        NEWEST.c.inference_id == inference_id,
        NEWEST.c.number == last.correlate(inference_id.table).scalar_subquery(),
    )


CASES_WITH_NEWEST = error_cases.outerjoin(NEWEST, _is_newest_of(error_cases.c.inference_id))
"""Every case beside the newest correction of its utterance."""

CASES: Select[Any] = select(
    *(column for column in error_cases.c if column.name != "since_cycle"),
    inferences.c.audio_sha256,
    inferences.c.source,
    inferences.c.speaker,
    inferences.c.speaker_group,
    inferences.c.tags,
    inferences.c.text.label("hypothesis"),
    NEWEST.c.reference,
).select_from(CASES_WITH_NEWEST.join(inferences, inferences.c.id == error_cases.c.inference_id))

_AT_ONCE = 500


def cases(connection: Connection, query: Select[Any]) -> list[ErrorCase]:
    """The cases that `query` (made from `CASES`) finds, with their types of error."""
    rows = [dict(row) for row in connection.execute(query).mappings()]
    types = _types(connection, [row["id"] for row in rows])
    made = []
    for row in rows:
        status = CaseStatus(row.pop("status"))
        made.append(ErrorCase(**row, status=status, error_types=types[row["id"]]))
    return made


def chosen(
    connection: Connection,
    *,
    status: CaseStatus | None,
    error_type: str | None,
    speaker_group: str | None,
    tags: Mapping[str, str],
) -> list[Any]:
    """What has to hold of a case to be among those that are asked for."""
    wanted: list[Any] = []
    if status is not None:
        wanted.append(error_cases.c.status == status)
    if error_type is not None:
        named = select(case_types.c.case_id).where(case_types.c.name == error_type)
        wanted.append(error_cases.c.id.in_(named))
    if speaker_group is not None:
        wanted.append(inferences.c.speaker_group == speaker_group)
    wanted += [_is_tagged(connection, name, value) for name, value in tags.items()]
    return wanted


def _is_tagged(connection: Connection, name: str, value: str) -> Any:
    # Not by a path into the JSON: on SQLite that finds no name beyond ASCII.
    is_sqlite = connection.dialect.name == "sqlite"
    pairs = (func.json_each if is_sqlite else func.json_each_text)(inferences.c.tags)
    pair = pairs.table_valued("key", "value")
    return select(pair.c.key).where(pair.c.key == name, pair.c.value == value).exists()


def status_of(connection: Connection, inference_id: str) -> CaseStatus:
    """How a case of it stands, by the newest word on its utterance."""
    query = select(corrections.c.is_error).where(corrections.c.inference_id == inference_id)
    newest = connection.execute(query.order_by(corrections.c.number.desc()).limit(1)).scalar()
    if newest is None:
        return CaseStatus.OPEN
    return CaseStatus.CORRECTED if newest else CaseStatus.CONFIRMED


def touched(since: datetime) -> Any:
    """Which cases were opened, or their utterances labelled, after `since`."""
    opened = select(error_cases.c.id).where(error_cases.c.created_at > since)
    labelled_since = (
        select(error_cases.c.id)
        .join(corrections, corrections.c.inference_id == error_cases.c.inference_id)
        .where(corrections.c.created_at > since)
    )
    return error_cases.c.id.in_(union(opened, labelled_since))


def confirmations(since: datetime | None) -> Select[Any]:
    """How many utterances were confirmed as right."""
    later = corrections.alias("later")
    followed = select(later.c.number).where(
        later.c.inference_id == NEWEST.c.inference_id, later.c.number > NEWEST.c.number
    )
    query: Select[Any] = select(func.count()).select_from(NEWEST)
    query = query.where(NEWEST.c.is_error.is_(False), ~followed.exists())
    return query if since is None else query.where(NEWEST.c.created_at > since)


def labelled(connection: Connection) -> Iterator[Labelled]:
    """Every utterance that somebody labelled, in the order of the newest labels."""
    query: Select[Any] = (
        select(
            inferences.c.id.label("inference_id"),
            inferences.c.audio_sha256,
            inferences.c.duration_s,
            inferences.c.speaker_group,
            inferences.c.tags,
            inferences.c.text.label("hypothesis"),
            NEWEST.c.reference,
            NEWEST.c.is_error,
        )
        .select_from(inferences.join(NEWEST, _is_newest_of(inferences.c.id)))
        # Without audio there is nothing to learn from, or to be tested on.
        .where(inferences.c.audio_sha256 != "")
        .order_by(NEWEST.c.number)
    )
    types, others = _types_by_inference(connection), _other_words(connection)
    for row in connection.execute(query).mappings():
        key = row["inference_id"]
        yield Labelled(**row, error_types=types[key], other_references=others[key])


def _types(connection: Connection, ids: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[tuple[bool, str]]] = {key: [] for key in ids}
    for start in range(0, len(ids), _AT_ONCE):
        query = select(case_types).where(case_types.c.case_id.in_(ids[start : start + _AT_ONCE]))
        for case_id, name, given in connection.execute(query):
            found[case_id].append((given, name))
    return {key: _ordered(pairs) for key, pairs in found.items()}


def _ordered(pairs: Sequence[tuple[bool, str]]) -> list[str]:
    given = sorted(name for is_given, name in pairs if is_given)
    measured = {name for is_given, name in pairs if not is_given}
    return [*given, *(name for name in MEASURED if name in measured and name not in given)]


def _types_by_inference(connection: Connection) -> dict[str, tuple[str, ...]]:
    query = select(error_cases.c.inference_id, case_types.c.given, case_types.c.name).join(
        case_types, case_types.c.case_id == error_cases.c.id
    )
    found: dict[str, list[tuple[bool, str]]] = defaultdict(list)
    for inference_id, given, name in connection.execute(query):
        found[inference_id].append((given, name))
    return defaultdict(tuple, {key: tuple(_ordered(pairs)) for key, pairs in found.items()})


def _other_words(connection: Connection) -> dict[str, tuple[str, ...]]:
    """For utterances that several people labelled: what all but the newest of them said last."""
    several = (
        select(corrections.c.inference_id)
        .group_by(corrections.c.inference_id)
        .having(func.count(corrections.c.author.distinct()) > 1)
    )
    query = (
        select(corrections.c.inference_id, corrections.c.author, corrections.c.reference)
        .where(corrections.c.inference_id.in_(several))
        .order_by(corrections.c.number)
    )
    said: dict[str, dict[str, str]] = defaultdict(dict)
    for inference_id, author, reference in connection.execute(query):
        # Taken out first, so that the newest author stands last.
        said[inference_id].pop(author, None)
        said[inference_id][author] = reference
    words = {key: tuple(by_author.values())[:-1] for key, by_author in said.items()}
    return defaultdict(tuple, words)


def corrected_since(
    connection: Connection, *, since: datetime | None, limit: int
) -> list[tuple[str, str]]:
    """Reference and hypothesis of what was corrected after `since`, newest first.

    Only the newest `limit` corrections are looked at, and of an utterance only the newest.
    """
    query: Select[Any] = (
        select(
            corrections.c.number,
            corrections.c.inference_id,
            corrections.c.is_error,
            corrections.c.reference,
            inferences.c.text,
        )
        .join(inferences, inferences.c.id == corrections.c.inference_id)
        .order_by(corrections.c.created_at.desc(), corrections.c.number.desc())
        .limit(limit)
    )
    if since is not None:
        query = query.where(corrections.c.created_at > since)
    newest: dict[str, Any] = {}
    # A clock may have been set back: of one transcript the highest number is the newest.
    for row in sorted(connection.execute(query), key=lambda row: -row.number):
        newest.setdefault(row.inference_id, row)
    return [(one.reference, one.text) for one in newest.values() if one.is_error]
