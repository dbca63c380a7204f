"""What was heard goes by age and by size, and what somebody has to do with stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, insert, select, text, update

from misheard import audio
from misheard.blobs.directory import DirectoryBlobs
from misheard.capture import free_rows
from misheard.capture.captured import Captured
from misheard.capture.digest import Digest, DigestRules
from misheard.capture.inferences import Heard, Inference, InferenceLog
from misheard.capture.retention import CaptureRetention, KeepRules, LetGo
from misheard.capture.suspicions import Suspicions
from misheard.cases.cases import Cases
from misheard.cases.records import Correction
from misheard.database.audit import AuditLog
from misheard.database.engine import now, open_engine, writing
from misheard.database.schema import (
    corrections,
    discarded,
    hourly,
    inferences,
    selections,
    speaker_norms,
    suite_cases,
)
from misheard.datasets.datasets import Datasets, Purpose
from misheard.datasets.manifest import Row
from misheard.datasets.split import Split
from misheard.monitoring import traffic
from misheard.speech.transcriber import Transcript
from tests.conftest import make_wav
from tests.loopback import until

ON_BOTH_DATABASES = True
Hear = Callable[..., list[Inference]]
NOTHING = LetGo(recordings=0, bytes=0, transcripts=0, blobs=0, is_done=True)


@pytest.fixture
def keep(engine: Engine, blobs: DirectoryBlobs, datasets: Datasets) -> Callable[..., LetGo]:
    """One run under these rules."""

    def run(**rules: float) -> LetGo:
        kept = CaptureRetention(
            engine, blobs, rules=KeepRules(**rules), in_datasets=datasets.in_use
        )
        return kept.run(actor="ann")

    return run


def age(engine: Engine, items: Sequence[Inference], days: float) -> None:
    """As if they had been heard so long ago; later ones a second later."""
    with writing(engine) as connection:
        for number, one in enumerate(items):
            at = now() - timedelta(days=days) + timedelta(seconds=number)
            this = inferences.c.id == one.id
            connection.execute(update(inferences).where(this).values(created_at=at))


def select_for_review(engine: Engine, inference_id: str, *, labelled: bool = False) -> None:
    row = {
        "inference_id": inference_id,
        "created_at": now(),
        "stream": "audit",
        "probability": 0.1,
        "priority": 0.0,
        "labelled_at": now() if labelled else None,
    }
    with writing(engine) as connection:
        connection.execute(insert(selections).values(**row))


def digest(engine: Engine) -> None:
    Digest(engine, rules=DigestRules(), scorer=lambda _, rows: [None] * len(rows)).catch_up()


def with_audio(engine: Engine) -> set[str]:
    with engine.connect() as connection:
        query = select(inferences.c.id).where(inferences.c.audio_sha256 != "")
        return set(connection.scalars(query))


def dataset_with(datasets: Datasets, keys: Sequence[str]) -> None:
    rows = [
        Row(
            audio_sha256=key,
            reference=f"held {key}",
            split=Split.TEST,
            kind="evaluation",
            speaker_group=key,
            duration_s=0.1,
        )
        for key in keys
    ]
    datasets.add("held", Purpose.EVALUATION, rows)


def test_without_rules_everything_stays(keep: Callable[..., LetGo], hear: Hear) -> None:
    hear(["one", "two"])
    assert keep() == NOTHING


def test_what_a_killed_writer_left_of_a_blob_goes(
    keep: Callable[..., LetGo], blobs: DirectoryBlobs, tmp_path: Path
) -> None:
    left = tmp_path / "blobs" / ".put-half"
    left.write_bytes(b"half of it")
    assert keep() == NOTHING
    assert not left.exists()


def test_old_audio_goes_and_its_transcript_stays(
    keep: Callable[..., LetGo], hear: Hear, engine: Engine, blobs: DirectoryBlobs, log: InferenceLog
) -> None:
    old, new = hear(["old", "older"]), hear(["new"], first=10)
    age(engine, old, 31)
    size = len(blobs.get_bytes(old[0].audio_sha256))
    assert keep(audio_days=30) == LetGo(
        recordings=2, bytes=2 * size, transcripts=0, blobs=2, is_done=True
    )
    assert set(blobs) == {new[0].audio_sha256}
    assert (log.get(old[0].id).audio_sha256, log.get(old[0].id).text) == ("", "old")
    assert log.get(old[0].id).audio_bytes is None
    (entry,) = AuditLog(engine).entries()
    assert (entry.actor, entry.action, entry.subject) == ("ann", "let_go", "inferences")
    assert (entry.evidence["recordings"], entry.evidence["bytes"]) == (2, 2 * size)
    assert keep(audio_days=30) == NOTHING


def test_the_oldest_audio_goes_until_the_rest_fits(
    keep: Callable[..., LetGo], hear: Hear, engine: Engine, blobs: DirectoryBlobs
) -> None:
    heard = hear([str(n) for n in range(10)])
    # The newest of the log was heard first.
    age(engine, heard[::-1], 5)
    size = len(blobs.get_bytes(heard[0].audio_sha256))
    done = keep(audio_gb=3.5 * size / 1e9)
    assert (done.recordings, done.bytes, done.blobs) == (7, 7 * size, 7)
    assert set(blobs) == {one.audio_sha256 for one in heard[:3]}
    assert keep(audio_gb=3.5 * size / 1e9) == NOTHING


def test_what_somebody_has_to_do_with_is_held(
    keep: Callable[..., LetGo],
    hear: Hear,
    engine: Engine,
    blobs: DirectoryBlobs,
    cases: Cases,
    datasets: Datasets,
) -> None:
    heard = hear([str(n) for n in range(9)])
    corrected, confirmed, opened, waiting, looked_at, in_dataset, in_suite, again, free = heard
    said = [(corrected, "other"), (confirmed, confirmed.text)]
    cases.correct(
        [Correction(inference_id=one.id, reference=words, author="ann") for one, words in said]
    )
    cases.open(opened.id)
    select_for_review(engine, waiting.id)
    select_for_review(engine, looked_at.id, labelled=True)
    dataset_with(datasets, [in_dataset.audio_sha256])
    with writing(engine) as connection:
        number = connection.execute(select(func.min(corrections.c.number))).scalar_one()
        # A suite has the recording under the name of another transcript.
        case = {
            "created_at": now(),
            "suite_name": "s",
            "audio_sha256": in_suite.audio_sha256,
            "reference": "x",
            "speaker_group": "g",
            "duration_s": 0.1,
            "tags": {},
            "inference_id": corrected.id,
            "correction_number": number,
        }
        connection.execute(insert(suite_cases).values(**case))
        this = inferences.c.id == again.id
        same = {"audio_sha256": corrected.audio_sha256}
        connection.execute(update(inferences).where(this).values(**same))
    age(engine, heard, 400)
    done = keep(audio_days=30, audio_gb=1e-9)
    held = {one.id for one in (corrected, confirmed, opened, waiting, in_dataset, in_suite)}
    assert with_audio(engine) == held
    # The recording that `again` refers to is held for another.
    assert done.recordings == 3
    assert {looked_at.audio_sha256, free.audio_sha256}.isdisjoint(blobs)
    assert {one.audio_sha256 for one in heard if one.id in held} <= set(blobs)


def test_old_transcripts_go_and_the_hours_stay(
    keep: Callable[..., LetGo], hear: Hear, engine: Engine, blobs: DirectoryBlobs, cases: Cases
) -> None:
    heard = hear([str(n) for n in range(6)])
    age(engine, heard, 100)
    digest(engine)
    corrected, opened, waiting, looked_at, *free = heard
    cases.correct([Correction(inference_id=corrected.id, reference="other", author="ann")])
    cases.open(opened.id)
    select_for_review(engine, waiting.id)
    select_for_review(engine, looked_at.id, labelled=True)
    counted = select(*(one for one in hourly.c if one.name != "let_go"))
    with engine.connect() as connection:
        before = traffic.statistics(connection), connection.execute(counted).all()
    done = keep(text_days=90)
    assert (done.transcripts, done.blobs) == (3, 3)
    with engine.connect() as connection:
        assert (traffic.statistics(connection), connection.execute(counted).all()) == before
        assert connection.scalars(select(hourly.c.let_go)).all() == [3]
        left = set(connection.scalars(select(inferences.c.id)))
    assert left == {corrected.id, opened.id, looked_at.id}
    assert {one.audio_sha256 for one in free}.isdisjoint(blobs)


def test_what_was_not_counted_yet_stays(
    keep: Callable[..., LetGo], log: InferenceLog, engine: Engine
) -> None:
    items = [Captured(audio="x", text=str(n), heard_at=now() - timedelta(9)) for n in range(3)]
    log.capture(items, live="v-1")
    assert keep(text_days=1).transcripts == 0
    digest(engine)
    log.capture(items[:1], live="v-1")
    assert keep(text_days=1).transcripts == 3
    assert log.count() == 1


def test_a_recording_that_two_transcripts_have_stays_for_the_newer(
    keep: Callable[..., LetGo], log: InferenceLog, engine: Engine, blobs: DirectoryBlobs
) -> None:
    data = make_wav()
    transcript = Transcript(text="x", latency_s=0.1, compute_s=0.1)
    heard = Heard(data=data, audio=audio.decode(data), transcript=transcript)
    old, new = log.record("v-1", [heard, heard])
    age(engine, [old], 31)
    done = keep(audio_days=30)
    assert (done.recordings, done.blobs) == (1, 0)
    assert set(blobs) == {new.audio_sha256}
    age(engine, [new], 31)
    assert keep(audio_days=30).blobs == 1
    assert list(blobs) == []


def test_audio_that_was_never_measured_is_measured_once(
    hear: Hear, engine: Engine, blobs: DirectoryBlobs, datasets: Datasets
) -> None:
    heard = hear([str(n) for n in range(3)])
    with writing(engine) as connection:
        connection.execute(update(inferences).values(audio_bytes=-1))
    size = len(blobs.get_bytes(heard[0].audio_sha256))
    retention = CaptureRetention(engine, blobs, rules=KeepRules(), in_datasets=datasets.in_use)
    kept = retention.kept()
    assert (kept.recordings, kept.bytes) == (3, 3 * size)
    assert kept.oldest_at == min(one.created_at for one in heard)


def test_how_much_is_kept_and_what_is_oldest_is_told_by_an_index(engine: Engine) -> None:
    """A sum over a million rows that has to visit each of them would be read from the disk."""
    if engine.dialect.name != "sqlite":
        return  # which chooses by what is in the table
    explained = "EXPLAIN QUERY PLAN SELECT count(*), sum(audio_bytes) FROM inferences "
    with engine.connect() as connection:
        (plan,) = connection.execute(text(explained + "WHERE audio_bytes IS NOT NULL")).all()
    assert "COVERING INDEX ix_inferences_kept_audio" in plan[3]


def test_a_run_that_is_out_of_time_says_so_and_the_next_one_goes_on(
    hear: Hear, engine: Engine, blobs: DirectoryBlobs, datasets: Datasets
) -> None:
    age(engine, hear(["one", "two"]), 31)
    rules = KeepRules(audio_days=30)
    retention = CaptureRetention(engine, blobs, rules=rules, in_datasets=datasets.in_use)
    assert retention.run(actor="ann", within_s=0).is_done is False
    assert retention.run(actor="ann").blobs == 2


def test_a_recording_that_comes_in_again_while_it_is_let_go_of_is_there(
    hear: Hear, engine: Engine, blobs: DirectoryBlobs, datasets: Datasets, log: InferenceLog
) -> None:
    """Between its bytes and its row, the last older row of the same bytes goes, and they do."""
    (old,) = hear(["old"])
    age(engine, [old], 31)
    rules = KeepRules(audio_days=30)
    retention = CaptureRetention(engine, blobs, rules=rules, in_datasets=datasets.in_use)
    data = blobs.get_bytes(old.audio_sha256)
    transcript = Transcript(text="again", latency_s=0.1, compute_s=0.1)
    heard = Heard(data=data, audio=audio.decode(data), transcript=transcript)
    log.keep_audio([heard])
    assert retention.run(actor="ann").blobs == 1
    (new,) = log.record("v-1", [heard])
    assert blobs.get_bytes(new.audio_sha256) == data


def test_two_at_once_let_go_of_everything_once(
    hear: Hear, engine: Engine, blobs: DirectoryBlobs, datasets: Datasets
) -> None:
    heard = hear([str(n) for n in range(60)])
    age(engine, heard, 31)
    done: list[LetGo] = []
    rules = KeepRules(audio_days=30)

    def run() -> None:
        retention = CaptureRetention(engine, blobs, rules=rules, in_datasets=datasets.in_use)
        done.append(retention.run(actor="ann"))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(one.recordings for one in done) == 60
    assert list(blobs) == []


RUN = """
import sys
from pathlib import Path
from misheard.blobs.directory import DirectoryBlobs
from misheard.capture import retention
from misheard.database.engine import open_engine
from misheard.datasets.datasets import Datasets
from tests.cycle.chaos_points import Kill, install

retention._AT_ONCE = 3
engine, blobs = open_engine(sys.argv[2]), DirectoryBlobs(Path(sys.argv[1]))
rules = retention.KeepRules(audio_days=30, text_days=60)
datasets = Datasets(engine, blobs)
run = retention.CaptureRetention(engine, blobs, rules=rules, in_datasets=datasets.in_use)
if tick := int(sys.argv[3]):
    install(Kill(tick=tick))
run.run(actor="ann")
"""
"""It kills itself at that tick, which no machine is too busy for; at none with 0."""


def test_killed_again_and_again_it_ends_as_if_it_had_not_been(
    hear: Hear,
    engine: Engine,
    database_url: str,
    blobs: DirectoryBlobs,
    tmp_path: Path,
    cases: Cases,
) -> None:
    heard = hear([str(n) for n in range(120)])
    age(engine, heard[:40], 90)
    age(engine, heard[40:80], 45)
    digest(engine)
    cases.correct([Correction(inference_id=heard[5].id, reference="other", author="ann")])
    kills, command = 0, [sys.executable, "-c", RUN, str(tmp_path / "blobs"), database_url]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    for attempt in range(8):
        tick = str(1 + 29 * attempt)
        child = subprocess.run([*command, tick], check=False, env=environment)
        kills += child.returncode == -signal.SIGKILL
        # Whatever was deleted by then, no row points at what is not there.
        with engine.connect() as connection:
            keys = set(connection.scalars(select(inferences.c.audio_sha256))) - {""}
        assert keys <= set(blobs)
        if child.returncode == 0:
            break
    assert kills >= 4
    subprocess.run([*command, "0"], check=True, env=environment)
    kept = {heard[5].audio_sha256} | {one.audio_sha256 for one in heard[80:]}
    assert set(blobs) == kept
    with engine.connect() as connection:
        left = set(connection.scalars(select(inferences.c.id)))
        assert connection.execute(select(func.count()).select_from(discarded)).scalar() == 0
    assert left == {one.id for one in (heard[5], *heard[40:])}


class Commits:
    """How often another process can commit while the block runs; no clock is asked for it."""

    def __init__(self, database_url: str) -> None:
        self._engine = open_engine(database_url)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self.count = 0

    def __enter__(self) -> Commits:
        self._thread.start()
        # It is there, and not about to be.
        until(lambda: self.count)
        self.count = 0
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._engine.dispose()

    def _write(self) -> None:
        while not self._stop.is_set():
            with writing(self._engine) as connection:
                connection.execute(text("UPDATE marks SET reader = reader"))
            self.count += 1
            time.sleep(0.002)


def test_other_writers_hardly_wait(
    log: InferenceLog, engine: Engine, keep: Callable[..., LetGo], database_url: str
) -> None:
    """A few thousand transcripts go, and another process commits in between."""
    at: datetime = now() - timedelta(days=9)
    items: list[Any] = [Captured(audio="x", text="y" * 40, heard_at=at) for _ in range(6_000)]
    # A busy machine may keep the other from its turn; not so each time.
    for _ in range(5):
        log.capture(items, live="v-1")
        digest(engine)
        with Commits(database_url) as other:
            done = keep(text_days=1)
        assert done.transcripts == 6_000
        # There are twelve portions, and it is its turn after most of them.
        if other.count >= 6:
            break
    assert other.count >= 6


def held_for_review(log: InferenceLog, engine: Engine, count: int) -> None:
    """So many old recordings that wait for a person; nobody has their bytes."""
    at: datetime = now() - timedelta(days=9)
    log.capture([Captured(audio="x", text="y", heard_at=at) for _ in range(count)], live="v-1")
    with writing(engine) as connection:
        connection.execute(
            text("UPDATE inferences SET audio_bytes = 1, audio_sha256 = 'of ' || id")
        )
        connection.execute(
            text(
                "INSERT INTO selections (inference_id, created_at, stream, probability, priority) "
                "SELECT id, created_at, 'suspicious', 1.0, 0.9 FROM inferences"
            )
        )


def test_what_is_held_is_looked_through_while_others_write(
    log: InferenceLog, engine: Engine, keep: Callable[..., LetGo], database_url: str
) -> None:
    """Nothing goes, so nothing is written, and the lock is not taken for it at all."""
    held_for_review(log, engine, 100_000)
    other = open_engine(database_url)
    with writing(other):
        assert keep(audio_days=1) == NOTHING
    other.dispose()


def test_what_is_free_behind_what_is_held_goes_though_no_run_has_time_for_all(
    log: InferenceLog,
    engine: Engine,
    blobs: DirectoryBlobs,
    datasets: Datasets,
    hear: Hear,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A run goes on where the last was out of time, else it would never come to the end of it."""
    held_for_review(log, engine, 20_000)
    (free,) = hear(["free"])
    age(engine, [free], 5)
    monkeypatch.setattr(free_rows, "_LOOKED_AT", 100)
    rules = KeepRules(audio_days=1)
    retention = CaptureRetention(engine, blobs, rules=rules, in_datasets=datasets.in_use)
    runs = [retention.run(actor="ann", within_s=0.02)]
    assert not runs[0].is_done
    # On a busy machine, many have not even time to begin.
    end = time.monotonic() + 300
    while not runs[-1].recordings and time.monotonic() < end:
        runs.append(retention.run(actor="ann", within_s=0.02))
    assert runs[-1].recordings == 1
    assert free.id not in with_audio(engine)


def test_how_fast_a_speaker_speaks_goes_with_the_last_of_its_transcripts(
    keep: Callable[..., LetGo], log: InferenceLog, engine: Engine
) -> None:
    def told(speaker: str, days: int) -> Captured:
        at = now() - timedelta(days=days)
        return Captured(audio="x", text="hold on", heard_at=at, duration_s=1.0, speaker=speaker)

    log.capture([told("ann", 9), told("bob", 9), told("bob", 1)], live="v-1")
    scorer = Suspicions(engine, normalize=str).score
    Digest(engine, rules=DigestRules(), scorer=scorer).catch_up()
    assert keep(text_days=5).transcripts == 2
    with engine.connect() as connection:
        assert set(connection.scalars(select(speaker_norms.c.speaker))) == {"", "bob"}


def test_files_that_nothing_points_at_are_deleted_where_that_is_wanted(
    engine: Engine, blobs: DirectoryBlobs, datasets: Datasets, hear: Hear
) -> None:
    (heard,) = hear(["one"])
    held = blobs.put_bytes(make_wav(hertz=900))
    dataset_with(datasets, [held])
    there = set(blobs)
    left = {blobs.put_bytes(f"left {number}".encode()) for number in range(3)}
    assert heard.audio_sha256 in there
    kept = CaptureRetention(engine, blobs, rules=KeepRules(), in_datasets=datasets.in_use)
    assert kept.run(actor="ann").blobs == 0
    assert set(blobs) == there | left
    assert kept.note_unknown() == 3
    assert kept.run(actor="ann").blobs == 3
    assert set(blobs) == there
