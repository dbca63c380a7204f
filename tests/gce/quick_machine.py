"""What a rented machine runs in tests that are about whoever rents it: all but the training.

    python -m tests.gce.quick_machine BUCKET JOB ATTEMPT [FILE]

It speaks to the bucket as the real program does, with its records, and makes a model of a few
bytes in a second. What it does wrong is said by the job's id: "-fails", "-mute", "-wrong-manifest",
"-wrong-bytes", "-endless". Where a file is named, it waits for that after its first step.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from misheard.blobs.opening import open_bucket
from misheard.finetune.events import TrainingEvent
from misheard.finetune.rented.attempts import Heartbeat, Phase, begin
from misheard.finetune.rented.bundle import is_released, read_bundle
from misheard.finetune.rented.layout import RentedJob
from misheard.finetune.rented.manifest import Made, Manifest, Outcome

STEPS = 4
MODEL = b"a model of a few bytes"


def main(url: str, job_id: str, number: int, word: Path | None = None) -> None:
    job = RentedJob(open_bucket(url), job_id)
    attempt = job.attempt(number)
    if "-mute" in job_id and number == 1:
        time.sleep(600)
    begin(attempt, f"token-{number}")
    bundle = read_bundle(job)
    assert bundle is not None, "the bundle was not there before the machine"
    while not is_released(job):
        beat(job, number, Phase.WAITING)
        time.sleep(0.05)
    events, log = b"", b""
    for step in range(1, STEPS + 1):
        beat(job, number, Phase.TRAINING)
        event = TrainingEvent(at_s=step / 10, phase="train", step=step, steps=STEPS, loss=1 / step)
        told = {key: value for key, value in vars(event).items() if value is not None}
        events += json.dumps(told).encode() + b"\n"
        job.bucket.put(attempt.events, events)
        log += f"step {step}\n".encode()
        job.bucket.put(attempt.log, log)
        time.sleep(0.1)
        while word is not None and not word.exists():
            time.sleep(0.05)
        if "-endless" in job_id:
            time.sleep(600)
    if "-fails" in job_id:
        end(job, Manifest(attempt=number, outcome=Outcome.FAILED, reason="ValueError: no good"))
        return
    files = {}
    # `tuned.txt` is what the workspaces of tests/tiny.py know a better model by.
    model = {"model.bin": MODEL, "tokenizer.json": b"{}", "config.json": b"{}", "tuned.txt": b"yes"}
    made = {f"model/{name}": content for name, content in model.items()}
    for name, content in (made | {"result.json": b'{"trained_s": 0.4}'}).items():
        key = job.outputs.put_bytes(content)
        files[name] = Made(sha256=key, size_bytes=len(content))
    if "-wrong-bytes" in job_id:
        spoilt = hashlib.sha256(b"something else").hexdigest()
        files["model/model.bin"] = Made(sha256=spoilt, size_bytes=len(MODEL))
    end(job, Manifest(attempt=number, outcome=Outcome.SUCCEEDED, files=files))


def beat(job: RentedJob, number: int, phase: Phase) -> None:
    told = Heartbeat(attempt=number, host="quick", at=datetime.now(UTC), phase=phase)
    job.bucket.put(job.attempt(number).heartbeat, told.to_json())


def end(job: RentedJob, manifest: Manifest) -> None:
    data = manifest.to_json()
    if "-wrong-manifest" in job.job_id:
        data = data.replace(b'"attempt": 1', b'"attempt": 7')
    job.bucket.put(job.manifest, data, create_only=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), *map(Path, sys.argv[4:]))
