"""Writers take turns: nobody waits for long, nothing is lost, and who stands still is noticed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, insert, select

from misheard.database.engine import now, open_engine, writing
from misheard.database.schema import audit
from misheard.errors import StorageBusyError

ON_BOTH_DATABASES = True
WRITERS, SECONDS = 4, 4.0

WRITE = """
import json, random, sys, time
from sqlalchemy import insert
from misheard.database.engine import open_engine, writing
from misheard.database.schema import audit
from tests.database.test_turns import entry
url, who, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
engine, chance = open_engine(url), random.Random(who)
waits = []
print("ready", flush=True)
sys.stdin.read()
end = time.monotonic() + seconds
while time.monotonic() < end:
    asked = time.monotonic()
    with writing(engine) as connection:
        waits.append(time.monotonic() - asked)
        connection.execute(insert(audit).values(**entry(who)))
        time.sleep(chance.uniform(0.001, 0.05))
print(json.dumps({"written": len(waits), "longest_s": max(waits)}))
"""

HOLD = """
import sys, time
from misheard.database.engine import open_engine, writing
with writing(open_engine(sys.argv[1])):
    print("writing", flush=True)
    time.sleep(600)
"""


def entry(who: str) -> dict[str, Any]:
    values = {"created_at": now(), "actor": who, "action": "test", "subject": "x", "evidence": {}}
    return values | {"from_value": "", "to_value": "", "reason": ""}


def written(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(audit)).scalar_one()


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    child = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert child.stdout is not None
    child.stdout.readline()
    return child


def test_four_busy_processes_lose_nothing_and_none_waits_for_long(
    engine: Engine, database_url: str
) -> None:
    children = [start(WRITE, database_url, f"writer {n}", str(SECONDS)) for n in range(WRITERS)]
    told = []
    for child in children:
        assert child.stdin is not None
        child.stdin.close()
        child.stdin = None
    for child in children:
        output, _ = child.communicate(timeout=60)
        assert child.returncode == 0
        told.append(json.loads(output))
    assert written(engine) == sum(one["written"] for one in told)
    assert max(one["longest_s"] for one in told) < 2
    # Each gets about its share: with four, none is kept to a third of it.
    assert min(one["written"] for one in told) > sum(one["written"] for one in told) / 12


def test_threads_take_turns_as_well(engine: Engine) -> None:
    waits: list[float] = []
    end = time.monotonic() + 2

    def write(who: str) -> None:
        chance = random.Random(who)
        while time.monotonic() < end:
            asked = time.monotonic()
            with writing(engine) as connection:
                waits.append(time.monotonic() - asked)
                connection.execute(insert(audit).values(**entry(who)))
                time.sleep(chance.uniform(0.001, 0.02))

    threads = [threading.Thread(target=write, args=(f"thread {n}",)) for n in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert written(engine) == len(waits)
    assert max(waits) < 2


def test_forks_of_a_process_that_has_written_take_turns_as_well(engine: Engine) -> None:
    """A child never touches a connection, or a lock, of the process that it was forked from."""
    with writing(engine) as connection:
        connection.execute(insert(audit).values(**entry("parent")))
    children = []
    for number in range(WRITERS):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                for _ in range(25):
                    with writing(engine) as connection:
                        known = connection.execute(select(func.count()).select_from(audit))
                        assert known.scalar_one() > 0
                        connection.execute(insert(audit).values(**entry(f"child {number}")))
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    for _ in range(25):
        with writing(engine) as connection:
            connection.execute(insert(audit).values(**entry("parent")))
    ended = [os.waitpid(child, 0)[1] for child in children]
    assert ended == [0] * WRITERS
    assert written(engine) == 1 + 25 * (WRITERS + 1)


def test_a_writer_that_is_stopped_makes_others_give_up_and_say_so(
    engine: Engine, database_url: str
) -> None:
    child = start(HOLD, database_url)
    hasty = open_engine(database_url, patience_s=0.5)
    try:
        child.send_signal(signal.SIGSTOP)
        asked = time.monotonic()
        with pytest.raises(StorageBusyError, match="stopped in the middle"), writing(hasty):
            pass
        assert 0.4 < time.monotonic() - asked < 5
        # Whoever only reads waits for nobody.
        assert written(hasty) == 0
        child.send_signal(signal.SIGCONT)
        with pytest.raises(StorageBusyError), writing(hasty):
            pass
    finally:
        child.kill()
        child.wait()
    with writing(hasty) as connection:
        connection.execute(insert(audit).values(**entry("ann")))
    assert written(engine) == 1
    hasty.dispose()


def test_who_waits_behind_others_for_a_stopped_writer_gives_up_too(
    engine: Engine, database_url: str
) -> None:
    """The first in the queue asks the database, the others wait for the first."""
    child = start(HOLD, database_url)
    child.send_signal(signal.SIGSTOP)
    refused: list[StorageBusyError] = []

    def write() -> None:
        hasty = open_engine(database_url, patience_s=0.5)
        try:
            with writing(hasty):
                pass
        except StorageBusyError as error:
            refused.append(error)
        hasty.dispose()

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    child.kill()
    child.wait()
    assert len(refused) == 3


@pytest.mark.parametrize("stopped", [False, True])
def test_a_writer_that_is_killed_keeps_nobody_waiting(
    engine: Engine, database_url: str, stopped: bool
) -> None:
    child = start(HOLD, database_url)
    if stopped:
        child.send_signal(signal.SIGSTOP)
    child.kill()
    child.wait()
    asked = time.monotonic()
    with writing(engine) as connection:
        connection.execute(insert(audit).values(**entry("ann")))
    assert time.monotonic() - asked < 2
    assert written(engine) == 1


def test_a_killed_writer_s_transaction_is_not_there(engine: Engine, database_url: str) -> None:
    program = HOLD.replace(
        '    print("writing"',
        "    from misheard.database.schema import audit\n"
        "    from tests.database.test_turns import entry\n"
        "    one.execute(audit.insert().values(**entry('lost')))\n"
        '    print("writing"',
    ).replace("sys.argv[1])):", "sys.argv[1])) as one:")
    child = start(program, database_url)
    child.kill()
    child.wait()
    with writing(engine) as connection:
        connection.execute(insert(audit).values(**entry("kept")))
        found = connection.execute(select(audit.c.actor)).scalars().all()
    assert found == ["kept"]


def test_on_sqlite_the_queue_stands_beside_the_database(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'mine.db'}")
    with writing(engine) as connection:
        connection.exec_driver_sql("CREATE TABLE t (x)")
    assert (tmp_path / "mine.db-turn").exists()
    engine.dispose()
