"""What gates, cycles and trainings wrote about a person's recordings, and how it is taken out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Engine, Table, delete, select, update

from misheard.audio import sha256_of
from misheard.blobs.store import BlobStore
from misheard.database.discarded import discard, portions, put_announced
from misheard.database.engine import writing
from misheard.database.schema import (
    alerts,
    audit,
    cycle_steps,
    cycles,
    hypotheses,
    infrastructure_checks,
    jobs,
    observations,
    suite_results,
    suite_runs,
    validations,
    versions,
)
from misheard.errors import BlobNotFoundError
from misheard.forgetting.words import SIDES, Eraser, without_confusions

_TOLD: tuple[tuple[Table, str, tuple[str, ...]], ...] = (
    (cycles, "id", ("detail",)),
    (cycle_steps, "number", ("detail",)),
    (alerts, "id", ("detail", "figures")),
    (infrastructure_checks, "id", ("detail", "figures")),
    (jobs, "id", ("error", "result")),
    (versions, "id", ("figures", "verdict", "details")),
)
"""Where reasons are repeated: table, its key, and what may hold words of a person."""
_AT_ONCE = 1_000
_SAID = ("correct", "confirm")
_REPEATED = ("alert",)
_AUDIT_ROWS = select(audit.c.number, audit.c.action, audit.c.subject, audit.c.reason).where(
    audit.c.action.in_((*_SAID, *_REPEATED))
)


class Verdicts:
    """Erases a person from them, a row or a portion at a time; doing it again changes nothing."""

    def __init__(self, engine: Engine, blobs: BlobStore) -> None:
        self._engine = engine
        self._blobs = blobs

    def erase(self, eraser: Eraser, *, general: bool) -> dict[str, int]:
        """How many rows of what were changed or deleted.

        `general`: it is in an evaluation set, so that lists of words over one may be of it.
        """
        return {
            "hypotheses": self._hypotheses(eraser),
            "validations": self._validations(eraser, general=general),
            "suite_runs": self._suite_runs(eraser),
            "told": sum(self._told(eraser, *where) for where in _TOLD),
        }

    def erase_said(self, ids: frozenset[str], eraser: Eraser) -> int:
        """Take the texts out of the audit log: of these inferences, and where it quotes them."""
        done = 0
        for rows in self._audit_rows():
            concerned = [number for number, _ in _audit_changes(rows, ids, eraser)]
            for some in _split(concerned, 200):
                with writing(self._engine) as connection:
                    # Somebody else may have erased another person from the row just now.
                    there = connection.execute(_AUDIT_ROWS.where(audit.c.number.in_(some))).all()
                    for number, values in _audit_changes(there, ids, eraser):
                        this = audit.c.number == number
                        connection.execute(update(audit).where(this).values(**values))
                        done += 1
        return done

    def erase_observed(self, names: frozenset[str]) -> int:
        """Take the names of recordings out of figures that were told of them."""
        done = 0
        for some in portions(sorted(names)):
            these = (observations.c.kind == "inference") & observations.c.subject.in_(some)
            with writing(self._engine) as connection:
                query = select(observations.c.number, observations.c.details).where(these)
                for number, details in connection.execute(query).all():
                    kept = {key: details[key] for key in ("version_id",) if key in details}
                    row = observations.c.number == number
                    values = {"subject": "", "details": kept}
                    connection.execute(update(observations).where(row).values(**values))
                    done += 1
        return done

    def _audit_rows(self) -> Iterator[Sequence[Any]]:
        last = 0
        while True:
            query = _AUDIT_ROWS.where(audit.c.number > last)
            with self._engine.connect() as connection:
                rows = connection.execute(query.order_by(audit.c.number).limit(_AT_ONCE)).all()
            if not rows:
                return
            last = rows[-1].number
            yield rows

    def _hypotheses(self, eraser: Eraser) -> int:
        done = 0
        with self._engine.connect() as connection:
            heard = list(connection.scalars(select(hypotheses.c.version_id).distinct()))
        for some in portions(sorted(eraser.recordings)):
            for version_id in heard:
                these = (hypotheses.c.version_id == version_id) & (
                    hypotheses.c.audio_sha256.in_(some)
                )
                with self._engine.connect() as connection:
                    found = connection.execute(select(hypotheses.c.version_id).where(these))
                    if found.first() is None:
                        continue
                with writing(self._engine) as connection:
                    done += connection.execute(delete(hypotheses).where(these)).rowcount
        return done

    def _validations(self, eraser: Eraser, *, general: bool) -> int:
        def change(row: dict[str, Any]) -> dict[str, Any]:
            erased = self._utterances(row["utterances_sha256"], eraser)
            changes = _of_run(row, eraser, heard=erased is not None, general=general)
            if erased is None:
                return changes
            return {**changes, "utterances_sha256": sha256_of(erased)}

        def keep(row: dict[str, Any], changes: dict[str, Any]) -> None:
            if "utterances_sha256" in changes:
                erased = self._utterances(row["utterances_sha256"], eraser)
                if erased is not None:
                    self._blobs.put_bytes(erased)

        return self._change(validations, "id", change, keep=keep)

    def _utterances(self, key: str, eraser: Eraser) -> bytes | None:
        """What is left of them; None where nothing has to go."""
        if not key:
            return None
        try:
            return eraser.of_lines(self._blobs.get_bytes(key))
        except BlobNotFoundError:
            # Somebody else has erased from it just now, or a backup was restored without blobs.
            return None

    def _suite_runs(self, eraser: Eraser) -> int:
        heard: set[str] = set()
        for some in portions(sorted(eraser.recordings)):
            these = suite_results.c.audio_sha256.in_(some)
            with self._engine.connect() as connection:
                heard.update(connection.scalars(select(suite_results.c.run_id).where(these)))
        done = self._change(
            suite_runs,
            "id",
            lambda row: _of_run(row, eraser, heard=row["id"] in heard, general=False),
        )
        # Last, since they tell which runs have heard it.
        for some in portions(sorted(eraser.recordings)):
            these = suite_results.c.audio_sha256.in_(some)
            if heard:
                with writing(self._engine) as connection:
                    connection.execute(delete(suite_results).where(these))
        return done

    def _told(self, eraser: Eraser, table: Table, key: str, columns: Sequence[str]) -> int:
        def change(row: dict[str, Any]) -> dict[str, Any]:
            erased = {name: eraser.of_json(row[name]) for name in columns}
            return {name: value for name, value in erased.items() if value != row[name]}

        return self._change(table, key, change)

    def _change(
        self,
        table: Table,
        key: str,
        change: Callable[[dict[str, Any]], dict[str, Any]],
        *,
        keep: Callable[[dict[str, Any], dict[str, Any]], None] = lambda _row, _changes: None,
    ) -> int:
        """Change the rows of a table that `change` finds something in, each in a transaction.

        It is asked again there: somebody else may have erased another person from the row just now.
        `keep` puts the blobs that the changed row names.
        """
        done = 0
        for listed in self._every(table, key):
            seen = listed
            while changes := change(seen):
                if new := changes.get("utterances_sha256"):
                    put_announced(self._engine, [new], partial(keep, seen, changes))
                with writing(self._engine) as connection:
                    this = table.c[key] == seen[key]
                    row = connection.execute(select(table).where(this)).mappings().one_or_none()
                    if row is None or dict(row) == seen:
                        connection.execute(update(table).where(this).values(**changes))
                        if new:
                            keep(seen, changes)
                            discard(connection, [seen["utterances_sha256"]])
                        done += row is not None
                        break
                    seen = dict(row)
        return done

    def _every(self, table: Table, key: str) -> Iterator[dict[str, Any]]:
        """All rows, a few at a time: they are large, and another may write meanwhile."""
        last: Any = None
        while True:
            query = select(table).order_by(table.c[key]).limit(50)
            if last is not None:
                query = query.where(table.c[key] > last)
            with self._engine.connect() as connection:
                rows = connection.execute(query).mappings().all()
            if not rows:
                return
            yield from map(dict, rows)
            last = rows[-1][key]


def _of_run(
    row: Mapping[str, Any], eraser: Eraser, *, heard: bool, general: bool
) -> dict[str, Any]:
    """What changes in a validation or in a run of a suite."""
    figures = dict(row["figures"])
    # Which of its single words are whose cannot be told any more.
    if heard:
        figures = without_confusions(figures, sides=SIDES)
    if general and figures.get("general"):
        figures["general"] = without_confusions(figures["general"], sides=SIDES)
    erased = {"figures": eraser.of_json(figures), "reasons": eraser.of_json(row["reasons"])}
    return {name: value for name, value in erased.items() if value != row[name]}


def _audit_changes(
    rows: Sequence[Any], ids: frozenset[str], eraser: Eraser
) -> Iterator[tuple[int, dict[str, Any]]]:
    for row in rows:
        if row.action in _SAID:
            if row.subject in ids:
                yield row.number, {"from_value": "", "to_value": ""}
        elif (reason := eraser.of_text(row.reason)) != row.reason:
            yield row.number, {"reason": reason}


def _split(numbers: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]
