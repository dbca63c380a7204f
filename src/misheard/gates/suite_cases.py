"""Permanent cases: corrections that a suite keeps for good, each with where it comes from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, insert, select

from misheard.database.engine import now, writing
from misheard.database.schema import corrections, inferences, suite_cases
from misheard.datasets.manifest import PERMANENT, Row
from misheard.datasets.split import Split
from misheard.tags import of_recording

CORRECTIONS = "corrections"
"""The suite that corrections become cases of by themselves."""

_AT_ONCE = 500


@dataclass(frozen=True, kw_only=True)
class SuiteCase:
    """An utterance that a suite has for good."""

    number: int
    """Counts cases; of a recording the highest counts."""
    created_at: datetime
    suite_name: str
    audio_sha256: str
    reference: str
    speaker_group: str
    duration_s: float
    tags: dict[str, str]
    inference_id: str
    correction_number: int
    dataset_id: str | None
    """The dataset whose test split it fell into."""
    author: str
    """Who said what was spoken."""
    method: str
    corrected_at: datetime
    heard: str
    """What the version that was live then made of it."""
    heard_by: str

    @property
    def row(self) -> Row:
        """As a row of the suite's dataset."""
        return Row(
            audio_sha256=self.audio_sha256,
            reference=self.reference,
            split=Split.TEST,
            kind=PERMANENT,
            speaker_group=self.speaker_group,
            duration_s=self.duration_s,
            tags=tuple(sorted(self.tags.items())),
        )


@dataclass(frozen=True, kw_only=True)
class ListedUtterance:
    """An utterance of a suite."""

    row: Row
    case: SuiteCase | None
    """Where it comes from; None where it was given with the suite."""
    is_flaky: bool


class SuiteCases:
    """Keeps permanent cases; a newer correction of a recording is a new row."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def keep(self, suite_name: str, rows: Iterable[Row], dataset_id: str) -> int:
        """Make cases of the corrected rows (kind "error") of a dataset; how many are new.

        A recording that is a case already gets what was last said of it, whether that was a
        correction or a confirmation. Doing it again changes nothing.
        """
        wanted = {row.audio_sha256: row.reference for row in rows if row.kind == "error"}
        with writing(self._engine) as connection:
            known = _newest_by_audio(connection, suite_name)
            fresh = []
            for given in _newest_corrections(connection, [*wanted.keys() | known.keys()], wanted):
                case = known.get(given["audio_sha256"])
                if case is None or case < given["correction_number"]:
                    made = {"suite_name": suite_name, "dataset_id": dataset_id, "created_at": now()}
                    fresh.append(given | made)
            if fresh:
                connection.execute(insert(suite_cases), fresh)
        return len(fresh)

    def of_suite(self, suite_name: str) -> list[SuiteCase]:
        """The cases that count, in the order in which they were made."""
        query = (
            select(
                suite_cases,
                corrections.c.author,
                corrections.c.method,
                corrections.c.created_at.label("corrected_at"),
                inferences.c.text.label("heard"),
                inferences.c.version_id.label("heard_by"),
            )
            .select_from(
                suite_cases.join(
                    corrections, corrections.c.number == suite_cases.c.correction_number
                ).join(inferences, inferences.c.id == suite_cases.c.inference_id)
            )
            .where(suite_cases.c.suite_name == suite_name)
            .order_by(suite_cases.c.number)
        )
        newest: dict[str, SuiteCase] = {}
        with self._engine.connect() as connection:
            for row in connection.execute(query).mappings():
                newest[row["audio_sha256"]] = SuiteCase(**row)
        return list(newest.values())


def _newest_by_audio(connection: Connection, suite_name: str) -> dict[str, int]:
    """Recording → the number of the correction that its case was made from."""
    query = select(suite_cases.c.audio_sha256, suite_cases.c.correction_number)
    query = query.where(suite_cases.c.suite_name == suite_name).order_by(suite_cases.c.number)
    return {row.audio_sha256: row.correction_number for row in connection.execute(query)}


def _newest_corrections(
    connection: Connection, keys: Sequence[str], wanted: dict[str, str]
) -> Iterator[dict[str, Any]]:
    """What was last said of each recording; for one in `wanted`, last said in these words.

    A correction that came after the dataset was built waits for the next one.
    """
    found: dict[str, dict[str, Any]] = {}
    for start in range(0, len(keys), _AT_ONCE):
        for row in _said_of(connection, keys[start : start + _AT_ONCE]):
            key = row["audio_sha256"]
            if key not in wanted or row["reference"] == wanted[key]:
                found[key] = row
    # In the order of the corrections, so that the numbers of cases follow it.
    yield from sorted(found.values(), key=lambda row: row["correction_number"])


def _said_of(connection: Connection, keys: Collection[str]) -> Iterator[dict[str, Any]]:
    query = (
        select(
            inferences.c.audio_sha256,
            inferences.c.speaker_group,
            inferences.c.duration_s,
            inferences.c.tags,
            corrections.c.inference_id,
            corrections.c.number.label("correction_number"),
            corrections.c.reference,
        )
        .select_from(inferences.join(corrections, corrections.c.inference_id == inferences.c.id))
        .where(inferences.c.audio_sha256.in_(keys))
        .order_by(corrections.c.number)
    )
    for row in connection.execute(query).mappings():
        tags = of_recording(row["tags"])
        yield {**row, "duration_s": round(row["duration_s"], 3), "tags": tags}
