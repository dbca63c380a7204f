"""What is wrong is found and named, with what to do; what is well is let alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, delete, insert, text, update

from misheard.blobs.directory import DirectoryBlobs
from misheard.capture.captured import Captured
from misheard.capture.digest import Digest, DigestRules, no_suspicion
from misheard.capture.inferences import InferenceLog
from misheard.cases.cases import Cases
from misheard.cases.records import Correction
from misheard.database.discarded import discard
from misheard.database.engine import now, writing
from misheard.database.schema import (
    forgotten,
    hourly,
    latency_totals,
    marks,
    tallies,
    traffic_totals,
)
from misheard.datasets.datasets import Datasets, Purpose
from misheard.datasets.manifest import Row
from misheard.datasets.split import Split
from misheard.integrity.check import Integrity
from misheard.integrity.flaws import Flaw, Part
from misheard.registry import ModelVersion

ON_BOTH_DATABASES = True
AT = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


@pytest.fixture
def integrity(engine: Engine, blobs: DirectoryBlobs) -> Integrity:
    return Integrity(engine, blobs)


@pytest.fixture
def lived(engine: Engine, log: InferenceLog, cases: Cases, hear: Callable[..., Any]) -> list[Any]:
    """Ten transcripts with audio and twenty without, some of them corrected."""
    made = hear([f"press {number}" for number in range(10)])
    items = [
        Captured(audio=f"{n}.wav", text="x", heard_at=AT + timedelta(minutes=9 * n), latency_s=0.1)
        for n in range(20)
    ]
    log.capture(items, live="v-2")
    cases.open(made[0].id, suspicion=0.29)
    Digest(engine, rules=DigestRules(), scorer=no_suspicion).catch_up()
    told = [
        Correction(inference_id=one.id, reference="press pound", author="ann") for one in made[:4]
    ]
    cases.correct(told)
    cases.correct([Correction(inference_id=made[1].id, reference="press 1", author="bob")])
    cases.open(made[9].id)
    return list(made)


def parts(flaws: tuple[Flaw, ...]) -> set[Part]:
    assert all(one.subject and one.detail and one.remedy for one in flaws)
    return {one.part for one in flaws}


def path_of(blobs: DirectoryBlobs, key: str, tmp_path: Path) -> Path:
    assert key in blobs
    return tmp_path / "blobs" / key[:2] / key


def test_what_is_well_is_well(integrity: Integrity, lived: list[Any]) -> None:
    for deep in (False, True):
        found = integrity.check(deep=deep)
        assert found.flaws == ()
        assert found.is_sound
        assert found.looked_at["files"] == 10
        assert found.looked_at["tables"] > 20


def test_a_new_workspace_is_well(integrity: Integrity) -> None:
    assert integrity.check(deep=True).flaws == ()


def test_progress_tells_of_every_file(integrity: Integrity, lived: list[Any]) -> None:
    told: list[int] = []
    integrity.check(progress=told.append)
    assert sum(told) == 10


def test_audio_that_is_gone_is_named_unless_somebody_had_it_deleted(
    integrity: Integrity, lived: list[Any], blobs: DirectoryBlobs, engine: Engine
) -> None:
    lost, deleted = lived[2].audio_sha256, lived[3].audio_sha256
    blobs.delete(lost)
    blobs.delete(deleted)
    with writing(engine) as connection:
        row = {"audio_sha256": deleted, "created_at": now(), "audit_number": 1}
        connection.execute(insert(forgotten).values(**row))
    (flaw,) = integrity.check().flaws
    assert (flaw.part, flaw.subject) == (Part.FILES, lost)
    assert "not there" in flaw.detail
    assert f"{lost[:2]}/{lost}" in flaw.remedy
    assert [one.sha256 for one in integrity.missing_files()] == [lost]


def test_a_changed_file_is_found_by_a_deep_check(
    integrity: Integrity, lived: list[Any], blobs: DirectoryBlobs, tmp_path: Path
) -> None:
    path = path_of(blobs, lived[5].audio_sha256, tmp_path)
    path.chmod(0o644)
    path.write_bytes(b"other")
    assert integrity.check().is_sound
    (flaw,) = integrity.check(deep=True).flaws
    assert "not what it was" in flaw.detail


def test_files_of_versions_and_datasets_are_looked_at(
    integrity: Integrity,
    register: Callable[..., ModelVersion],
    datasets: Datasets,
    blobs: DirectoryBlobs,
) -> None:
    version = register("a")
    audio = blobs.put_bytes(b"audio")
    row = Row(
        audio_sha256=audio,
        reference="one",
        split=Split.TRAIN,
        kind="error",
        speaker_group="g",
        duration_s=1.0,
    )
    dataset = datasets.add("mine", Purpose.TRAINING, [row])
    assert integrity.check(deep=True).looked_at["files"] == 3
    (weights,) = version.files.values()
    blobs.delete(weights)
    blobs.delete(audio)
    by_subject = {one.subject: one for one in integrity.check().flaws}
    assert by_subject.keys() == {weights, audio}
    assert f"version {version.id}" in by_subject[weights].detail
    assert "register the same model again" in by_subject[weights].remedy
    assert f"dataset {dataset.id}" in by_subject[audio].detail
    blobs.delete(dataset.manifest_sha256)
    assert {one.subject for one in integrity.check().flaws} == {weights, dataset.manifest_sha256}


def test_a_pruned_version_needs_no_files(
    integrity: Integrity,
    register: Callable[..., ModelVersion],
    blobs: DirectoryBlobs,
    engine: Engine,
) -> None:
    (weights,) = register("a").files.values()
    blobs.delete(weights)
    with writing(engine) as connection:
        connection.execute(text("UPDATE versions SET pruned_at = created_at"))
    assert integrity.check().is_sound


@pytest.mark.parametrize(
    ("change", "subject"),
    [
        (update(tallies).where(tallies.c.kind == "open").values(count=7), "tally of open cases"),
        (delete(tallies).where(tallies.c.kind == "corrected"), "tally of corrected cases"),
        (
            update(tallies).where(tallies.c.kind == "inferences").values(count=29),
            "tally of inferences",
        ),
        (
            update(tallies).where(tallies.c.kind == "inference_errors").values(count=0),
            "tally of inference_errors",
        ),
        (update(hourly).values(timed=hourly.c.timed + 1), "timed of v-"),
        (
            update(hourly).values(latency_counts={"1": 3}),
            "latencies in bucket ",
        ),
        (
            update(latency_totals).where(latency_totals.c.version_id == "v-2").values(count=19),
            "latencies of v-2 since ever, bucket -24",
        ),
        (delete(latency_totals), "latencies of v-1 since ever"),
        (
            update(traffic_totals).values(errors=traffic_totals.c.errors + 1),
            "errors of v-1 since ever",
        ),
        (delete(traffic_totals), "inferences of v-2 since ever"),
        (delete(hourly).where(hourly.c.version_id == "v-2"), "inferences of v-2"),
        (update(hourly).where(hourly.c.version_id == "v-1").values(errors=0), "errors of v-1"),
    ],
)
def test_counts_that_are_not_what_the_rows_say_are_found_by_a_deep_check(
    integrity: Integrity, lived: list[Any], engine: Engine, change: Any, subject: str
) -> None:
    with writing(engine) as connection:
        assert connection.execute(change).rowcount
    assert integrity.check().is_sound
    found = integrity.check(deep=True).flaws
    assert parts(found) == {Part.COUNTS}
    assert [one for one in found if one.subject.startswith(subject)]


def test_a_mark_beyond_the_log_is_found(
    integrity: Integrity, lived: list[Any], engine: Engine
) -> None:
    with writing(engine) as connection:
        connection.execute(update(marks).values(number=31))
    (flaw,) = integrity.check().flaws
    assert flaw.part is Part.COUNTS
    assert "31" in flaw.detail
    assert "30" in flaw.detail


def test_a_lost_index_and_another_revision_are_found(integrity: Integrity, engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(text("DROP INDEX ix_error_cases_created_at"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    found = integrity.check().flaws
    assert parts(found) == {Part.SCHEMA}
    assert [one.subject for one in found] == ["alembic_version", "error_cases"]
    assert "ix_error_cases_created_at" in found[1].detail


def test_of_many_flaws_the_first_hundred_are_named_and_the_rest_counted(
    integrity: Integrity, hear: Callable[..., Any], blobs: DirectoryBlobs
) -> None:
    for one in hear([f"press {number}" for number in range(103)]):
        blobs.delete(one.audio_sha256)
    found = integrity.check()
    assert len(found.flaws) == 100
    assert found.more == {"files": 3}


def test_a_row_that_refers_to_nothing_is_found(
    integrity: Integrity, lived: list[Any], engine: Engine
) -> None:
    if engine.dialect.name != "sqlite":
        return  # where a server holds it
    with engine.connect() as connection:
        driver: Any = connection.connection.dbapi_connection
        driver.execute("PRAGMA foreign_keys=OFF")
        driver.execute("UPDATE corrections SET inference_id = 'gone' WHERE number = 1")
        driver.execute("PRAGMA foreign_keys=ON")
    found = integrity.check().flaws
    assert parts(found) == {Part.DATABASE}
    assert (found[0].subject, "inferences" in found[0].detail) == ("corrections", True)
    assert "misheard restore" in found[0].remedy


def test_a_constraint_that_a_server_does_not_hold_is_found(
    integrity: Integrity, engine: Engine
) -> None:
    if engine.dialect.name == "sqlite":
        return
    name = "fk_corrections_inference_id_inferences"
    with writing(engine) as connection:
        connection.execute(text(f"ALTER TABLE corrections DROP CONSTRAINT {name}"))
        connection.execute(
            text(
                f"ALTER TABLE corrections ADD CONSTRAINT {name} FOREIGN KEY (inference_id) "
                "REFERENCES inferences (id) NOT VALID"
            )
        )
    (flaw,) = integrity.check().flaws
    assert "VALIDATE CONSTRAINT" in flaw.remedy


def test_a_damaged_file_is_found(
    integrity: Integrity, lived: list[Any], engine: Engine, tmp_path: Path
) -> None:
    if engine.dialect.name != "sqlite":
        return
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        size = connection.exec_driver_sql("PRAGMA page_size").scalar_one()
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'corrections'"
        page = connection.exec_driver_sql(query).scalar_one()
    engine.dispose()
    with (tmp_path / "misheard.db").open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    found = integrity.check(deep=True).flaws
    assert Part.DATABASE in parts(found)
    assert "misheard restore" in found[0].remedy


def test_files_that_nothing_points_at_are_counted_by_a_deep_check(
    integrity: Integrity, lived: list[Any], blobs: DirectoryBlobs, engine: Engine
) -> None:
    key = blobs.put_bytes(b"whose is this")
    assert integrity.check().unused_files == 0
    found = integrity.check(deep=True)
    # It only takes room.
    assert (found.unused_files, found.is_sound) == (1, True)
    # What is noted will go by itself, or is about to be named.
    with writing(engine) as connection:
        discard(connection, [key])
    assert integrity.check(deep=True).unused_files == 0
