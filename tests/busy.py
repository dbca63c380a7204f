"""Processes that log, count and correct as fast as they can, until they are killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

CORRECTIONS = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from misheard.blobs.directory import DirectoryBlobs
from misheard.capture.captured import Captured
from misheard.capture.digest import Digest, DigestRules, no_suspicion
from misheard.capture.inferences import InferenceLog
from misheard.cases.cases import Cases
from misheard.cases.records import Correction
from misheard.database.engine import open_engine
from misheard.scoring.normalize import normalizer
url, blobs = sys.argv[1], DirectoryBlobs(Path(sys.argv[2]))
# What keeps others busy must not give up itself where they keep it waiting.
log = InferenceLog(open_engine(url, telemetry=True, patience_s=600), blobs)
engine = open_engine(url, patience_s=600)
cases = Cases(engine, normalizer=normalizer("basic"))
digest = Digest(engine, rules=DigestRules(audit_share=0.2), scorer=no_suspicion)
def write():
    log.capture(
        [Captured(audio=f"{n}.wav", text=f"number {n}", heard_at=datetime.now(UTC), latency_s=0.1)
         for n in range(200)],
        live="v-1",
    )
    digest.catch_up()
    some = log.recent(limit=3)
    cases.open(some[0].id, suspicion=0.5)
    cases.correct([Correction(inference_id=one.id, reference="others", author="ann")
                   for one in some[:2]])
write()
print("ready", flush=True)
while True:
    write()
"""


@contextmanager
def busy(url: str, blobs: str, *, processes: int = 3) -> Iterator[None]:
    """While the block runs, others write; then they are killed in the middle of it."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", CORRECTIONS, url, blobs]
    children = [
        subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) for _ in range(processes)
    ]
    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
        yield
        assert [child.poll() for child in children] == [None] * processes
    finally:
        for child in children:
            child.kill()
            child.communicate()
