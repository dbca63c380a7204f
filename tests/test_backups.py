from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_mock_engine

from misheard.access.roles import Role
from misheard.access.tokens import Tokens
from misheard.backups import Backups, restore
from misheard.blobs.directory import DirectoryBlobs
from misheard.database.engine import migrate, open_engine
from misheard.deployment import Deployments
from misheard.errors import (
    BackupFailedError,
    BadInputError,
    DatabaseInUseError,
    VersionPrunedError,
)
from misheard.registry import ModelVersion, Registry
from tests.small_disk import MountsDisk

OLD = Path(__file__).parent / "database" / "revision_0001.sql"
Register = Callable[..., ModelVersion]


@pytest.fixture
def backups(engine: Engine, registry: Registry, tmp_path: Path) -> Backups:
    return Backups(engine, registry, tmp_path / "backups")


def make(backups: Backups, version: ModelVersion | None = None, keep: int = 5) -> Path:
    made = backups.make(
        version_id=version.id if version else None, number=7 if version else 0, keep=keep
    )
    assert made.path is not None
    return made.path


def versions_in(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        return [row[0] for row in connection.execute("SELECT id FROM versions ORDER BY id")]


def test_a_backup_is_one_whole_file_with_all_rows(backups: Backups, register: Register) -> None:
    version = register("a")
    made = backups.make(version_id=version.id, number=7, keep=5)
    assert made.path is not None
    assert made.path.name.endswith("Z-7.db")
    assert (made.version_id, made.note, made.bytes) == (version.id, "", made.path.stat().st_size)
    assert versions_in(made.path) == [version.id]
    assert list(made.path.parent.iterdir()) == [made.path] == backups.listed()
    with closing(sqlite3.connect(made.path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_before_the_first_deployment_there_is_nothing_to_verify(backups: Backups) -> None:
    made = backups.make(version_id=None, number=0, keep=5)
    assert made.version_id == ""
    assert made.path is not None


def test_only_the_newest_are_kept_and_nothing_else_is_touched(
    backups: Backups, register: Register, tmp_path: Path
) -> None:
    version = register("a")
    made = [make(backups, version, keep=3) for _ in range(2)]
    mine = tmp_path / "backups" / "before the holidays.db"
    mine.write_bytes(b"mine")
    made += [make(backups, version, keep=3) for _ in range(3)]
    assert backups.listed() == made[:1:-1]
    assert mine.read_bytes() == b"mine"
    last = make(backups, version, keep=0)
    assert backups.listed() == [last]


def test_a_deployment_that_is_tried_again_leaves_one_copy(
    backups: Backups, register: Register, engine: Engine
) -> None:
    version, log = register("a"), Deployments(engine)
    live = log.deploy(version.id, actor="ann", reason="the first")

    def once_more() -> Path | None:
        return backups.make(
            version_id=version.id, number=live.number, keep=5, one_a_number=True
        ).path

    first, second = once_more(), once_more()
    assert first != second
    assert backups.listed() == [second]
    # Whoever comes late would keep what the deployment has changed already.
    log.deploy(register("b").id, actor="bob", reason="faster")
    assert once_more() is None
    assert backups.listed() == [second]


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_live_version_that_could_not_be_brought_back_is_noticed(
    backups: Backups, register: Register, blobs: DirectoryBlobs, tmp_path: Path, damage: str
) -> None:
    version = register("a")
    (key,) = blobs
    path = tmp_path / "blobs" / key[:2] / key
    if damage == "missing":
        path.unlink()
    else:
        path.chmod(0o644)
        path.write_bytes(b"b")
    with pytest.raises(BackupFailedError, match="auto_backup_before_deploy = false"):
        make(backups, version)
    assert backups.listed() == []


def test_other_databases_are_left_to_their_own_tools(
    registry: Registry, register: Register, tmp_path: Path
) -> None:
    """Nothing is asked of the database, so none is needed."""
    engine = create_mock_engine("postgresql+psycopg://", lambda *_: None)
    version = register("a")
    made = Backups(engine, registry, tmp_path / "backups").make(  # type: ignore[arg-type]
        version_id=version.id, number=7, keep=5
    )
    assert (made.version_id, made.path, made.bytes) == (version.id, None, 0)
    assert "postgresql is backed up with its own tools" in made.note
    assert not (tmp_path / "backups").exists()


def test_a_backup_while_others_write_is_consistent(
    backups: Backups, register: Register, engine: Engine
) -> None:
    """A deployment and its audit row are written together, so a copy has both or neither."""
    ids = [register(content).id for content in "ab"]
    live, stop = Deployments(engine), threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            live.deploy(ids[number % 2], actor="ann", reason="test")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        copies = [make(backups, None, keep=9) for _ in range(6)]
    finally:
        stop.set()
        writer.join()
    for copy in copies:
        with closing(sqlite3.connect(copy)) as connection:
            (deployed,) = connection.execute("SELECT count(*) FROM deployments").fetchone()
            query = "SELECT count(*) FROM audit WHERE action = 'deploy'"
            assert connection.execute(query).fetchone() == (deployed,)


def test_where_no_directory_can_be_made_the_backup_fails(
    engine: Engine, registry: Registry, tmp_path: Path
) -> None:
    (tmp_path / "backups").write_text("a file", encoding="utf-8")
    with pytest.raises(BackupFailedError, match="backups"):
        make(Backups(engine, registry, tmp_path / "backups"))


def test_a_full_disk_fails_the_backup_and_leaves_nothing(
    engine: Engine, registry: Registry, mount_disk: MountsDisk, tmp_path: Path
) -> None:
    disk = mount_disk(tmp_path / "small", "64k")
    with pytest.raises(BackupFailedError, match="full"):
        make(Backups(engine, registry, disk / "backups"))
    assert list((disk / "backups").iterdir()) == []


LITTLE_ROOM = """
import resource, signal, sys
from pathlib import Path
from misheard.backups import Backups
from misheard.blobs.directory import DirectoryBlobs
from misheard.database.engine import open_engine
from misheard.errors import BackupFailedError
from misheard.registry import Registry
folder = Path(sys.argv[1])
engine = open_engine(f"sqlite:///{folder / 'misheard.db'}")
registry = Registry(engine, DirectoryBlobs(folder / "blobs"), folder / "models")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
try:
    Backups(engine, registry, folder / "backups").make(version_id=None, number=0, keep=5)
except BackupFailedError:
    sys.exit(17)
"""


def test_a_file_that_cannot_grow_fails_the_backup_and_leaves_nothing(
    engine: Engine, tmp_path: Path
) -> None:
    """What a quota does, for those who may not mount."""
    program = [sys.executable, "-c", LITTLE_ROOM, str(tmp_path)]
    assert subprocess.run(program, check=False).returncode == 17
    assert list((tmp_path / "backups").iterdir()) == []


def test_what_a_killed_backup_left_goes_after_a_day(backups: Backups, tmp_path: Path) -> None:
    make(backups)
    old, fresh = (tmp_path / "backups" / f".backup-{name}" for name in ("old", "fresh"))
    for path in (old, fresh):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 90_000,) * 2)
    make(backups)
    assert fresh.exists()
    assert not old.exists()


def test_restore_brings_the_rows_back_and_keeps_the_present_file(
    backups: Backups, register: Register, engine: Engine, tmp_path: Path
) -> None:
    first = register("a")
    backup = make(backups, first)
    second = register("b")
    database = tmp_path / "misheard.db"
    engine.dispose()
    aside = restore(backup, database).aside
    assert aside is not None
    assert versions_in(aside) == sorted([first.id, second.id])
    assert backup.exists()
    opened = open_engine(f"sqlite:///{database}")
    migrate(opened)
    registry = Registry(opened, DirectoryBlobs(tmp_path / "blobs"), tmp_path / "models")
    assert registry.listed() == [first]
    assert (registry.directory(first.id) / "model.bin").read_text() == "a"
    opened.dispose()
    assert list((tmp_path / "backups").iterdir()) == [backup]
    assert not list(tmp_path.glob(".backup-*"))


@pytest.mark.parametrize("mode", [0o644, 0o660])
def test_who_could_use_the_database_can_use_the_restored_one(
    backups: Backups, register: Register, engine: Engine, tmp_path: Path, mode: int
) -> None:
    backup = make(backups, register("a"))
    engine.dispose()
    database = tmp_path / "misheard.db"
    database.chmod(mode)
    if os.getuid() == 0:
        os.chown(database, 12, 34)
    before = database.stat()
    restore(backup, database)
    after = database.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )
    # Where it is lost nobody knows who could; it is as any new one.
    database.unlink()
    assert restore(backup, database).aside is None
    (tmp_path / "new.db").touch(0o644)
    assert database.stat().st_mode == (tmp_path / "new.db").stat().st_mode


def test_every_copy_of_the_database_is_known_wherever_that_is(
    registry: Registry, tmp_path: Path
) -> None:
    database = tmp_path / "elsewhere" / "calls.db"
    database.parent.mkdir()
    engine = open_engine(f"sqlite:///{database}")
    migrate(engine)
    backups = Backups(engine, registry, tmp_path / "backups")
    assert backups.copies() == []
    made, by_hand = make(backups), backups.make_at().path
    engine.dispose()
    aside = restore(made, database).aside
    others = {database, database.parent / "calls.db.old"}
    (database.parent / "calls.db.old").touch()
    assert backups.copies()[:3] == [made, by_hand, aside]
    assert others.isdisjoint(backups.copies())


def test_restore_refuses_while_the_database_is_open(
    backups: Backups, register: Register, engine: Engine, tmp_path: Path
) -> None:
    backup = make(backups)
    version = register("a")
    before = sorted(path.name for path in tmp_path.iterdir())
    with engine.connect(), pytest.raises(DatabaseInUseError, match="stop whatever"):
        restore(backup, tmp_path / "misheard.db")
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    engine.dispose()
    assert versions_in(tmp_path / "misheard.db") == [version.id]


REGISTER_AND_DIE = """
import os, signal, sys
from pathlib import Path
from misheard.blobs.directory import DirectoryBlobs
from misheard.database.engine import open_engine
from misheard.registry import Registry
folder = Path(sys.argv[1])
engine = open_engine(f"sqlite:///{folder / 'misheard.db'}")
registry = Registry(engine, DirectoryBlobs(folder / "blobs"), folder / "models")
registry.register(folder / "sources", name="t", source="x", actor="ann")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_restore_where_the_database_is_lost_and_its_log_is_not(
    backups: Backups, register: Register, engine: Engine, tmp_path: Path
) -> None:
    """SQLite would play the log that a killed process left into whatever has the name."""
    version = register("a")
    backup = make(backups, version)
    engine.dispose()
    subprocess.run([sys.executable, "-c", REGISTER_AND_DIE, str(tmp_path)], check=False)
    database = tmp_path / "misheard.db"
    log = (tmp_path / "misheard.db-wal").read_bytes()
    assert log
    database.unlink()
    assert restore(backup, database).aside is None
    assert versions_in(database) == [version.id]
    (aside,) = tmp_path.glob("*.before-restore-*-wal")
    assert aside.read_bytes() == log


def test_restore_where_the_database_is_damaged(
    backups: Backups, register: Register, engine: Engine, tmp_path: Path
) -> None:
    version = register("a")
    backup = make(backups, version)
    engine.dispose()
    database = tmp_path / "misheard.db"
    database.write_bytes(b"overwritten " * 1000)
    aside = restore(backup, database).aside
    assert aside is not None
    assert aside.read_bytes() == b"overwritten " * 1000
    assert versions_in(database) == [version.id]


def tokens_after(database: Path) -> tuple[dict[str, datetime | None], bool]:
    """Name → when it was revoked; and whether a token is required."""
    opened = open_engine(f"sqlite:///{database}")
    migrate(opened)
    room = Tokens(opened)
    found = {one.name: one.revoked_at for one in room.listed()}, room.any()
    opened.dispose()
    return found


def test_no_token_is_good_again_by_a_restore(
    backups: Backups, engine: Engine, tmp_path: Path
) -> None:
    room, database = Tokens(engine), tmp_path / "misheard.db"
    for name in ("before", "since", "good"):
        room.create(name, Role.OPERATE, actor="ann")
    before = room.revoke("before", actor="ann").revoked_at
    backup = make(backups)
    since = room.revoke("since", actor="ann").revoked_at
    for name in ("later", "later-2"):
        room.create(name, Role.OPERATE, actor="ann")
    ended = room.revoke("later-2", actor="ann").revoked_at
    engine.dispose()
    assert restore(backup, database).revoked == ("since",)
    found, _ = tokens_after(database)
    assert found.pop("later") is not None
    assert found == {"before": before, "since": since, "good": None, "later-2": ended}


@pytest.mark.parametrize("is_old", [False, True], ids=["today", "of an older misheard"])
def test_the_door_stays_closed_when_the_copy_has_no_token(
    backups: Backups, engine: Engine, tmp_path: Path, is_old: bool
) -> None:
    backup, database = make(backups), tmp_path / "misheard.db"
    if is_old:
        backup.unlink()
        with closing(sqlite3.connect(backup)) as connection:
            connection.executescript(OLD.read_text(encoding="utf-8"))
    Tokens(engine).create("ivr", Role.OPERATE, actor="ann")
    engine.dispose()
    assert restore(backup, database).revoked == ()
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    found, is_closed = tokens_after(database)
    assert is_closed and found["ivr"] is not None
    assert not list(tmp_path.glob(".backup-*"))


def test_nothing_is_restored_where_tokens_cannot_be_carried(
    backups: Backups, engine: Engine, tmp_path: Path
) -> None:
    backup, database = make(backups), tmp_path / "misheard.db"
    with closing(sqlite3.connect(backup)) as connection:
        connection.execute("ALTER TABLE tokens DROP COLUMN last_used_at")
    Tokens(engine).create("ivr", Role.OPERATE, actor="ann")
    engine.dispose()
    with pytest.raises(BadInputError, match="last_used_at"):
        restore(backup, database)
    found, _ = tokens_after(database)
    assert found == {"ivr": None}
    assert not [*tmp_path.glob(".backup-*"), *tmp_path.glob("*.before-restore-*")]


@pytest.mark.parametrize("damage", [None, b"", b"no database " * 1000], ids=["no", "empty", "bad"])
def test_where_the_database_is_gone_nobody_knows_what_was_revoked(
    backups: Backups, engine: Engine, tmp_path: Path, damage: bytes | None
) -> None:
    room, database = Tokens(engine), tmp_path / "misheard.db"
    room.create("ivr", Role.OPERATE, actor="ann")
    backup = make(backups)
    room.revoke("ivr", actor="ann")
    engine.dispose()
    database.unlink()
    if damage is not None:
        database.write_bytes(damage)
    assert restore(backup, database).revoked is None
    assert tokens_after(database) == ({"ivr": None}, True)


@pytest.mark.parametrize("content", [None, b"", b"no database " * 1000], ids=["no", "empty", "bad"])
def test_a_damaged_backup_changes_nothing(
    register: Register, engine: Engine, tmp_path: Path, content: bytes | None
) -> None:
    version, bad = register("a"), tmp_path / "bad.db"
    engine.dispose()
    if content is not None:
        bad.write_bytes(content)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(BadInputError, match=r"bad\.db"):
        restore(bad, tmp_path / "misheard.db")
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert versions_in(tmp_path / "misheard.db") == [version.id]


def test_what_was_pruned_is_not_backed_up_as_live(
    backups: Backups, register: Register, engine: Engine
) -> None:
    version = register("a")
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE versions SET pruned_at = '2026-01-01 00:00:00.000000'")
    with pytest.raises(VersionPrunedError):
        make(backups, version)
