"""Count what has come, and choose what a person should look at; each inference once.

Logging has to be quick, so it adds a row and nothing else. The digest follows it: in portions, each
of them one transaction, so that it may be killed anywhere and counts nothing twice.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, case, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from misheard.capture.captured import LIMITS, NAME_CHARACTERS
from misheard.database import latencies, tallies
from misheard.database.engine import now, writing
from misheard.database.schema import error_cases, hourly, inferences, marks, selections
from misheard.database.tallies import Tally
from misheard.database.totals import SUMMED, Totals
from misheard.speech.transcriber import Progress, no_progress

_AT_ONCE = 4_000
"""Inferences a transaction: less than a tenth of a second, for which other writers wait."""
READ_OF_ROWS = ("text", "duration_s", "latency_s", "compute_s", "avg_logprob")
"""What `Hour` reads of a row of `inferences`, beside the status of its case."""
_OPEN, _CORRECTED = "open", "corrected"
_DRAWN_OF = 16**10
_KEYS = ["hour", "version_id", "slice"]


@dataclass(frozen=True, kw_only=True)
class DigestRules:
    """What is counted apart, and what is chosen."""

    slices: tuple[str, ...] = ()
    """Tags whose values are counted apart."""
    audit_share: float = 0.0
    """Share of the traffic that is drawn at random for a person to look at."""
    min_suspicion: float = 0.5
    """What is at least so suspicious is put into the queue."""


Scorer = Callable[[Connection, Sequence[Any]], Sequence[float | None]]
"""Rows of `inferences` → the suspicion of each; it may keep what it learns of speakers."""


@dataclass
class Hour:
    """What is added to a row of `hourly`; the names are its columns."""

    inferences: int = 0
    empty: int = 0
    audio_s: float = 0.0
    timed: int = 0
    latency_s: float = 0.0
    least_latency_s: float | None = None
    most_latency_s: float | None = None
    latency_counts: Counter[int] = field(default_factory=Counter)
    compute_s: float = 0.0
    computed_audio_s: float = 0.0
    suspected: int = 0
    suspicion: float = 0.0
    suspicion_squared: float = 0.0
    scored: int = 0
    avg_logprob: float = 0.0
    errors: int = 0
    corrected: int = 0

    def add(self, row: Any, suspicion: float | None) -> None:
        """Count one inference."""
        self.inferences += 1
        self.empty += not row.text.strip()
        audio_s = row.duration_s or 0.0
        self.audio_s += audio_s
        if (took_s := row.latency_s) is not None:
            self.timed += 1
            self.latency_s += took_s
            least, most = self.least_latency_s, self.most_latency_s
            self.least_latency_s = took_s if least is None else min(least, took_s)
            self.most_latency_s = took_s if most is None else max(most, took_s)
            self.latency_counts[latencies.bucket_of(took_s)] += 1
        if row.compute_s is not None:
            self.compute_s += row.compute_s
            self.computed_audio_s += audio_s
        if suspicion is not None:
            self.suspected += 1
            self.suspicion += suspicion
            self.suspicion_squared += suspicion * suspicion
        if row.avg_logprob is not None:
            self.scored += 1
            self.avg_logprob += row.avg_logprob
        self.errors += row.status in (_OPEN, _CORRECTED)
        self.corrected += row.status == _CORRECTED


_Key = tuple[datetime, str, str]
"""Hour, version and slice."""


@dataclass
class _Portion:
    """What one portion comes to."""

    hours: dict[_Key, Hour] = field(default_factory=dict)
    chosen: list[dict[str, Any]] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)


class Digest:
    """Follows the log; several processes may run it at once."""

    def __init__(self, engine: Engine, *, rules: DigestRules, scorer: Scorer) -> None:
        self._engine = engine
        self._rules = rules
        self._scorer = scorer

    def behind(self) -> int:
        """How many inferences wait to be counted, about: deleted ones are among them."""
        with self._engine.connect() as connection:
            return tallies.behind(connection)

    def catch_up(self, *, progress: Progress = no_progress) -> int:
        """Count all that has come; how many they were."""
        counted = 0
        # Asked first, since most of the time there is nothing, and nobody need wait for that.
        while self.behind():
            with writing(self._engine) as connection:
                done = self._portion(connection)
            counted += done
            progress(done)
            if not done:
                break
        return counted

    def _portion(self, connection: Connection) -> int:
        after = tallies.digested_to(connection)
        rows = _rows_after(connection, after)
        if not rows:
            return 0
        if _mend(connection, after, rows[-1].number):
            rows = _rows_after(connection, after)
        tallies.count_apart(connection, self._rules.slices)
        traffic = [row for row in rows if not row.reported]
        portion = self._count(connection, traffic)
        _add_hours(connection, portion.hours)
        _add_since_ever(connection, portion.hours)
        portion.tally.write(connection)
        if portion.chosen:
            connection.execute(insert(selections), portion.chosen)
        _mark(connection, rows[-1].number)
        return len(rows)

    def _count(self, connection: Connection, rows: Sequence[Any]) -> _Portion:
        portion, era, moment = _Portion(), tallies.current_era(connection), now()
        suspicions = self._scorer(connection, rows)
        since = errors = 0
        for row, suspicion in zip(rows, suspicions, strict=True):
            hour = tallies.hour_of(row.created_at)
            for name in self._slices_of(row):
                key = (hour, row.version_id, name)
                of_hour = portion.hours.get(key)
                if of_hour is None:
                    of_hour = portion.hours[key] = Hour()
                of_hour.add(row, suspicion)
            if era.holds(row.created_at):
                since += 1
                errors += row.status in (_OPEN, _CORRECTED)
            chosen = self._choose(row, suspicion)
            if chosen is not None:
                portion.chosen.append({"created_at": moment, **chosen})
        portion.tally.add(era.cycle_id, tallies.INFERENCES, since)
        portion.tally.add(era.cycle_id, tallies.INFERENCE_ERRORS, errors)
        return portion

    def _slices_of(self, row: Any) -> list[str]:
        known = [name for name in self._rules.slices if name in row.tags]
        named = (f"{name}={row.tags[name]}" for name in known)
        return ["", *(name for name in named if len(name) <= NAME_CHARACTERS)]

    def _choose(self, row: Any, suspicion: float | None) -> dict[str, Any] | None:
        """A random draw first, whatever it is: an audit sees what is suspicious as often as not."""
        share = self._rules.audit_share
        # The id's last ten digits are random: a draw that comes out alike when it is repeated.
        if share and (drawn := int(row.id[-10:], 16)) < share * _DRAWN_OF:
            return {
                "inference_id": row.id,
                "stream": "audit",
                "probability": share,
                # In random order: were the suspicious first, what is labelled so far would be no
                # random part of it, and say that more is wrong than is.
                "priority": drawn / (share * _DRAWN_OF),
            }
        if suspicion is not None and suspicion >= self._rules.min_suspicion and row.status is None:
            return {
                "inference_id": row.id,
                "stream": "suspicious",
                "probability": 1.0,
                "priority": suspicion,
            }
        return None


def _mend(connection: Connection, after: int, to: int) -> int:
    """Take out of a portion what no sum and no key can hold; how many rows had such.

    It is refused today, but may be there since before it was, and would stop the digest for ever.
    """
    column = inferences.c
    within = {name: column[name].between(*limits) for name, limits in LIMITS.items()}
    kept: dict[str, Any] = {name: case((is_kept, column[name])) for name, is_kept in within.items()}
    is_long = func.length(column.version_id) > NAME_CHARACTERS
    kept["version_id"] = func.substr(column.version_id, 1, NAME_CHARACTERS)
    beyond = or_(is_long, *(~is_kept for is_kept in within.values()))
    these = (column.number > after) & (column.number <= to)
    mended = connection.execute(update(inferences).where(these, beyond).values(**kept)).rowcount
    if mended:
        logging.getLogger("misheard").warning(
            "%d transcripts had numbers that cannot be, which are left out now, or a name of more "
            "than %d characters, which is cut.",
            mended,
            NAME_CHARACTERS,
        )
    return mended


def _rows_after(connection: Connection, number: int) -> Sequence[Any]:
    query = (
        select(inferences, error_cases.c.status)
        .outerjoin(error_cases, error_cases.c.inference_id == inferences.c.id)
        .where(inferences.c.number > number)
        .order_by(inferences.c.number)
        .limit(_AT_ONCE)
    )
    return connection.execute(query).all()


def _add_hours(connection: Connection, hours: Mapping[_Key, Hour]) -> None:
    if not hours:
        return
    on_sqlite = connection.dialect.name == "sqlite"
    made = sqlite.insert(hourly) if on_sqlite else postgresql.insert(hourly)
    smaller, larger = (func.min, func.max) if on_sqlite else (func.least, func.greatest)
    least, most = hourly.c.least_latency_s, hourly.c.most_latency_s
    new_least, new_most = made.excluded.least_latency_s, made.excluded.most_latency_s
    more: dict[str, Any] = {
        one.name: hourly.c[one.name] + made.excluded[one.name]
        for one in fields(Hour)
        if one.name != "latency_counts"
    }
    # Nobody else changes them meanwhile: the digest is held, see `_portion`.
    more["latency_counts"] = made.excluded.latency_counts
    # SQLite's min() of several is NULL where one is.
    more["least_latency_s"] = smaller(
        func.coalesce(least, new_least), func.coalesce(new_least, least)
    )
    more["most_latency_s"] = larger(func.coalesce(most, new_most), func.coalesce(new_most, most))
    known = _known_latencies(connection, hours)
    rows = []
    for key, counts in sorted(hours.items()):
        row = {**dict(zip(_KEYS, key, strict=True)), **vars(counts)}
        if key in known:
            row["latency_counts"] = summed = counts.latency_counts.copy()
            latencies.add(summed, known[key])
        rows.append(row)
    connection.execute(made.on_conflict_do_update(index_elements=_KEYS, set_=more), rows)


def _known_latencies(connection: Connection, keys: Iterable[_Key]) -> dict[_Key, dict[str, int]]:
    """What these hours have been counted to already, and their other versions and slices."""
    columns = [hourly.c[name] for name in _KEYS]
    query = select(*columns, hourly.c.latency_counts)
    # Hours alone: slices may be more than a statement takes.
    found = connection.execute(query.where(hourly.c.hour.in_({hour for hour, _, _ in keys})))
    return {(row[0], row[1], row[2]): row[3] for row in found}


def _add_since_ever(connection: Connection, hours: Mapping[_Key, Hour]) -> None:
    totals, waited = Totals(), Counter[tuple[str, int]]()
    for (_, version_id, slice_name), counts in hours.items():
        if not slice_name:
            totals.add(version_id, **{name: getattr(counts, name) for name in SUMMED})
            for bucket, count in counts.latency_counts.items():
                waited[version_id, bucket] += count
    totals.write(connection)
    latencies.add_to_totals(connection, waited)


def _mark(connection: Connection, number: int) -> None:
    made = (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(marks)
    query = made.on_conflict_do_update(index_elements=["reader"], set_={"number": number})
    connection.execute(query, {"reader": tallies.READER, "number": number})


def no_suspicion(_: Connection, rows: Sequence[Any]) -> Sequence[float | None]:
    """A scorer that suspects nothing."""
    return [None] * len(rows)
