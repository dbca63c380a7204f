"""The program of a rented machine: fetch the job, train, save, and send the model to the bucket.

It leaves with 0 when the job has succeeded and its manifest is in the bucket; 1 when the manifest
says that it has failed, or could not be put there; 2 for wrong arguments; 3 when the machine is
taken away, after which another attempt goes on from the last save; 4 when a newer attempt has
begun; 5 when nobody said in time that training may begin.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from misheard.blobs.opening import open_bucket
from misheard.errors import MisheardError
from misheard.finetune.paths import JobPaths
from misheard.finetune.rented.attempts import Phase
from misheard.finetune.rented.layout import RentedJob
from misheard.finetune.rented.machine import GRACE_S, Exit, Limits, Machine, left
from misheard.finetune.rented.stopping import Stop, watch_for_preemption

_LOOK_EVERY_S = 0.2


def main(arguments: Sequence[str]) -> int:
    """Work on an attempt of a job until it has ended, or the machine is taken away."""
    asked = _parse(arguments)
    try:
        job = RentedJob(open_bucket(asked.bucket), asked.job)
    except MisheardError as error:
        sys.stderr.write(f"{error}\n")
        return Exit.MISUSED
    limits = Limits(go_s=asked.wait_s, bucket_s=asked.patience_s, every_s=asked.every_s)
    stop = Stop()
    paths = JobPaths(asked.directory.resolve())
    paths.root.mkdir(parents=True, exist_ok=True)
    machine = Machine(job.attempt(asked.attempt), paths, stop, limits)
    return _watched(machine, stop)


def _watched(machine: Machine, stop: Stop) -> int:
    """Let the work be done in a thread, so that no request keeps this one from hearing signals."""
    signals: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        # Nothing but this: a handler may come while `stop` is locked.
        signal.signal(number, lambda number, _: signals.append(number))
    ended: list[int] = []
    work = threading.Thread(target=lambda: ended.append(machine.run()), name="work", daemon=True)
    work.start()
    threading.Thread(target=watch_for_preemption, args=(stop,), daemon=True).start()
    while work.is_alive():
        work.join(_LOOK_EVERY_S)
        if signals:
            stop.say(Phase.PREEMPTED, signal.Signals(signals[0]).name)
        if stop.is_said() and time.monotonic() > stop.at_s + GRACE_S:
            break
    if ended:
        return ended[0]
    return left(stop) if stop.is_said() else Exit.FAILED


def _parse(arguments: Sequence[str]) -> Any:
    parser = argparse.ArgumentParser(
        prog="python -m misheard.finetune.rented.program",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bucket", help="where jobs meet their machines: gs://bucket/folder")
    parser.add_argument("job", help="its id")
    parser.add_argument("directory", type=Path, help="an empty one for the job's files, or its own")
    parser.add_argument("--attempt", type=int, required=True, help="which machine this is, from 1")
    parser.add_argument(
        "--wait-s", type=float, default=3600.0, help="how long to wait for the word to begin (3600)"
    )
    parser.add_argument(
        "--patience-s",
        type=float,
        default=3600.0,
        help="how long to try to reach the bucket before and after the training (3600)",
    )
    parser.add_argument(
        "--every-s", type=float, default=5.0, help="seconds between two times that it tells (5)"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # At once: there may be threads that wait for a bucket which does not answer.
    os._exit(status)
