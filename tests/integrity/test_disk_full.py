"""A disk that is full ends in an error that says so, a sound database, and work that goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from misheard.backups import Backups
from misheard.blobs.directory import DirectoryBlobs
from misheard.capture.captured import Captured
from misheard.capture.digest import Digest, DigestRules, no_suspicion
from misheard.capture.inferences import InferenceLog
from misheard.cases.cases import Cases
from misheard.cases.records import Correction
from misheard.database.copying import restore
from misheard.database.engine import migrate, open_engine
from misheard.database.schema import corrections, hourly
from misheard.errors import DiskFullError
from misheard.integrity.check import Integrity
from misheard.registry import Registry
from misheard.scoring.normalize import normalizer
from tests.small_disk import MountsDisk, grow

Room = Callable[[], AbstractContextManager[None]]
AT = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


@pytest.fixture
def disk(mount_disk: MountsDisk, tmp_path: Path) -> Path:
    return mount_disk(tmp_path / "disk", "6m")


@pytest.fixture
def engine(disk: Path) -> Iterator[Engine]:
    made = open_engine(f"sqlite:///{disk / 'misheard.db'}")
    migrate(made)
    yield made
    made.dispose()


@pytest.fixture
def full(disk: Path, engine: Engine) -> Room:
    """A block in which nothing more fits on the disk."""

    @contextmanager
    def fill() -> Iterator[None]:
        with closing(engine.raw_connection()) as pooled:
            # Else its write-ahead log has room of its own.
            driver: Any = pooled.driver_connection
            assert driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
        ballast = disk / "ballast"
        with ballast.open("wb", buffering=0) as file:
            for size in (1 << 16, 1 << 12):
                with suppress(OSError):
                    while file.write(b"\0" * size):
                        pass
        try:
            yield
        finally:
            ballast.unlink()

    return fill


def items(count: int) -> list[Captured]:
    return [
        Captured(audio=f"{n}.wav", text="press one now " * 4, heard_at=AT, latency_s=0.1)
        for n in range(count)
    ]


def log_of(engine: Engine, tmp_path: Path) -> InferenceLog:
    return InferenceLog(engine, DirectoryBlobs(tmp_path / "blobs"))


def assert_sound(engine: Engine, tmp_path: Path) -> None:
    found = Integrity(engine, DirectoryBlobs(tmp_path / "blobs")).check(deep=True)
    assert found.is_sound, found.flaws


def test_bulk_capture_keeps_whole_portions_and_goes_on(
    engine: Engine, disk: Path, tmp_path: Path
) -> None:
    telemetry = open_engine(engine.url, telemetry=True)
    log, portions = log_of(telemetry, tmp_path), list[int]()
    with pytest.raises(DiskFullError, match=r"misheard\.db.*Make room"):
        log.capture(items(60_000), live="v-1", progress=portions.append)
    assert portions
    assert log.count() == sum(portions)
    assert_sound(engine, tmp_path)
    grow(disk, "40m")
    assert log.capture(items(4_000), live="v-1").new == 4_000
    assert log.count() == sum(portions) + 4_000
    assert_sound(engine, tmp_path)
    telemetry.dispose()


def test_the_digest_counts_nothing_twice(engine: Engine, full: Room, tmp_path: Path) -> None:
    log = log_of(engine, tmp_path)
    log.capture(items(3_000), live="v-1")
    digest = Digest(engine, rules=DigestRules(audit_share=0.5), scorer=no_suspicion)
    with full(), pytest.raises(DiskFullError):
        digest.catch_up()
    assert digest.behind() == 3_000
    assert_sound(engine, tmp_path)
    assert digest.catch_up() == 3_000
    with engine.connect() as connection:
        assert connection.execute(select(func.sum(hourly.c.inferences))).scalar() == 3_000
    assert_sound(engine, tmp_path)


def test_a_correction_is_there_whole_or_not_at_all(
    engine: Engine, full: Room, tmp_path: Path
) -> None:
    log, cases = log_of(engine, tmp_path), Cases(engine, normalizer=normalizer("basic"))
    log.capture(items(20), live="v-1")
    told = [
        Correction(inference_id=one.id, reference="press two " * 500, author="ann")
        for one in log.recent(limit=20)
    ]
    with full():
        with pytest.raises(DiskFullError, match="Make room"):
            cases.correct(told)
        # Reading needs no room.
        assert cases.counts().error_cases == 0
    assert_sound(engine, tmp_path)
    assert cases.correct(told) == [True] * 20
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(corrections)).scalar() == 20
    assert_sound(engine, tmp_path)


def test_a_backup_or_a_restore_that_does_not_fit_leaves_nothing(
    engine: Engine, disk: Path, full: Room, tmp_path: Path
) -> None:
    registry = Registry(engine, DirectoryBlobs(tmp_path / "blobs"), tmp_path / "models")
    backups = Backups(engine, registry, disk / "backups")
    outside = backups.make_at(tmp_path / "copy.db")
    with full():
        before = sorted(path.name for path in disk.iterdir())
        with pytest.raises(DiskFullError, match="another disk"):
            backups.make_at(disk / "copy.db")
        engine.dispose()
        with pytest.raises(DiskFullError):
            restore(outside.path, disk / "misheard.db")
        left = sorted(path.name for path in disk.iterdir() if path.suffix not in (".db-wal",))
        assert [name for name in left if "wal" not in name and "shm" not in name] == [
            name for name in before if "wal" not in name and "shm" not in name
        ]
    assert backups.make_at(disk / "copy.db").rows == outside.rows
    assert_sound(engine, tmp_path)


def test_a_full_disk_during_the_copying_itself_leaves_nothing(
    engine: Engine, mount_disk: MountsDisk, tmp_path: Path
) -> None:
    """It fitted when it began; then somebody else has taken the room."""
    log_of(engine, tmp_path).capture(items(4_000), live="v-1")
    small = mount_disk(tmp_path / "small", "6m")
    registry = Registry(engine, DirectoryBlobs(tmp_path / "blobs"), tmp_path / "models")

    def take_room(done: int, total: int) -> None:
        with (small / "taken").open("ab", buffering=0) as file, suppress(OSError):
            while file.write(b"\0" * 4096):
                pass

    with pytest.raises(DiskFullError, match="not made"):
        Backups(engine, registry, small).make_at(progress=take_room)
    assert [path.name for path in small.iterdir()] == ["taken"]
    assert_sound(engine, tmp_path)


def test_audio_that_does_not_fit_is_not_half_kept(disk: Path, full: Room) -> None:
    blobs = DirectoryBlobs(disk / "blobs")
    with full(), pytest.raises(DiskFullError, match="Make room"):
        blobs.put_bytes(b"x" * 100_000)
    assert list(blobs) == []
    assert not list((disk / "blobs").glob(".put-*"))
    assert blobs.get_bytes(blobs.put_bytes(b"x" * 100_000)) == b"x" * 100_000
