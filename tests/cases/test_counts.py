"""Counting by query gives what counting by hand gives, and stays quick when there is much."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event, insert, select

from misheard.cases.cases import Cases
from misheard.cases.measure import compare
from misheard.cases.records import CaseCounts, CaseStatus, Correction
from misheard.database.engine import migrate, now, open_engine, writing
from misheard.database.schema import (
    case_types,
    corrections,
    error_cases,
    inferences,
    metadata,
)
from misheard.scoring.normalize import normalizer
from tests.postgres import Cluster

HEARD = "press one now"
WORDS = [HEARD, "Press one, now!", "press two now", "press now", "press one now please", ""]
UTTERANCES = 4

opened = st.tuples(
    st.just("open"),
    st.integers(0, UTTERANCES - 1),
    st.lists(st.sampled_from(["names", "substitution"]), max_size=2),
    st.sampled_from([None, 0.0, 0.3, 0.5, 1.0]),
)
corrected = st.tuples(
    st.just("correct"),
    st.integers(0, UTTERANCES - 1),
    st.sampled_from(WORDS),
    st.sampled_from(["ann", "bob"]),
)
histories = st.lists(st.one_of(opened, corrected), max_size=14)


def row(number: int, text: str, moment: datetime) -> dict[str, Any]:
    return {
        "id": f"inf-{number}",
        "created_at": moment,
        "speaker_group": "g",
        "audio_sha256": f"{number:064x}",
        "source": "",
        "duration_s": 1.0,
        "version_id": "v-1",
        "text": text,
        "latency_s": 0.1,
        "reported": False,
    }


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def memory(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """SQLite's in memory, then one on a server; each is used by many histories."""
    if request.param == "sqlite":
        engine = open_engine("sqlite://")
        metadata.create_all(engine)
    else:
        server: Cluster = request.getfixturevalue("postgres")
        engine = open_engine(server.new_database(migrated=True))
    yield engine
    engine.dispose()


def lived(engine: Engine, history: list[tuple[Any, ...]]) -> Cases:
    """A workspace's worth of cases in which this has happened, and nothing before it."""
    cases = Cases(engine, normalizer=normalizer("basic"))
    with writing(engine) as connection:
        for table in (case_types, error_cases, corrections, inferences):
            connection.execute(table.delete())
        connection.execute(insert(inferences), [row(n, HEARD, now()) for n in range(UTTERANCES)])
    for what, number, *rest in history:
        if what == "open":
            types, suspicion = rest
            cases.open(f"inf-{number}", types, suspicion=suspicion)
        else:
            words, author = rest
            told = Correction(inference_id=f"inf-{number}", reference=words, author=author)
            cases.correct([told])
    return cases


def moments(engine: Engine) -> list[datetime]:
    """Every time at which something was written."""
    with engine.connect() as connection:
        found = {at for table in (error_cases, corrections) for at in _times(connection, table)}
    return sorted(found)


def _times(connection: Any, table: Any) -> list[datetime]:
    return list(connection.scalars(select(table.c.created_at)))


def by_hand(
    engine: Engine, history: list[tuple[Any, ...]], since: datetime | None, least: float | None
) -> CaseCounts:
    """The same counts, from the rows and from what has happened, one utterance at a time."""
    with engine.connect() as connection:
        cases = connection.execute(select(error_cases)).mappings().all()
        words = connection.execute(select(corrections).order_by(corrections.c.number))
        last = {one["inference_id"]: one for one in words.mappings()}
    given: dict[str, list[str]] = {}
    known: set[str] = set()
    for what, number, *rest in history:
        key = f"inf-{number}"
        if what == "open" and key not in known:
            given[key] = rest[0]
            known.add(key)
        elif what == "correct" and compare(HEARD, rest[0], normalize=_basic).types:
            known.add(key)
    errors = corrected_cases = confirmed_cases = 0
    types: Counter[str] = Counter()
    for case in cases:
        key = case["inference_id"]
        word = last.get(key)
        touched = [case["created_at"], *([word["created_at"]] if word else [])]
        if since is not None and max(touched) <= since:
            continue
        if word is not None and not word["is_error"]:
            confirmed_cases += 1
            continue
        if word is None and least is not None:
            suspicion = case["suspicion"]
            if suspicion is not None and suspicion < least:
                continue
        errors += 1
        corrected_cases += word is not None
        measured = compare(HEARD, word["reference"], normalize=_basic).types if word else ()
        types.update({*given.get(key, ()), *measured})
    return CaseCounts(
        error_cases=errors,
        corrected=corrected_cases,
        confirmations=sum(
            not word["is_error"] and (since is None or word["created_at"] > since)
            for word in last.values()
        ),
        confirmed_cases=confirmed_cases,
        by_type=dict(sorted(types.items())),
    )


def _basic(text: str) -> str:
    return "".join(char for char in text.lower() if char.isalnum() or char == " ")


@settings(max_examples=150)
@given(histories, st.sampled_from([None, 0.0, 0.3, 0.4, 1.0]), st.data())
def test_counts_are_those_that_counting_by_hand_gives(
    memory: Engine, history: list[tuple[Any, ...]], least: float | None, data: st.DataObject
) -> None:
    cases = lived(memory, history)
    since = data.draw(st.sampled_from([None, *moments(memory)]))
    expected = by_hand(memory, history, since, least)
    assert cases.counts(since=since, min_suspicion=least) == expected
    assert expected.uncorrected == expected.error_cases - expected.corrected >= 0


@settings(max_examples=80)
@given(histories)
def test_every_case_has_one_status_and_the_counts_are_their_sums(
    memory: Engine, history: list[tuple[Any, ...]]
) -> None:
    cases = lived(memory, history)
    counts, totals = cases.counts(), cases.totals()
    listed = {status: cases.listed(status=status, limit=None) for status in CaseStatus}
    assert len(cases.listed(limit=None)) == sum(map(len, listed.values())) == totals.cases
    assert len(listed[CaseStatus.OPEN]) == counts.uncorrected
    assert len(listed[CaseStatus.CORRECTED]) == counts.corrected
    assert len(listed[CaseStatus.CONFIRMED]) == counts.confirmed_cases
    assert totals.labelled_cases == counts.corrected + counts.confirmed_cases
    assert totals.corrections == len(cases.corrections(limit=None))
    labelled = list(cases.labelled())
    assert sum(not one.is_error for one in labelled) == counts.confirmations
    assert sum(one.is_error for one in labelled) == counts.corrected
    for name in {*totals.by_type, "nothing"}:
        assert len(cases.listed(error_type=name)) == totals.by_type.get(name, 0)


def test_a_suspicion_that_reaches_the_threshold_counts_and_a_correction_always_does(
    memory: Engine,
) -> None:
    cases = lived(memory, [("open", 0, [], 0.5), ("open", 1, [], 0.49), ("open", 2, [], None)])
    assert cases.counts(min_suspicion=0.5).error_cases == 2
    assert cases.counts().error_cases == 3
    cases.correct([Correction(inference_id="inf-1", reference="press two", author="ann")])
    assert cases.counts(min_suspicion=1.0).error_cases == 2


MANY = 100_000


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A hundred thousand utterances with a correction each, every third one a confirmation."""
    engine = open_engine(f"sqlite:///{tmp_path_factory.mktemp('crowd') / 'misheard.db'}")
    migrate(engine)
    start = now() - timedelta(days=365)
    times = [start + timedelta(minutes=5) * number for number in range(MANY)]
    errors = [number for number in range(MANY) if number % 3]
    with writing(engine) as connection:
        connection.execute(insert(inferences), [row(n, HEARD, times[n]) for n in range(MANY)])
        connection.execute(
            insert(error_cases),
            [
                {"id": f"case-{n}", "inference_id": f"inf-{n}", "created_at": times[n], "score": 1}
                for n in errors
            ],
        )
        connection.execute(
            insert(case_types),
            [{"case_id": f"case-{n}", "name": "substitution", "given": False} for n in errors],
        )
        connection.execute(
            insert(corrections),
            [
                {
                    "inference_id": f"inf-{n}",
                    "created_at": times[n],
                    "reference": "press two now" if n % 3 else HEARD,
                    "is_error": bool(n % 3),
                    "author": "ann",
                    "method": "manual",
                }
                for n in range(MANY)
            ],
        )
    yield engine
    engine.dispose()


@contextmanager
def plans(engine: Engine) -> Iterator[list[str]]:
    """How SQLite looked up the rows of every query in the block."""
    seen: list[tuple[str, Any]] = []

    def keep(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        seen.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", keep)
    made: list[str] = []
    yield made
    event.remove(engine, "before_cursor_execute", keep)
    with engine.connect() as connection:
        for statement, parameters in seen:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            made += [line.detail for line in plan]


def test_a_window_is_looked_up_and_never_read_as_a_whole(crowd: Engine) -> None:
    cases = Cases(crowd, normalizer=normalizer("basic"))
    since = now() - timedelta(days=20)
    with plans(crowd) as found:
        cases.counts(since=since, min_suspicion=0.5)
    used = " ".join(found)
    assert "error_cases USING INDEX ix_error_cases_created_at (created_at>?)" in used
    assert "INDEX ix_corrections_created_at (created_at>?)" in used
    assert "ix_corrections_inference_id_number (inference_id=? AND number>?)" in used
    assert "ix_corrections_inference_id_number (inference_id=?)" in used
    scanned = [line for line in found if line.startswith("SCAN")]
    assert not [line for line in scanned if "correction" in line or "error_cases" in line], scanned


def test_the_newest_cases_are_found_without_sorting_all(crowd: Engine) -> None:
    cases = Cases(crowd, normalizer=normalizer("basic"))
    with plans(crowd) as found:
        assert [case.id for case in cases.listed(limit=2)] == ["case-99998", "case-99997"]
        cases.listed(error_type="names")
        cases.corrections(limit=3)
    used = " ".join(found)
    assert "error_cases USING INDEX ix_error_cases_created_at" in used
    assert "ix_case_types_name (name=?)" in used
    assert "newest USING" in used
    assert "SCAN newest" not in used


def test_a_hundred_thousand_corrections_do_not_make_a_windowed_count_slow(crowd: Engine) -> None:
    cases = Cases(crowd, normalizer=normalizer("basic"))
    since = now() - timedelta(days=20)
    counts = cases.counts(since=since)
    window = [n for n in range(MANY) if timedelta(minutes=5) * n > timedelta(days=345)]
    assert counts.error_cases == counts.corrected == pytest.approx(len(window) * 2 / 3, abs=2)
    assert counts.confirmations == pytest.approx(len(window) / 3, abs=2)
    spent = []
    for _ in range(3):
        # What it computes: how long a busy machine lets it wait is another matter.
        started = time.thread_time()
        cases.counts(since=since)
        spent.append(time.thread_time() - started)
    assert min(spent) < 0.5


def test_an_index_is_what_makes_it_quick(crowd: Engine, tmp_path: Path) -> None:
    """Without the index of the schema the same query reads every correction, and the plan says so.

    It holds the tests above to what they mean to see.
    """
    bare = open_engine(f"sqlite:///{tmp_path / 'bare.db'}")
    migrate(bare)
    with bare.connect() as connection:
        connection.exec_driver_sql("DROP INDEX ix_error_cases_created_at")
        connection.commit()
    with plans(bare) as found:
        Cases(bare, normalizer=normalizer("basic")).counts(since=now())
    assert any(line.startswith("SCAN error_cases") for line in found)
    bare.dispose()


def test_a_correction_counts_when_it_is_given_however_old_its_case_is(
    cases: Cases, hear: Callable[..., Any]
) -> None:
    heard = hear(["press pound", "press star"])
    for one in heard:
        cases.open(one.id)
    moment = now()
    assert cases.counts(since=moment).error_cases == 0
    cases.correct([Correction(inference_id=heard[0].id, reference="press hash", author="ann")])
    counts = cases.counts(since=moment)
    assert (counts.error_cases, counts.corrected) == (1, 1)
