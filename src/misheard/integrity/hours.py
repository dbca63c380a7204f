"""Each hour of the traffic, counted again from its rows.

The log is read once, in the order of its hours, beside what is kept of them; at no time is more in
memory than one hour of it comes to. To count something more, give `Hour` a column and name it here;
what has a table of its own is one more stream of `_beside`, and two methods of `HourAgain`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import merge
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Select, delete, func, insert, select

from misheard.capture.digest import READ_OF_ROWS, Hour
from misheard.database import tallies
from misheard.database.schema import audit, error_cases, hourly, inferences
from misheard.integrity.difference import Difference

_STREAM = {"yield_per": 2_000}
_BY_PEOPLE = ("errors", "corrected")
_COUNTS = ("inferences", "empty", "timed", "scored", *_BY_PEOPLE)
_SUMS = ("audio_s", "latency_s", "compute_s", "computed_audio_s", "avg_logprob")
_EXTREMES = ("least_latency_s", "most_latency_s")
_SUSPICION = ("suspected", "suspicion", "suspicion_squared")
Key = tuple[str, str]
"""A version and a slice."""


def tolerance(terms: int, value: float) -> float:
    """How far apart two sums of the same terms may be that were added up in different orders.

    Each addition is off by at most 2⁻⁵³ of what it comes to; all terms have the same sign, so no
    sum on the way is larger than the last one, and either way is off by at most so much for each
    term (Higham, "Accuracy and Stability of Numerical Algorithms", 4.2). The millionth is for
    lengths that were corrected later, by a difference.
    """
    return 1e-6 + 2 * terms * 2.0**-53 * abs(value)


@dataclass
class HourAgain:
    """One hour: what is kept of it, and what its rows come to."""

    hour: datetime
    apart: dict[str, int]
    """Tag → after which number of the log its values are counted apart."""
    let_go_before: datetime | None
    """What is older, retention may have deleted."""
    found: dict[Key, Any] = field(default_factory=dict)
    """Rows of `hourly`."""
    right: dict[Key, Hour] = field(default_factory=dict)
    surely: Counter[Key] = field(default_factory=Counter)
    """How many inferences cannot be missing; of a tag that is counted apart since the middle of the
    hour, or no more, the others can."""

    def take_found(self, row: Any) -> None:
        """A row of `hourly`; all of them come before the rows of the log."""
        self.found[row.version_id, row.slice] = row

    def take_heard(self, row: Any) -> None:
        """A row of the log that the digest has counted."""
        self._add("", row, is_sure=True)
        for name, value in row.tags.items():
            is_sure = row.number > self.apart.get(name, row.number)
            # A tag that nobody counts apart may have as many values as there are rows.
            if name in self.apart or (row.version_id, f"{name}={value}") in self.found:
                self._add(f"{name}={value}", row, is_sure=is_sure)

    def _add(self, name: str, row: Any, *, is_sure: bool) -> None:
        key = (row.version_id, name)
        hour = self.right.get(key)
        if hour is None:
            hour = self.right[key] = Hour()
        hour.add(row, None)
        self.surely[key] += is_sure

    def differences(self) -> Iterator[Difference]:
        """What is kept and is not what the rows come to."""
        for key in sorted(self.found.keys() | self.right.keys()):
            yield from self._of(key)

    def _of(self, key: Key) -> Iterator[Difference]:
        right, found = self.right.get(key, Hour()), self.found.get(key)
        sure = self.surely[key]
        if found is None:
            # Nor has it anything else.
            yield from self._one(key, "inferences", 0, sure, right.inferences)
            return
        gone, is_whole = found.let_go, sure == right.inferences
        for name in _COUNTS:
            most = getattr(right, name)
            least = most if is_whole else 0
            if name == "inferences":
                # All of the traffic is counted, what has no row any more, too.
                least = sure + (gone if key[1] == "" else 0)
            elif name in _BY_PEOPLE and not is_whole:
                continue  # what people say moves them whether they were counted or not
            yield from self._one(key, name, getattr(found, name), least, most + gone)
        if is_whole and not gone:
            for name in _EXTREMES:
                value = getattr(right, name)
                yield from self._one(key, name, getattr(found, name), value, value)
            for name in _SUMS:
                value = getattr(right, name)
                off = tolerance(right.inferences, value)
                yield from self._one(key, name, getattr(found, name), value, value, off)
        yield from self._latencies(key, found, right if is_whole and not gone else None)
        for name, value, least, most in _not_chances(found, found.inferences):
            yield self._difference(key, name, value, least, most)

    def _latencies(self, key: Key, found: Any, right: Hour | None) -> Iterator[Difference]:
        """The first bucket that differs; where the rows cannot tell, how many are in all."""
        told = {int(bucket): count for bucket, count in found.latency_counts.items()}
        if right is None:
            count = sum(told.values())
            yield from self._one(key, "latency_counts", count, found.timed, found.timed)
            return
        for bucket in sorted(told.keys() | right.latency_counts.keys()):
            counted, count = told.get(bucket, 0), right.latency_counts[bucket]
            if counted != count:
                yield self._difference(key, f"latencies in bucket {bucket}", counted, count, count)
                return

    def _one(
        self, key: Key, name: str, found: Any, least: Any, most: Any, off: float = 0.0
    ) -> Iterator[Difference]:
        if found in (least, most):
            return
        if None not in (found, least, most) and least - off <= found <= most + off:
            return
        yield self._difference(key, name, found, least, most)

    def _difference(self, key: Key, name: str, found: Any, least: Any, most: Any) -> Difference:
        version_id, of = key
        subject = f"{name} of {version_id}{f' with {of}' if of else ''} in the hour of "
        subject += f"{self.hour:%Y-%m-%d %H:%M} UTC"
        return Difference(subject, found, least, most, key=key, why_not=self._why_not(version_id))

    def _why_not(self, version_id: str) -> str:
        whole = self.found.get((version_id, ""))
        if whole is not None:
            return f"{whole.let_go:,} of its transcripts were let go" if whole.let_go else ""
        if self.let_go_before is not None and self.hour < self.let_go_before:
            return "transcripts of that time were let go"
        return ""

    def mend(self, connection: Connection, key: Key) -> None:
        """Let one row of `hourly` be what the rows of the log come to."""
        version_id, name = key
        this = (hourly.c.hour == self.hour) & (hourly.c.version_id == version_id)
        connection.execute(delete(hourly).where(this, hourly.c.slice == name))
        if key not in self.right:
            return
        right, found = self.right[key], self.found.get(key)
        values = {"hour": self.hour, "version_id": version_id, "slice": name, **vars(right)}
        if found and not any(_not_chances(found, right.inferences)):
            values |= {column: getattr(found, column) for column in _SUSPICION}
        connection.execute(insert(hourly).values(**values))


def _not_chances(row: Any, inferences_: int) -> Iterator[tuple[str, float, float, float]]:
    """Which sums over suspicions so many inferences cannot have, and between what they must be.

    The suspicions themselves are not kept. They are from 0 to 1, so their squares add up to no more
    than they do, and to no less than if all were alike.
    """
    count, total, squares = row.suspected, row.suspicion, row.suspicion_squared
    off = tolerance(inferences_, inferences_)
    if not 0 <= count <= inferences_:
        yield "suspected", count, 0, inferences_
    elif not -off <= total <= count + off:
        yield "suspicion", total, 0.0, float(count)
    else:
        alike = total * total / count if count else 0.0
        if not alike - off <= squares <= total + off:
            yield "suspicion_squared", squares, alike, total


def again(connection: Connection, only: datetime | None = None) -> Iterator[HourAgain]:
    """Every hour that has rows or counts, oldest first; or `only` that one."""
    number, apart = tallies.digested_to(connection), tallies.counted_apart(connection)
    before = _let_go_before(connection)
    for hour, items in groupby(_beside(connection, only), key=itemgetter(0)):
        made = HourAgain(hour, apart, before)
        for _, is_heard, row in items:
            if not is_heard:
                made.take_found(row)
            # Not in the query, whose order an index has: it would be sorted by what that leaves.
            elif row.number <= number and not row.reported:
                made.take_heard(row)
        yield made


def _beside(connection: Connection, only: datetime | None) -> Iterator[tuple[datetime, bool, Any]]:
    kept: Select[Any] = select(hourly).order_by(hourly.c.hour)
    columns = ("number", "created_at", "version_id", "reported", "tags", *READ_OF_ROWS)
    heard: Select[Any] = (
        select(*(inferences.c[name] for name in columns), error_cases.c.status)
        .outerjoin(error_cases, error_cases.c.inference_id == inferences.c.id)
        .order_by(inferences.c.created_at)
    )
    if only is not None:
        kept = kept.where(hourly.c.hour == only)
        column = inferences.c.created_at
        heard = heard.where(column >= only, column < only + timedelta(hours=1))
    yield from merge(
        ((row.hour, False, row) for row in connection.execute(kept, execution_options=_STREAM)),
        (
            (tallies.hour_of(row.created_at), True, row)
            for row in connection.execute(heard, execution_options=_STREAM)
        ),
        key=itemgetter(0, 1),
    )


def _let_go_before(connection: Connection) -> datetime | None:
    """Until when retention has deleted transcripts, as it wrote down."""
    evidence = audit.c.evidence
    query = select(func.max(evidence["before"].as_string())).where(
        audit.c.action == "let_go", evidence["transcripts"].as_integer() > 0
    )
    found = connection.execute(query).scalar()
    return datetime.fromisoformat(found) if found else None
