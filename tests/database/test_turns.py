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
from misheard.database.engine import open_engine
from tests.database.test_turns import Machine, write
url, who, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
engine, chance = open_engine(url), random.Random(who)
waits = []
print("ready", flush=True)
sys.stdin.read()
end = time.monotonic() + seconds
with Machine() as machine:
    while time.monotonic() < end:
        waits.append(write(engine, who, chance.uniform(0.001, 0.05), machine))
told = {"written": len(waits), "longest_s": max(waits, default=0.0)}
print(json.dumps(told | {"late_s": machine.late_s, "lost_s": machine.lost_s}))
"""

HOLD = """
import sys, time
from misheard.database.engine import open_engine, writing
with writing(open_engine(sys.argv[1])):
    print("writing", flush=True)
    time.sleep(600)
"""


class Machine:
    """How late it lets do what takes no time: nothing that a turn could be blamed for."""

    def __init__(self) -> None:
        self.late_s = 0.0
        """At the worst."""
        self.lost_s = 0.0
        """Altogether, where it was more than a moment."""
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._beat)

    def __enter__(self) -> Machine:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def was_late(self, by_s: float) -> None:
        self.late_s = max(self.late_s, by_s)

    def _beat(self) -> None:
        while not self._is_over.is_set():
            asked = time.monotonic()
            time.sleep(0.01)
            by_s = time.monotonic() - asked - 0.01
            self.was_late(by_s)
            self.lost_s += by_s if by_s > 0.1 else 0.0


def longest_s(late_s: float) -> float:
    """What a writer may wait: two seconds, and as long as each was kept from going on."""
    return 2 + WRITERS * late_s


def write(engine: Engine, who: str, pause_s: float, machine: Machine) -> float:
    """A row in a transaction that takes `pause_s`; how long it waited for its turn."""
    asked = time.monotonic()
    with writing(engine) as connection:
        begun = time.monotonic()
        connection.execute(insert(audit).values(**entry(who)))
        time.sleep(pause_s)
    machine.was_late(time.monotonic() - begun - pause_s)
    return begun - asked


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
        output, _ = child.communicate(timeout=300)
        assert child.returncode == 0
        told.append(json.loads(output))
    assert written(engine) == sum(one["written"] for one in told)
    most_s = longest_s(max(one["late_s"] for one in told))
    assert max(one["longest_s"] for one in told) < most_s
    # Each gets about its share of the time that it had: with four, none is kept to a third of it.
    all_written = sum(one["written"] for one in told)
    for one in told:
        assert one["written"] >= all_written / 12 * (1 - one["lost_s"] / SECONDS)


def test_threads_take_turns_as_well(engine: Engine) -> None:
    waits: list[float] = []
    together = threading.Barrier(WRITERS)

    def work(who: str) -> None:
        chance = random.Random(who)
        together.wait()
        end = time.monotonic() + 2
        while time.monotonic() < end:
            waits.append(write(engine, who, chance.uniform(0.001, 0.02), machine))

    threads = [threading.Thread(target=work, args=(f"thread {n}",)) for n in range(WRITERS)]
    with Machine() as machine:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert written(engine) == len(waits)
    assert max(waits) < longest_s(machine.late_s)


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
        # Not after the half minute that is the rule.
        assert 0.4 < time.monotonic() - asked < 25
        # Whoever only reads waits for nobody.
        assert written(hasty) == 0
        child.send_signal(signal.SIGCONT)
        with pytest.raises(StorageBusyError), writing(hasty):
            pass
    finally:
        child.kill()
        child.wait()
    # A server may take a moment to see that it is gone.
    with writing(engine) as connection:
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
        thread.join(timeout=120)
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
    # Who had to wait for it would do so for half a minute, and give up.
    assert time.monotonic() - asked < 20
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
