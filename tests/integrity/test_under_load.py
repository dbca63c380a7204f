"""Copies and checks of a database that others write to all the while, and are killed at."""

from __future__ import annotations

import time
from pathlib import Path

from sqlalchemy import Engine, func, select

from misheard.backups import Backups
from misheard.blobs.directory import DirectoryBlobs
from misheard.database.engine import open_engine
from misheard.database.schema import corrections, inferences
from misheard.integrity.check import Integrity
from misheard.registry import Registry
from tests.busy import busy

ON_BOTH_DATABASES = True


def rows(engine: Engine) -> tuple[int, int]:
    with engine.connect() as connection:
        heard, corrected = (
            connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (inferences, corrections)
        )
    return heard, corrected


def test_what_is_checked_while_others_write_and_after_they_were_killed_is_sound(
    engine: Engine, database_url: str, blobs: DirectoryBlobs, tmp_path: Path
) -> None:
    integrity = Integrity(engine, blobs)
    with busy(database_url, str(tmp_path / "blobs")):
        for _ in range(3):
            time.sleep(1)
            found = integrity.check(deep=True)
            assert found.is_sound, found.flaws
    found = integrity.check(deep=True)
    assert found.is_sound, found.flaws
    heard, corrected = rows(engine)
    assert heard >= 600
    assert corrected > 0


def test_a_copy_made_under_load_is_of_one_moment(
    engine: Engine, database_url: str, registry: Registry, blobs: DirectoryBlobs, tmp_path: Path
) -> None:
    if engine.dialect.name != "sqlite":
        return  # which has tools of its own
    backups, told = Backups(engine, registry, tmp_path / "backups"), []
    copies = []
    with busy(database_url, str(tmp_path / "blobs")):
        time.sleep(2)
        before = rows(engine)
        deadline = time.monotonic() + 120
        # On a slow machine the others may get to write nothing while three copies are made.
        while len(copies) < 3 or (rows(engine)[0] == before[0] and time.monotonic() < deadline):
            copies.append(backups.make_at(progress=lambda done, total: told.append((done, total))))
        after = rows(engine)
    assert copies[0].rows["inferences"] >= before[0] > 0
    assert after[0] >= copies[-1].rows["inferences"]
    assert after[0] > before[0], "nobody wrote meanwhile"
    assert len({copy.path for copy in copies}) == len(copies)
    assert [done for done, total in told if done == total]
    for copy in copies:
        assert copy.bytes == copy.path.stat().st_size
        opened = open_engine(f"sqlite:///{copy.path}")
        found = Integrity(opened, blobs).check(deep=True)
        assert found.is_sound, found.flaws
        assert rows(opened) == (copy.rows["inferences"], copy.rows["corrections"])
        opened.dispose()
    assert not list((tmp_path / "backups").glob(".backup-*"))
