"""Counts are counted again from the rows, and put right where the rows can tell."""

from __future__ import annotations

import random
import time
import tracemalloc
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, delete, func, insert, select, update

from misheard.blobs.directory import DirectoryBlobs
from misheard.capture.captured import Captured
from misheard.capture.digest import Digest, DigestRules
from misheard.capture.inferences import InferenceLog
from misheard.capture.retention import CaptureRetention, KeepRules
from misheard.cases.cases import Cases
from misheard.cases.records import Correction
from misheard.database.audit import AuditLog
from misheard.database.engine import writing
from misheard.database.schema import (
    cycles,
    hourly,
    inferences,
    latency_totals,
    marks,
    tallies,
    traffic_totals,
)
from misheard.datasets.datasets import Datasets
from misheard.integrity.check import Integrity
from misheard.integrity.flaws import Part
from misheard.integrity.mending import Mended
from misheard.registry import ModelVersion
from tests.busy import busy
from tests.conftest import make_wav
from tests.loopback import until

ON_BOTH_DATABASES = True
AT = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
CHANNELS = ("mobile", "desk")


@pytest.fixture
def integrity(engine: Engine, blobs: DirectoryBlobs) -> Integrity:
    return Integrity(engine, blobs)


def mend(integrity: Integrity) -> Mended:
    return integrity.mend(actor="ann")


def suspect(_: Any, rows: Sequence[Any]) -> list[float | None]:
    """By the text alone, and not of everything."""
    return [len(row.text) / 40 if row.text else None for row in rows]


def digest(engine: Engine, *slices: str) -> None:
    rules = DigestRules(slices=slices, audit_share=0.1)
    Digest(engine, rules=rules, scorer=suspect).catch_up()


def traffic(count: int, *, seed: int = 1, hours_long: float = 3.0) -> list[Captured]:
    """As odd as it comes: figures that are there or not, two versions, tags or none."""
    draw = random.Random(seed)

    def maybe(value: float) -> float | None:
        return value if draw.random() < 0.8 else None

    return [
        Captured(
            audio=f"{seed}-{n}.wav",
            text=draw.choice(["", " ", "press one", "press two now", "yes"]),
            heard_at=AT + timedelta(hours=draw.random() * hours_long),
            recogniser=draw.choice(["v-1", "v-2"]),
            duration_s=maybe(draw.expovariate(0.2)),
            latency_s=maybe(draw.expovariate(3)),
            compute_s=maybe(draw.expovariate(9)),
            avg_logprob=maybe(-draw.expovariate(2)),
            tags={"channel": draw.choice(CHANNELS)} if draw.random() < 0.9 else {},
        )
        for n in range(count)
    ]


def capture(log: InferenceLog, items: Iterable[Captured]) -> None:
    log.capture(items, live="v-1")


def people_say(log: InferenceLog, cases: Cases, count: int) -> None:
    """That some are wrong, some of which are right in the end."""
    some = log.recent(limit=count)
    for one in some[::3]:
        cases.open(one.id, suspicion=0.4)
    told = [Correction(inference_id=one.id, reference="other", author="ann") for one in some[::2]]
    cases.correct(told)
    right = [one for one in some[::4] if one.text.strip()]
    cases.correct(
        [Correction(inference_id=one.id, reference=one.text, author="bob") for one in right]
    )


@pytest.fixture
def lived(engine: Engine, log: InferenceLog, cases: Cases) -> None:
    """A hundred and fifty transcripts, which came and were counted bit by bit."""
    for seed in range(3):
        capture(log, traffic(50, seed=seed))
        digest(engine, "channel")
        people_say(log, cases, 12)


def kept(engine: Engine) -> dict[str, list[Any]]:
    """All that is counted, sums to nine digits."""
    with engine.connect() as connection:
        return {
            table.name: sorted(
                (
                    tuple(float(f"{v:.9g}") if isinstance(v, float) else v for v in row)
                    for row in connection.execute(select(table))
                ),
                key=repr,
            )
            for table in (hourly, latency_totals, traffic_totals, tallies, marks)
        }


def test_what_was_counted_bit_by_bit_is_what_the_rows_come_to(
    integrity: Integrity, lived: None, engine: Engine
) -> None:
    assert {row[2] for row in kept(engine)["hourly"]} == {"", "channel=mobile", "channel=desk"}
    before = kept(engine)
    assert integrity.check(deep=True).flaws == ()
    assert mend(integrity) == Mended(counts=0, changes=())
    assert kept(engine) == before
    assert not [one for one in AuditLog(engine).entries(limit=500) if one.action == "mend"]


COLUMN = hourly.c
MOBILE = COLUMN.slice == "channel=mobile"
ALL = COLUMN.slice == ""
NEVER = {one.name: 3 for one in hourly.c} | {"let_go": 0, "version_id": "v-9", "slice": ""}
NEVER |= {"latency_counts": {"0": 3}, "hour": AT.replace(year=2020, minute=0)}
CHANGES: list[tuple[Any, str]] = [
    (update(hourly).values(empty=COLUMN.empty + 1), "empty of v-"),
    (update(hourly).where(MOBILE).values(timed=COLUMN.timed - 1), "timed of v-1 with channel"),
    (update(hourly).where(MOBILE).values(errors=COLUMN.errors + 2), "errors of v-1 with channel"),
    (update(hourly).values(latency_counts={"1": 3}), "latencies in bucket "),
    (update(latency_totals).values(count=1), "latencies of v-1 since ever"),
    (delete(latency_totals), "latencies of v-2 since ever"),
    (update(traffic_totals).values(errors=9_999), "errors of v-1 since ever"),
    (update(traffic_totals).values(audio_s=0.5), "audio_s of v-2 since ever"),
    (delete(traffic_totals), "inferences of v-1 since ever"),
    (insert(latency_totals).values(version_id="v-9", bucket=7, count=1), "latencies of v-9"),
    (delete(hourly).where(MOBILE), "inferences of v-1 with channel=mobile"),
    (delete(hourly).where(COLUMN.version_id == "v-2"), "inferences of v-2 in the hour"),
    (insert(hourly).values(NEVER), "inferences of v-9 in the hour of 2020"),
    *(
        (update(hourly).values({name: COLUMN[name] + 0.001}), f"{name} of v-1")
        for name in ("audio_s", "latency_s", "compute_s", "computed_audio_s", "avg_logprob")
    ),
    *(
        (update(hourly).where(ALL).values({name: COLUMN[name] * 1.01}), f"{name} of v-1")
        for name in ("least_latency_s", "most_latency_s")
    ),
    (update(hourly).values(least_latency_s=None), "least_latency_s of v-1"),
    (delete(tallies).where(tallies.c.kind == "open"), "tally of open cases"),
    (delete(tallies).where(tallies.c.kind == "inference_errors"), "tally of inference_errors"),
    (update(tallies).values(count=tallies.c.count + 1), "tally of inferences"),
]  # fmt: skip


def test_whatever_is_changed_is_found_and_put_right(
    integrity: Integrity, lived: None, engine: Engine
) -> None:
    before = without_suspicion(engine)
    for change, subject in CHANGES:
        with writing(engine) as connection:
            assert connection.execute(change).rowcount, subject
        found = integrity.check(recount=True)
        subjects = {one.subject for one in found.flaws}
        assert {one.part for one in found.flaws} == {Part.COUNTS}, subject
        assert [one for one in subjects if one.startswith(subject)], (subject, subjects)
        assert all("misheard check --mend" in one.remedy for one in found.flaws), subject
        done = mend(integrity)
        assert (done.counts, {one.subject for one in done.changes}) == (len(subjects), subjects)
        assert integrity.check(deep=True).flaws == (), subject
        assert without_suspicion(engine) == before, subject
    assert mend(integrity).counts == 0


def without_suspicion(engine: Engine) -> dict[str, list[Any]]:
    """No row has one: where all of an hour is lost, so is that."""
    rows = kept(engine)
    names = [one.name for one in hourly.c]
    places = [place for place, name in enumerate(names) if not name.startswith("suspic")]
    places.remove(names.index("suspected"))
    rows["hourly"] = [tuple(row[place] for place in places) for row in rows["hourly"]]
    return rows


def test_what_was_changed_is_written_down(
    integrity: Integrity, lived: None, engine: Engine
) -> None:
    with writing(engine) as connection:
        this = ALL & (hourly.c.version_id == "v-1") & (hourly.c.hour == AT.replace(minute=0))
        right = connection.execute(select(hourly.c.timed).where(this)).scalar_one()
        connection.execute(update(hourly).where(this).values(timed=0))
    (change,) = mend(integrity).changes
    assert change.subject == "timed of v-1 in the hour of 2026-01-31 09:00 UTC"
    assert change.detail == f"it says 0, the rows are {right}"
    (entry,) = AuditLog(engine).entries(limit=1)
    assert (entry.actor, entry.action) == ("ann", "mend")
    assert entry.subject == "hour of 2026-01-31 09:00 UTC"
    assert entry.evidence == {change.subject: [0, right]}


def test_sums_over_suspicion_that_cannot_be_are_taken_out(
    integrity: Integrity, lived: None, engine: Engine
) -> None:
    """What they should be no row tells."""
    taken_out = {"suspected": 0, "suspicion": 0.0, "suspicion_squared": 0.0}
    some: dict[str, Any] = {"suspected": 9, "suspicion": 4.0, "suspicion_squared": 2.0}
    this = ALL & (hourly.c.hour == AT.replace(minute=0)) & (hourly.c.version_id == "v-1")
    for values, subject in (
        ({"suspected": hourly.c.inferences + 1}, "suspected"),
        (some | {"suspicion": 9.1}, "suspicion"),
        (some | {"suspicion": -0.1}, "suspicion"),
        (some | {"suspicion_squared": 4.1}, "suspicion_squared"),
        (some | {"suspicion_squared": 1.7}, "suspicion_squared"),
    ):
        with writing(engine) as connection:
            assert connection.execute(update(hourly).where(this).values(values)).rowcount == 1
        (flaw,) = integrity.check(recount=True).flaws
        assert flaw.subject.startswith(f"{subject} of v-1")
        mend(integrity)
        assert integrity.check(deep=True).flaws == ()
        with engine.connect() as connection:
            row = connection.execute(select(hourly).where(this)).one()
        assert taken_out.items() <= row._mapping.items()


def test_a_tag_that_is_counted_apart_since_lately_or_no_more_is_no_flaw(
    integrity: Integrity, engine: Engine, log: InferenceLog, cases: Cases
) -> None:
    for seed, slices in enumerate([(), ("channel",), ("channel",), (), ("channel",), ()]):
        capture(log, traffic(40, seed=seed, hours_long=1.0))
        digest(engine, *slices)
        people_say(log, cases, 15)
        found = integrity.check(deep=True).flaws
        assert found == (), (seed, found)
    with writing(engine) as connection:
        connection.execute(update(hourly).where(MOBILE).values(inferences=1_000))
    assert integrity.check(deep=True).flaws
    mend(integrity)
    assert integrity.check(deep=True).flaws == ()


def test_a_part_of_a_slice_that_is_lost_is_found(
    integrity: Integrity, engine: Engine, log: InferenceLog
) -> None:
    """Though what came before it was counted apart may be missing."""
    capture(log, traffic(40, hours_long=0.4))
    digest(engine)
    capture(log, traffic(40, hours_long=0.4, seed=2))
    digest(engine, "channel")
    with writing(engine) as connection:
        connection.execute(update(hourly).where(MOBILE).values(inferences=hourly.c.inferences - 1))
    found = integrity.check(recount=True).flaws
    assert {one.subject.split(" of ")[0] for one in found} == {"inferences"}
    mend(integrity)
    assert integrity.check(deep=True).flaws == ()


def let_texts_go(engine: Engine, blobs: DirectoryBlobs) -> int:
    rules = KeepRules(text_days=0.01)
    in_datasets = Datasets(engine, blobs).in_use
    run = CaptureRetention(engine, blobs, rules=rules, in_datasets=in_datasets)
    return run.run(actor="retention").transcripts


def test_after_retention_nothing_is_wrong_and_what_is_cannot_be_mended(
    integrity: Integrity, lived: None, engine: Engine, log: InferenceLog, blobs: DirectoryBlobs
) -> None:
    assert let_texts_go(engine, blobs) > 100
    assert integrity.check(deep=True).flaws == ()
    with writing(engine) as connection:
        connection.execute(update(hourly).where(ALL).values(timed=1_000, audio_s=-1.0))
        connection.execute(delete(hourly).where(MOBILE))
        connection.execute(update(tallies).values(count=tallies.c.count + 1_000))
        wrong = connection.execute(select(hourly).order_by(hourly.c.hour)).all()
    found = integrity.check(recount=True).flaws
    gone = [one for one in found if "were let go" in one.remedy]
    wrong_ones = {one.subject.split()[0] for one in gone}
    assert wrong_ones == {"timed", "latency_counts", "inferences", "tally"}
    assert all("cannot be counted again" in one.remedy for one in gone)
    done = mend(integrity)
    # The cases are all there.
    assert {one.subject[:8] for one in done.changes} == {"tally of"}
    assert set(integrity.check(deep=True).flaws) == set(gone)
    with engine.connect() as connection:
        assert connection.execute(select(hourly).order_by(hourly.c.hour)).all() == wrong


def test_an_hour_that_is_lost_and_was_let_go_of_is_not_made_of_what_is_left(
    integrity: Integrity, lived: None, engine: Engine, blobs: DirectoryBlobs
) -> None:
    let_texts_go(engine, blobs)
    with writing(engine) as connection:
        connection.execute(delete(hourly))
    mend(integrity)
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(hourly)).scalar() == 0
    assert all("let go" in one.remedy for one in integrity.check(recount=True).flaws)


def test_how_long_a_recording_is_may_be_known_later(
    integrity: Integrity, engine: Engine, log: InferenceLog, tmp_path: Path
) -> None:
    paths = [tmp_path / f"{n}.wav" for n in range(3)]
    for path, known_s in zip(paths, (None, 7.0, 0.5), strict=True):
        path.write_bytes(make_wav(seconds=0.5))
        item = Captured(
            audio=str(path),
            text="yes",
            heard_at=AT,
            duration_s=known_s,
            compute_s=0.1,
            tags={"channel": "mobile"},
        )
        capture(log, [item])
    digest(engine, "channel")
    late = Captured(audio=str(paths[0]), text="no", heard_at=AT)
    capture(log, [late])
    assert log.fetch_audio([one.id for one in log.recent()]) == []
    assert integrity.check(deep=True).flaws == ()
    digest(engine, "channel")
    assert integrity.check(deep=True).flaws == ()
    with engine.connect() as connection:
        rows = {row.slice: row for row in connection.execute(select(hourly))}
    assert rows[""].audio_s == pytest.approx(2.0)
    assert rows["channel=mobile"].computed_audio_s == pytest.approx(1.5)


def test_a_mark_beyond_the_log_is_put_back(
    integrity: Integrity, engine: Engine, log: InferenceLog
) -> None:
    capture(log, traffic(20))
    digest(engine)
    capture(log, traffic(20, seed=2))
    with writing(engine) as connection:
        connection.execute(update(marks).values(number=1_000))
    assert mend(integrity).counts > 1
    assert integrity.check(deep=True).flaws == ()
    capture(log, traffic(20, seed=3))
    digest(engine)
    with engine.connect() as connection:
        assert connection.execute(select(func.sum(hourly.c.inferences))).scalar() == 60


def test_what_came_before_the_cycle_is_not_counted_to_it(
    integrity: Integrity,
    lived: None,
    engine: Engine,
    register: Callable[..., ModelVersion],
    log: InferenceLog,
) -> None:
    row = {"id": "cycle-1", "created_at": AT + timedelta(days=1), "state": "closed", "actor": "ann"}
    row |= {"baseline_id": register("a").id, "decision": {}, "detail": "", "fence": 0}
    with writing(engine) as connection:
        connection.execute(insert(cycles).values(**row))
    later = Captured(audio="x", text="yes", heard_at=AT + timedelta(days=2))
    capture(log, [later] * 3)
    digest(engine, "channel")
    assert integrity.check(deep=True).flaws == ()
    before = kept(engine)["tallies"]
    with writing(engine) as connection:
        connection.execute(delete(tallies))
    mend(integrity)
    # What is kept under an earlier cycle nobody asks for any more.
    asked = {one for one in before if one[0] == "cycle-1" or not one[1].startswith("inference")}
    assert set(kept(engine)["tallies"]) == {one for one in asked if one[-1]}


def test_while_others_write_it_mends_and_nothing_is_lost(
    integrity: Integrity, engine: Engine, database_url: str, tmp_path: Path
) -> None:
    mended = 0

    def heard() -> int:
        with engine.connect() as connection:
            query = select(func.count()).select_from(inferences)
            return int(connection.execute(query).scalar_one())

    with busy(database_url, str(tmp_path / "blobs")):
        for _ in range(2):
            time.sleep(0.5)
            with writing(engine) as connection:
                connection.execute(update(hourly).values(timed=7, latency_s=0.0, errors=-1))
                connection.execute(update(tallies).values(count=tallies.c.count + 5))
            mended += mend(integrity).counts
            found = integrity.check(recount=True)
            assert found.is_sound, found.flaws
        # They have gone on since, on a machine that may be slow.
        until(lambda: heard() > 600)
    assert mended >= 6
    found = integrity.check(deep=True)
    assert found.is_sound, found.flaws
    assert heard() > 600


def test_memory_does_not_grow_with_the_rows(
    integrity: Integrity, engine: Engine, log: InferenceLog
) -> None:
    """Five times as many of them, in as many hours and of as many values of a tag."""

    def peak() -> int:
        integrity.check(recount=True)
        tracemalloc.start()
        assert integrity.check(recount=True).is_sound
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    def hear(count: int, *, days: int) -> None:
        start = AT + timedelta(days=days)
        capture(
            log,
            (
                Captured(
                    audio="x",
                    text="yes",
                    heard_at=start + timedelta(minutes=n / 20),
                    tags={"call": str(n)},
                )
                for n in range(count)
            ),
        )
        digest(engine)

    hear(3_000, days=0)
    few = peak()
    hear(12_000, days=10)
    assert peak() < few * 1.2
