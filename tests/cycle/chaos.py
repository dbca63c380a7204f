"""Kill the workers of a cycle, again and again, and see that nothing is lost or done twice.

    python -m tests.cycle.chaos --kills 200 --database sqlite
    python -m tests.cycle.chaos --kills 200 --database postgresql
    python -m tests.cycle.chaos --points --database sqlite       each named point, by one worker

Two workers compete for one workspace, each a process of its own, and each with a person beside it
who approves what waits. They are sent SIGKILL at random moments, or kill themselves at random ticks
(see `chaos_points`); some are stopped for longer than a lease and then go on. Whoever dies is
started again until the cycle has ended. Then every row of the database, but for times and ids, has
to be as in a run that nobody disturbed; so has what lies on the disk.

The last line is JSON: kills, pauses, runs, differing, seconds.
"""

# ruff: noqa: T201

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cycle import chaos_scene
from tests.cycle.chaos_points import INSIDE, POINTS, Kill, install
from tests.postgres import Cluster, cluster

_POLL_S = 0.002
_PATIENCE_S = 600.0
_WIDTH = 400
_PAUSE_S = 2 * chaos_scene.LEASE.total_seconds()
_A_RUN = 10
"""Disturbances of one cycle."""
_POINTS_A_RUN = 14


_EFFECTS = {
    "cycles": 1,
    "cycle_steps": 10,
    "jobs": 1,
    "versions": 2,
    "validations": 1,
    # Two suites, as a gate of the cycle and by the clock.
    "suite_runs": 4,
    "deployments": 2,
}
"""Rows of an undisturbed run."""


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """What happens to one process: a kill of its own, or a signal after a time."""

    kill: Kill | None = None
    after_s: float | None = None
    pause: bool = False


@dataclass
class Tally:
    """What has happened so far."""

    kills: int = 0
    pauses: int = 0
    runs: int = 0
    differing: int = 0
    points: set[tuple[str, str]] = field(default_factory=set)


@dataclass
class _Child:
    pid: int
    trouble: Trouble
    started: float
    stopped_at: float | None = None
    is_troubled: bool = False


@dataclass(frozen=True)
class Stage:
    """A workspace of which each run gets a copy."""

    folder: Path
    server: Cluster | None

    def prepare(self) -> None:
        """Make the workspace that is copied."""
        url = str(self.server.create("template")) if self.server else ""
        _in_child(lambda: chaos_scene.prepare(self.folder / "template", url))

    @contextmanager
    def copy(self, name: str) -> Iterator[tuple[Path, str]]:
        """A copy for one run: its directory, and its database where that is not in there."""
        root = self.folder / name
        shutil.copytree(self.folder / "template", root)
        url = str(self.server.create(name, like="template")) if self.server else ""
        yield root, url
        shutil.rmtree(root)
        if self.server:
            self.server.drop(self.server.url(name))


def play(root: Path, url: str, troubles: list[Trouble], tally: Tally, *, workers: int = 2) -> None:
    """Workers, until the cycle has ended; each that dies is followed by another."""
    waiting = list(reversed(troubles))

    def start() -> _Child:
        trouble = waiting.pop() if waiting else Trouble()
        kill = trouble.kill
        pid = _fork(lambda: _work(root, url, kill))
        return _Child(pid=pid, trouble=trouble, started=time.monotonic())

    children = [start() for _ in range(workers)]
    deadline = time.monotonic() + _PATIENCE_S
    while not (root / "done").exists():
        if time.monotonic() > deadline:
            for child in children:
                os.kill(child.pid, signal.SIGKILL)
            raise TimeoutError(f"no end after {_PATIENCE_S:g} s")
        for number, child in enumerate(children):
            if _trouble(child, tally):
                if child.trouble.kill is not None and child.trouble.kill.point is not None:
                    tally.points.add(child.trouble.kill.point)
                children[number] = start()
        time.sleep(_POLL_S)
    for child in children:
        os.kill(child.pid, signal.SIGCONT)
        os.kill(child.pid, signal.SIGTERM)
    for child in children:
        _, status = os.waitpid(child.pid, 0)
        if os.WIFSIGNALED(status):
            tally.kills += os.WTERMSIG(status) == signal.SIGKILL
        elif os.WEXITSTATUS(status):
            raise RuntimeError("a worker did not stop cleanly")


def _trouble(child: _Child, tally: Tally) -> bool:
    """Do to a process what is to be done to it now; whether it is dead."""
    pid, status = os.waitpid(child.pid, os.WNOHANG)
    if pid:
        if not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
            raise RuntimeError(f"a worker ended by itself, with status {status}")
        tally.kills += 1
        return True
    moment = time.monotonic()
    if child.stopped_at is not None and moment - child.stopped_at > _PAUSE_S:
        os.kill(child.pid, signal.SIGCONT)
        child.stopped_at = None
    after_s = child.trouble.after_s
    if after_s is not None and not child.is_troubled and moment - child.started > after_s:
        child.is_troubled = True
        if child.trouble.pause:
            os.kill(child.pid, signal.SIGSTOP)
            child.stopped_at = moment
            tally.pauses += 1
        else:
            os.kill(child.pid, signal.SIGKILL)
    return False


def _work(root: Path, url: str, kill: Kill | None) -> None:
    if kill is not None:
        install(kill)
    chaos_scene.work(root, url)


def _fork(do: Callable[[], object]) -> int:
    """Do it in a process of its own; its id."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        do()
        code = 0
    except BaseException:  # noqa: BLE001 - it ends here, whatever it was
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _in_child(do: Callable[[], object]) -> None:
    """Do it in a process of its own, so that no connection to a database is ever forked."""
    _, status = os.waitpid(_fork(do), 0)
    if status:
        raise RuntimeError(f"ended with status {status}")


def outcome(root: Path, url: str) -> dict[str, Any]:
    """See `chaos_scene.outcome`."""
    file = root / "outcome.json"
    _in_child(lambda: file.write_text(json.dumps(chaos_scene.outcome(root, url))))
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def differences(wanted: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """What is there too often or not at all, in words."""
    told = []
    for name in sorted(wanted.keys() | found.keys()):
        here, there = found.get(name), wanted.get(name)
        if here == there:
            continue
        if not isinstance(here, dict) or not isinstance(there, dict):
            told.append(f"{name}: {here} instead of {there}")
            continue
        for row in sorted(here.keys() | there.keys()):
            if here.get(row, 0) != there.get(row, 0):
                counts = f"{here.get(row, 0)} instead of {there.get(row, 0)}"
                told.append(f"{name}: {counts} of {row[:_WIDTH]}")
    return told


def random_troubles(chance: random.Random, took_s: float, ticks: int) -> list[Trouble]:
    """A cycle's worth: signals at random moments, deaths at random ticks, and some pauses."""
    made = []
    for _ in range(_A_RUN):
        which = chance.random()
        if which < 0.45:
            # Early ones more often: a process that came late has less to do.
            made.append(Trouble(kill=Kill(tick=1 + int(ticks * chance.random() ** 2))))
        else:
            after_s = took_s * chance.random() ** 2
            made.append(Trouble(after_s=after_s, pause=which > 0.85))
    return made


def run(
    stage: Stage,
    plans: Iterator[list[Trouble]],
    wanted: dict[str, Any],
    tally: Tally,
    *,
    workers: int,
) -> None:
    """Play each plan, and compare what it came to."""
    for troubles in plans:
        tally.runs += 1
        with stage.copy(f"run_{tally.runs}") as (root, url):
            play(root, url, troubles, tally, workers=workers)
            told = differences(wanted, outcome(root, url))
        if told:
            tally.differing += 1
            print(f"run {tally.runs} differs after {troubles}:", file=sys.stderr)
            print("\n".join(told[:20]), file=sys.stderr, flush=True)
        print(f"run {tally.runs}: {tally.kills} kills, {tally.pauses} pauses", flush=True)


def undisturbed(stage: Stage) -> tuple[dict[str, Any], float]:
    """What two runs that nobody disturbs come to, which has to be the same, and how long one is."""
    found = []
    for name in ("calm_1", "calm_2"):
        started = time.monotonic()
        with stage.copy(name) as (root, url):
            play(root, url, [], Tally())
            took_s = time.monotonic() - started
            found.append(outcome(root, url))
    if told := differences(*found):
        raise RuntimeError("two runs that nobody disturbed differ:\n" + "\n".join(told))
    # What this cycle is for; else all would be the same because nothing happens.
    counts = {name: sum(found[0][name].values()) for name in _EFFECTS}
    if counts != _EFFECTS:
        raise RuntimeError(f"a cycle came to {counts} instead of {_EFFECTS}")
    return found[0], took_s


def _chosen(arguments: argparse.Namespace) -> tuple[tuple[str, str], ...]:
    if not arguments.points:
        return ()
    # Only SQLite is copied before a deployment, which is all that is made in the midst of it.
    copies = arguments.database == "sqlite"
    points = [one for one in POINTS if copies or one != ("awaiting_approval", INSIDE)]
    return tuple(points[:: arguments.every])


def _plans(arguments: argparse.Namespace, tally: Tally, took_s: float) -> Iterator[list[Trouble]]:
    if arguments.points:
        chosen = _chosen(arguments)
        for first in range(0, len(chosen), _POINTS_A_RUN):
            points = chosen[first : first + _POINTS_A_RUN]
            yield [Trouble(kill=Kill(point=point)) for point in points]
        return
    chance = random.Random(arguments.seed)
    while tally.kills < arguments.kills:
        yield random_troubles(chance, took_s, arguments.ticks)


def main() -> int:
    """Run it; 1 where anything differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.cycle.chaos")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--points", action="store_true", help="each named point once")
    parser.add_argument("--every", type=int, default=1, help="only each so many-th point")
    parser.add_argument("--ticks", type=int, default=700, help="the latest that one dies at")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    started, tally = time.monotonic(), Tally()
    folder = Path(tempfile.mkdtemp(prefix="misheard-chaos-"))
    server = cluster() if arguments.database == "postgresql" else nullcontext()
    try:
        with server as one:
            stage = Stage(folder, one)
            stage.prepare()
            wanted, took_s = undisturbed(stage)
            print(f"undisturbed: {took_s:.2f} s", flush=True)
            # A rival would pass some of the points by.
            workers = 1 if arguments.points else 2
            run(stage, _plans(arguments, tally, took_s), wanted, tally, workers=workers)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    figures = {
        "database": arguments.database,
        "kills": tally.kills,
        "pauses": tally.pauses,
        "runs": tally.runs,
        "points": len(tally.points),
        "missed": sorted(set(_chosen(arguments)) - tally.points),
        "differing": tally.differing,
        "seconds": round(time.monotonic() - started, 1),
    }
    print(json.dumps(figures))
    return 1 if tally.differing else 0


if __name__ == "__main__":
    sys.exit(main())
