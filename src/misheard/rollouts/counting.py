"""Counts what requests of a rollout came to: a session goes wrong once, however often it asks.

All of it happens in the caller's transaction, in a few queries for a group of requests.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rapidfuzz.distance import Levenshtein
from sqlalchemy import Connection, Table, func, select
from sqlalchemy.dialects import postgresql, sqlite

from misheard.database.engine import now
from misheard.database.schema import (
    RUNNING,
    corrections,
    inferences,
    marks,
    rollout_counts,
    rollout_sessions,
    rollouts,
    shadow_transcripts,
)
from misheard.rollouts.signals import Signal
from misheard.rollouts.states import Arm, read_tag
from misheard.scoring.normalize import normalizer
from misheard.speech.transcriber import Transcript

REQUESTS, SESSIONS, WORDS, DIFFERENCES = "requests", "sessions", "words", "differences"
"""What is counted beside the signals; the last two of shadows."""
_READER = "rollouts"
"""The name of the mark: how far the corrections were looked at."""
_AT_ONCE = 500
_plain = normalizer("unicode").function

Counts = Counter[tuple[str, int, str, str]]
"""Rollout, step, arm and what is counted → how often."""


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What a request of a canary came to."""

    rollout_id: str
    step: int
    """That by whose share it was given to an arm."""
    arm: Arm
    session: str | None
    wrong: frozenset[Signal]


@dataclass(frozen=True, kw_only=True)
class Shadowed:
    """What a shadow made of a request, beside the live version."""

    rollout_id: str
    session: str | None
    inference_id: str | None
    """The live version's, where it was logged: what the shadow heard is kept beside it alone."""
    live_text: str | None
    """None where the live version failed, and so of the candidate below."""
    live_wrong: frozenset[Signal]
    candidate: Transcript | None
    candidate_wrong: frozenset[Signal]


@dataclass
class _Session:
    """What its row says."""

    arm: str
    wrong: set[str]
    changed: bool


class _Sessions:
    """The rows of the sessions of some requests, read at once and written at once."""

    def __init__(self, connection: Connection, asked: Iterable[tuple[str, str]]) -> None:
        """`asked`: rollout and session, as their callers name them."""
        self._connection = connection
        wanted = defaultdict(set)
        for rollout_id, session in asked:
            wanted[rollout_id].add(_hashed(rollout_id, session))
        self._rows: dict[tuple[str, str], _Session] = {}
        c = rollout_sessions.c
        for rollout_id, keys in wanted.items():
            for some in _portions(sorted(keys)):
                query = select(c.session, c.arm, c.wrong)
                query = query.where(c.rollout_id == rollout_id, c.session.in_(some))
                for key, arm, wrong in connection.execute(query):
                    self._rows[rollout_id, key] = _Session(arm, set(wrong), changed=False)

    def of(self, rollout_id: str, session: str) -> _Session:
        """One that is new has an arm that none has."""
        key = (rollout_id, _hashed(rollout_id, session))
        return self._rows.setdefault(key, _Session("new", set(), changed=False))

    def write(self) -> None:
        rows = [
            {"rollout_id": key[0], "session": key[1], "arm": one.arm, "wrong": sorted(one.wrong)}
            for key, one in sorted(self._rows.items())
            if one.changed
        ]
        _upsert(self._connection, rollout_sessions, ["rollout_id", "session"], rows)


def note_in(connection: Connection, observed: Sequence[Observed]) -> None:
    """Count requests of canaries; those of one that has ended count no more."""
    going_on = _running(connection, {one.rollout_id for one in observed})
    counted = [one for one in observed if one.rollout_id in going_on]
    counts: Counts = Counter()
    sessions = _Sessions(
        connection, ((one.rollout_id, one.session) for one in counted if one.session is not None)
    )
    for one in counted:
        here = (one.rollout_id, one.step, str(one.arm))
        counts[*here, REQUESTS] += 1
        # Without a session it is one by itself, of which nothing is kept.
        known = _Session("new", set(), changed=False)
        if one.session is not None:
            known = sessions.of(one.rollout_id, one.session)
        if known.arm != one.arm:
            counts[*here, SESSIONS] += 1
            known.arm, known.changed = str(one.arm), True
        _once(known, one.wrong, here, counts)
    sessions.write()
    _add(connection, counts)


def note_shadows_in(connection: Connection, heard: Sequence[Shadowed]) -> None:
    """Count what shadows heard, and keep it beside what the live version did.

    Of a session counts the first request in which one of the two went wrong and the other did not.
    """
    going_on = _running(connection, {one.rollout_id for one in heard})
    counted = [one for one in heard if one.rollout_id in going_on]
    counts: Counts = Counter()
    sessions = _Sessions(
        connection, ((one.rollout_id, one.session) for one in counted if one.session is not None)
    )
    rows = []
    for one in counted:
        live, candidate = ((one.rollout_id, 0, str(arm)) for arm in (Arm.LIVE, Arm.CANDIDATE))
        # Without a session it is one by itself, of which nothing is kept.
        known = _Session("new", set(), changed=False)
        if one.session is not None:
            known = sessions.of(one.rollout_id, one.session)
        is_new = known.arm != ""
        known.arm, known.changed = "", known.changed or is_new
        for here, wrong in (
            (live, one.live_wrong - one.candidate_wrong),
            (candidate, one.candidate_wrong - one.live_wrong),
        ):
            _once(known, {signal for signal in wrong if signal.is_of_shadows}, here, counts)
        for here in (live, candidate):
            counts[*here, REQUESTS] += 1
            counts[*here, SESSIONS] += is_new
        words, differences = _differences(one)
        counts[*candidate, WORDS] += words
        counts[*candidate, DIFFERENCES] += differences
        if one.inference_id is not None and one.candidate is not None:
            rows.append(_row(one, one.candidate, words, differences))
    sessions.write()
    _keep(connection, rows)
    _add(connection, counts)


def note_corrections_in(connection: Connection) -> int:
    """Count what people have corrected since it was last looked; how many corrections that were.

    A session counts once, and so does a request without one, however often it is corrected.
    """
    since = _mark(connection)
    c = corrections.c
    query = (
        select(
            c.number, c.is_error, c.inference_id, inferences.c.session, inferences.c.tags,
            inferences.c.version_id,
        )
        .join(inferences, inferences.c.id == c.inference_id)
        .where(c.number > since)
        .order_by(c.number)
    )  # fmt: skip
    rows = connection.execute(query).all()
    if not rows:
        return 0
    told = [(row, read_tag(row.tags)) for row in rows if row.is_error]
    going_on = _running(connection, {tag[0] for _, tag in told if tag is not None})
    ours = [(row, *tag) for row, tag in told if tag is not None and tag[0] in going_on]
    sessions = _Sessions(
        connection, ((id_, row.session) for row, id_, _ in ours if row.session is not None)
    )
    counts: Counts = Counter()
    for row, id_, step in ours:
        live, candidate = going_on[id_]
        arm = {live: Arm.LIVE, candidate: Arm.CANDIDATE}.get(row.version_id)
        if arm is None:
            continue
        here = (id_, step, str(arm))
        if row.session is not None:
            _once(sessions.of(id_, row.session), {Signal.CORRECTED}, here, counts)
        elif not _was_corrected_before(connection, row):
            counts[*here, Signal.CORRECTED] += 1
    sessions.write()
    _add(connection, counts)
    set_mark(connection, rows[-1].number)
    return len(rows)


def has_new_corrections(connection: Connection) -> bool:
    """Whether any came since it was last looked."""
    newest = connection.execute(select(func.max(corrections.c.number))).scalar() or 0
    return int(newest) > _mark(connection)


def set_mark(connection: Connection, number: int | None = None) -> None:
    """Corrections up to `number` were looked at; without it, up to the newest that there is."""
    if number is None:
        query = select(func.coalesce(func.max(corrections.c.number), 0))
        number = int(connection.execute(query).scalar_one())
    _upsert(connection, marks, ["reader"], [{"reader": _READER, "number": number}])


def counts_of(connection: Connection, rollout_id: str) -> dict[tuple[int, str, str], int]:
    """Step, arm and what is counted → how often."""
    c = rollout_counts.c
    query = select(c.step, c.arm, c.signal, c.count).where(c.rollout_id == rollout_id)
    return {(step, arm, signal): count for step, arm, signal, count in connection.execute(query)}


def _once(
    known: _Session, wrong: Collection[Signal], here: tuple[str, int, str], counts: Counts
) -> None:
    for signal in wrong:
        if signal not in known.wrong:
            counts[*here, signal] += 1
            known.wrong.add(signal)
            known.changed = True


def _running(connection: Connection, ids: Collection[str]) -> dict[str, tuple[str, str]]:
    """Of some rollouts those that go on → their live version and their candidate."""
    c = rollouts.c
    query = select(c.id, c.live_version_id, c.version_id).where(c.id.in_(sorted(ids)), RUNNING)
    return {row.id: (row.live_version_id, row.version_id) for row in connection.execute(query)}


def _was_corrected_before(connection: Connection, row: Any) -> bool:
    c = corrections.c
    query = select(c.number).where(
        c.inference_id == row.inference_id, c.number < row.number, c.is_error
    )
    return connection.execute(query.limit(1)).first() is not None


def _mark(connection: Connection) -> int:
    query = select(marks.c.number).where(marks.c.reader == _READER)
    return int(connection.execute(query).scalar() or 0)


def _differences(one: Shadowed) -> tuple[int, int]:
    """Words of the longer text, and in how many the two differ; none where one has failed."""
    if one.live_text is None or one.candidate is None:
        return 0, 0
    live, candidate = (_plain(text).split() for text in (one.live_text, one.candidate.text))
    return max(len(live), len(candidate)), Levenshtein.distance(live, candidate)


def _row(one: Shadowed, heard: Transcript, words: int, differences: int) -> dict[str, Any]:
    return {
        "rollout_id": one.rollout_id,
        "inference_id": one.inference_id,
        "created_at": now(),
        "text": heard.text,
        "avg_logprob": heard.avg_logprob,
        "no_speech_prob": heard.no_speech_prob,
        "compression_ratio": heard.compression_ratio,
        "latency_s": heard.latency_s,
        "words": words,
        "differences": differences,
    }


def _keep(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Beside inferences that are still there: somebody may have had one deleted meanwhile."""
    ids = [row["inference_id"] for row in rows]
    query = select(inferences.c.id).where(inferences.c.id.in_(ids))
    there = set(connection.scalars(query)) if ids else set()
    kept = [row for row in rows if row["inference_id"] in there]
    if kept:
        # A request that was sent again is logged once; the first that was heard of it stays.
        made = _inserting(connection, shadow_transcripts)
        connection.execute(made.on_conflict_do_nothing(), kept)


def _add(connection: Connection, counts: Counts) -> None:
    # In one order, so that two who add to the same rows do not wait for each other.
    rows = [
        {"rollout_id": id_, "step": step, "arm": arm, "signal": str(signal), "count": count}
        for (id_, step, arm, signal), count in sorted(counts.items())
        if count
    ]
    keys = ["rollout_id", "step", "arm", "signal"]
    _upsert(connection, rollout_counts, keys, rows, adding=True)


def _upsert(
    connection: Connection,
    table: Table,
    keys: Sequence[str],
    rows: Sequence[dict[str, Any]],
    *,
    adding: bool = False,
) -> None:
    if not rows:
        return
    made = _inserting(connection, table)
    values = {
        name: table.c[name] + made.excluded[name] if adding else made.excluded[name]
        for name in rows[0].keys() - set(keys)
    }
    connection.execute(made.on_conflict_do_update(index_elements=keys, set_=values), rows)


def _inserting(connection: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def _hashed(rollout_id: str, session: str) -> str:
    return hashlib.sha256(f"{rollout_id} {session}".encode(errors="surrogatepass")).hexdigest()[:32]


def _portions(keys: Sequence[str]) -> Iterable[Sequence[str]]:
    return (keys[start : start + _AT_ONCE] for start in range(0, len(keys), _AT_ONCE))
