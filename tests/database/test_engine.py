from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, insert, inspect, select, text
from sqlalchemy.exc import StatementError

from misheard.capture.inferences import InferenceLog
from misheard.database.engine import migrate, new_id, open_engine, writing
from misheard.database.schema import REVISION, audit, metadata
from misheard.errors import NewerSchemaError, WorkspaceNotFoundError

MIGRATE = """
import sys
from misheard.database.engine import migrate, open_engine
print("ready", flush=True)
sys.stdin.read()
migrate(open_engine(sys.argv[1], patience_s=200))
"""

RECORD = """
import sys
from pathlib import Path
from misheard import audio
from misheard.blobs.directory import DirectoryBlobs
from misheard.capture.inferences import Heard, InferenceLog
from misheard.database.engine import open_engine
from misheard.speech.transcriber import Transcript
folder, who = Path(sys.argv[1]), sys.argv[2]
log = InferenceLog(open_engine(f"sqlite:///{folder / 'misheard.db'}"), DirectoryBlobs(folder / "b"))
data = audio.encode_wav([0.1] * 160, 16_000)
clip = audio.decode(data)
print("ready", flush=True)
sys.stdin.read()
for number in range(40):
    transcript = Transcript(text=f"{who} {number}", latency_s=0.1, compute_s=0.1)
    log.record("v-1", [Heard(data=data, audio=clip, transcript=transcript)] * 2)
"""


def together(program: str, *arguments: list[str]) -> None:
    """Run the program once for each list of arguments, all starting at the same moment."""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", program, *given],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for given in arguments
    ]
    for child in children:
        assert child.stdout is not None
        child.stdout.readline()
    for child in children:
        assert child.stdin is not None
        child.stdin.close()
        child.stdin = None
    for child in children:
        _, errors = child.communicate(timeout=300)
        assert child.returncode == 0, errors.decode()


def test_the_migrations_make_exactly_the_schema(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == REVISION


def test_migrating_twice_changes_nothing(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(insert(audit).values(**_entry("kept")))
    migrate(engine)
    with engine.connect() as connection:
        assert connection.execute(select(audit.c.subject)).scalars().all() == ["kept"]


def test_two_processes_may_migrate_at_the_same_moment(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'misheard.db'}"
    together(MIGRATE, *[[url]] * 6)
    with open_engine(url).connect() as connection:
        assert set(inspect(connection).get_table_names()) == {*metadata.tables, "alembic_version"}


def test_a_newer_schema_is_refused_and_left_alone(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(NewerSchemaError, match=r"'9999'.*pip install --upgrade") as caught:
        migrate(engine)
    assert caught.value.exit_code == 2
    with engine.connect() as connection:
        query = text("SELECT version_num FROM alembic_version")
        assert connection.execute(query).scalar() == "9999"


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "misheard.db"
    path.write_bytes(b"no database at all " * 1_000)
    with pytest.raises(WorkspaceNotFoundError, match=r"misheard\.db"):
        migrate(open_engine(f"sqlite:///{path}"))
    assert path.read_bytes() == b"no database at all " * 1_000


def test_sqlite_is_durable_patient_and_keeps_foreign_keys(engine: Engine) -> None:
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}
    with engine.connect() as connection:
        found = {name: connection.execute(text(f"PRAGMA {name}")).scalar() for name in wanted}
    assert found == wanted


def test_a_failed_transaction_keeps_nothing(engine: Engine) -> None:
    def write_and_fail() -> None:
        with writing(engine) as connection:
            connection.execute(insert(audit).values(**_entry("lost")))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_fail()
    with engine.connect() as connection:
        assert connection.execute(select(audit)).all() == []


def test_threads_that_read_then_write_lose_no_update(engine: Engine) -> None:
    """Read, add one, write: only an exclusive transaction counts to the end."""

    def count() -> None:
        for _ in range(25):
            with writing(engine) as connection:
                numbers = connection.execute(select(audit.c.subject)).scalars().all()
                highest = max(map(int, numbers), default=0)
                connection.execute(insert(audit).values(**_entry(str(highest + 1))))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with engine.connect() as connection:
        found = sorted(map(int, connection.execute(select(audit.c.subject)).scalars()))
    assert found == list(range(1, 101))


def test_two_processes_that_log_lose_nothing(
    tmp_path: Path, engine: Engine, log: InferenceLog
) -> None:
    together(RECORD, [str(tmp_path), "left"], [str(tmp_path), "right"])
    texts = [inference.text for inference in log.recent(limit=1_000)]
    expected = [f"{who} {number}" for who in ("left", "right") for number in range(40)]
    assert sorted(texts) == sorted(expected * 2)


def test_times_keep_their_zone_and_naive_ones_are_refused(engine: Engine) -> None:
    moment = datetime(2026, 7, 1, 12, 0, tzinfo=timezone(timedelta(hours=2)))
    with writing(engine) as connection:
        connection.execute(insert(audit).values(**_entry("x") | {"created_at": moment}))
    with engine.connect() as connection:
        found = connection.execute(select(audit.c.created_at)).scalar_one()
    assert found == moment
    assert found.tzinfo is UTC
    naive = datetime(2026, 7, 1, 12, 0)  # noqa: DTZ001 - that is the point
    with writing(engine) as connection, pytest.raises(StatementError, match="without a zone"):
        connection.execute(insert(audit).values(**_entry("y") | {"created_at": naive}))


def test_ids_sort_by_time_and_never_meet() -> None:
    made: list[str] = []
    fresh: Callable[[], str] = lambda: new_id("inf")  # noqa: E731
    made = [fresh() for _ in range(2_000)]
    assert len(set(made)) == 2_000
    stamps = [one.removeprefix("inf-")[:11] for one in made]
    assert stamps == sorted(stamps)


def _entry(subject: str) -> dict[str, Any]:
    return {
        "created_at": datetime.now(UTC),
        "actor": "ann",
        "action": "test",
        "subject": subject,
        "from_value": "",
        "to_value": "",
        "reason": "",
        "evidence": {},
    }


def test_no_traceback_has_what_somebody_said(engine: Engine) -> None:
    with pytest.raises(StatementError) as raised, writing(engine) as connection:
        connection.execute(insert(audit).values(actor="4711", reason="my card number is nine"))
    assert "audit" in str(raised.value)
    assert "my card" not in str(raised.value) and "4711" not in str(raised.value)
