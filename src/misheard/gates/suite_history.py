"""How suites and their cases did over time, and which cases are flaky."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, Select, case, func, select

from misheard.database.paging import older_than
from misheard.database.schema import suite_results, suite_runs, suites
from misheard.errors import UnknownIdError

VERSIONS = 10
"""Versions, the newest ones, that flips are counted over."""
FLIPS = 3
"""A case that went from right to wrong or back so often is flaky."""

_RUNS = 100
"""Runs that are looked at for flakiness: more than that say nothing of today."""
_AT_ONCE = 500


@dataclass(frozen=True, kw_only=True)
class SuitePoint:
    """A run of a suite, in short."""

    run_id: str
    created_at: datetime
    suite_id: str
    cycle_id: str | None
    candidate_id: str
    baseline_id: str
    passed: bool
    utterances: int
    wer: float
    """The candidate's; NaN where no word is spoken."""
    baseline_wer: float
    """What it was held to."""
    silent_with_text: int
    fixed: int | None
    """Clips that were wrong and are right; None where single clips were not kept yet."""
    broken: int | None


@dataclass(frozen=True, kw_only=True)
class CaseResult:
    """One utterance in one run."""

    run_id: str
    created_at: datetime
    audio_sha256: str
    reference: str
    words: int
    candidate_id: str
    candidate_errors: int
    candidate_text: str
    baseline_id: str
    baseline_errors: int
    baseline_text: str


def flaky_cases(results: Iterable[CaseResult]) -> frozenset[str]:
    """The recordings (SHA-256) that are now right, now wrong; `results` newest first.

    Either the same version has made another number of errors on one, which only a function that
    is none of ours can; or right and wrong have changed places `FLIPS` times among the newest
    `VERSIONS` versions, each counted once. Only what was held to the same words is compared.
    """
    by_audio: dict[str, list[CaseResult]] = defaultdict(list)
    for one in results:
        same = by_audio[one.audio_sha256]
        if not same or same[0].reference == one.reference:
            same.append(one)
    return frozenset(key for key, same in by_audio.items() if _differs(same) or _flips(same))


def _differs(results: Sequence[CaseResult]) -> bool:
    seen: dict[str, int] = {}
    for one in results:
        for version_id, errors in (
            (one.candidate_id, one.candidate_errors),
            (one.baseline_id, one.baseline_errors),
        ):
            if seen.setdefault(version_id, errors) != errors:
                return True
    return False


def _flips(results: Sequence[CaseResult]) -> bool:
    newest: dict[str, bool] = {}
    for one in results:
        newest.setdefault(one.candidate_id, one.candidate_errors == 0)
    right = list(newest.values())[:VERSIONS]
    return sum(left != later for left, later in itertools.pairwise(right)) >= FLIPS


class SuiteHistory:
    """Reads earlier runs, by the name of the suite: over all that it was replaced by."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def of_suite(
        self, name: str, *, limit: int = 20, before: str | None = None
    ) -> list[SuitePoint]:
        """The newest runs of a suite, newest first; those after the run with the id `before`."""
        query = _runs(name, _POINT).limit(limit)
        with self._engine.connect() as connection:
            if before is not None:
                query = query.where(older_than(connection, suite_runs, before))
            rows = [dict(row) for row in connection.execute(query).mappings()]
            counts = {}
            for chosen in _portions([row["run_id"] for row in rows]):
                found = connection.execute(_changes(chosen))
                counts.update({row.run_id: (row.fixed, row.broken) for row in found})
        return [_point(row, counts.get(row["run_id"], (None, None))) for row in rows]

    def of_case(self, name: str, audio: str, *, limit: int = 20) -> list[CaseResult]:
        """What the runs of a suite made of one recording, newest first.

        `audio` is the beginning of its SHA-256. `UnknownIdError` where no run has heard such a
        recording, or several begin like that.
        """
        key = self._audio(name, audio)
        query = _results(name).where(suite_results.c.audio_sha256 == key).limit(limit)
        with self._engine.connect() as connection:
            return [CaseResult(**row) for row in connection.execute(query).mappings()]

    def flaky(self, name: str, current: Iterable[CaseResult] = ()) -> frozenset[str]:
        """The flaky recordings of a suite; `current` is a run that is not kept yet."""
        recent = _runs(name, (suite_runs.c.id, suite_runs.c.candidate_id)).limit(_RUNS)
        with self._engine.connect() as connection:
            rows = connection.execute(recent).all()
            versions: set[str] = set()
            chosen = []
            for run_id, candidate_id in rows:
                versions.add(candidate_id)
                if len(versions) > VERSIONS:
                    break
                chosen.append(run_id)
            query = _results(name).where(suite_results.c.run_id.in_(chosen))
            earlier = [CaseResult(**row) for row in connection.execute(query).mappings()]
        return flaky_cases([*current, *earlier])

    def _audio(self, name: str, beginning: str) -> str:
        column = suite_results.c.audio_sha256
        heard = _results(name).where(column >= beginning, column < beginning + "g")
        query = heard.with_only_columns(column).order_by(None).distinct().limit(2)
        with self._engine.connect() as connection:
            found: list[str] = list(connection.scalars(query)) if beginning else []
        if len(found) == 1:
            return found[0]
        told = "Several clips" if found else "No clip that was heard"
        raise UnknownIdError(
            f"{told} of the suite '{name}' begin with '{beginning}'. See: misheard suite cases "
            f"{name} --json"
        )


_POINT = (
    suite_runs.c.id.label("run_id"),
    suite_runs.c.created_at,
    suite_runs.c.suite_id,
    suite_runs.c.cycle_id,
    suite_runs.c.candidate_id,
    suite_runs.c.baseline_id,
    suite_runs.c.passed,
    suite_runs.c.figures["utterances"].as_integer().label("utterances"),
    suite_runs.c.figures[("candidate", "wer")].as_float().label("wer"),
    suite_runs.c.figures[("candidate", "silent_with_text")].as_integer().label("silent_with_text"),
    func.coalesce(
        suite_runs.c.figures[("held_to", "baseline_wer")].as_float(),
        # Kept when every suite was held to the live version.
        suite_runs.c.figures[("baseline", "wer")].as_float(),
    ).label("baseline_wer"),
)


def _runs(name: str, columns: Sequence[Any]) -> Select[Any]:
    query = select(*columns).select_from(
        suites.join(suite_runs, suite_runs.c.suite_id == suites.c.id)
    )
    return query.where(suites.c.name == name).order_by(
        suite_runs.c.created_at.desc(), suite_runs.c.id.desc()
    )


def _results(name: str) -> Select[Any]:
    query = _runs(
        name,
        (
            suite_runs.c.created_at,
            suite_runs.c.candidate_id,
            suite_runs.c.baseline_id,
            *suite_results.c,
        ),
    )
    return query.join(suite_results, suite_results.c.run_id == suite_runs.c.id)


def _changes(run_ids: Sequence[str]) -> Select[Any]:
    """How many clips each run has fixed and broken."""
    was_right, is_right = (
        suite_results.c.baseline_errors == 0,
        suite_results.c.candidate_errors == 0,
    )
    return (
        select(
            suite_results.c.run_id,
            func.sum(case((~was_right & is_right, 1), else_=0)).label("fixed"),
            func.sum(case((was_right & ~is_right, 1), else_=0)).label("broken"),
        )
        .where(suite_results.c.run_id.in_(run_ids))
        .group_by(suite_results.c.run_id)
    )


def _portions(ids: Sequence[str]) -> Iterable[Sequence[str]]:
    return (ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE))


def _point(row: dict[str, Any], changes: tuple[int | None, int | None]) -> SuitePoint:
    rates = {key: math.nan if row[key] is None else row[key] for key in ("wer", "baseline_wer")}
    return SuitePoint(**row | rates, fixed=changes[0], broken=changes[1])
