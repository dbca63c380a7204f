"""What it costs to log, to look after and to ask about millions of transcripts.

    python -m benchmarks.storage                    # 10 million transcripts, about 15 minutes
    python -m benchmarks.storage --rows 300000      # a minute

Four parts, each on files of its own in a temporary directory (`--directory`):

- **Bulk.** `InferenceLog.capture` of 200,000 transcripts beside `sqlite3`'s own `executemany` of
  the same rows, prepared beforehand, into a table with the same columns and indices, with the same
  settings of SQLite (WAL, synchronous=NORMAL) and as many rows a transaction. In turn, three times,
  medians. `bulk_vs_sqlite` is our rows a second over theirs.
- **Single.** One transcript a transaction, made durable (synchronous=FULL), beside the same rows by
  `BEGIN IMMEDIATE`, `INSERT`, `COMMIT`. `single_vs_sqlite` is our rows a second over theirs, and
  `single_telemetry_vs_sqlite` the same at synchronous=NORMAL.
- **Together.** Four processes log one transcript after the other for ten seconds. All that they
  were told was logged must be there; `max_wait_s` is the longest that any of them waited for one,
  and `max_wait_plain_s` the longest with SQLite's own way to wait.
- **Years.** A workspace with `--rows` transcripts over a year and one with 10,000: checking the
  trigger, the status page, the next page of the review queue, each the median of 50 calls.
  `trigger_growth` is the larger over the smaller; `memory_growth_mb` is how much more memory the
  process has after all calls on the larger one than after those on the smaller one.

The last line is JSON. On PostgreSQL: `--database postgresql+psycopg://…` for the last part.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import resource
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, func, select

from misheard.blobs.directory import DirectoryBlobs
from misheard.capture.captured import COLUMNS, Captured, latest_time, row
from misheard.capture.inferences import InferenceLog
from misheard.cases.records import Correction
from misheard.database.engine import migrate, new_ids, now, open_engine
from misheard.database.schema import inferences
from misheard.reports.status import status
from misheard.workspace import Workspace

BULK, SINGLE, ROUNDS, PER_TRANSACTION = 200_000, 2_000, 3, 2_000
WRITERS, TOGETHER_S = 4, 10.0
SMALL, LARGE = 10_000, 10_000_000
CALLS = 50
_SENTENCES = """please hold the line your call is important to us press one for sales two for
support and three to hear these options again the number you have dialled is not in service"""
_WORDS = _SENTENCES.split()


def transcripts(count: int, *, seed: int = 0) -> Iterator[Captured]:
    """So many telephone transcripts of the last year, oldest first."""
    draw = random.Random(seed)
    first, year_s = now() - timedelta(days=365), 365 * 86_400.0
    for number in range(count):
        duration_s = 1.0 + 6.0 * draw.random()
        yield Captured(
            audio=f"s3://calls/{seed}/{number}.wav",
            text=" ".join(draw.choices(_WORDS, k=draw.randint(2, 14))),
            heard_at=first + timedelta(seconds=year_s * number / count),
            client_id=f"{draw.getrandbits(64):016x}",
            session=f"call-{seed}-{number // 20}",
            duration_s=duration_s,
            avg_logprob=-draw.expovariate(4.0),
            no_speech_prob=draw.random() * 0.2,
            compression_ratio=1.0 + draw.random(),
            latency_s=0.05 + 0.05 * draw.random(),
            compute_s=0.02 * duration_s,
        )


def fresh(folder: Path, name: str, **options: Any) -> Engine:
    """An empty database with today's schema."""
    engine = open_engine(f"sqlite:///{folder / name}.db", **options)
    migrate(engine)
    return engine


def plain(folder: Path, name: str, synchronous: str) -> sqlite3.Connection:
    """A connection as anybody would open it, to an empty database with today's schema."""
    fresh(folder, name).dispose()
    connection = sqlite3.connect(folder / f"{name}.db", isolation_level=None)
    connection.execute(f"PRAGMA synchronous={synchronous}")
    connection.execute("PRAGMA foreign_keys=ON")
    return connection


def rows_of(items: Sequence[Captured]) -> list[tuple[Any, ...]]:
    """The rows that `items` become."""
    latest, made = latest_time(now()), []
    for start in range(0, len(items), PER_TRANSACTION):
        some = items[start : start + PER_TRANSACTION]
        # By portions, as we do: ids sort by the time at which they are made, and an index of many
        # that were made at one moment is filled at random places.
        ids = new_ids("inf", len(some))
        made += [
            row(item, id_, live="v-1", latest=latest, on_sqlite=True)
            for item, id_ in zip(some, ids, strict=True)
        ]
    return made


INSERT = f"INSERT INTO inferences ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"


def bulk(folder: Path, count: int) -> dict[str, float]:
    """Many rows at once."""
    items = list(transcripts(count))
    ours, theirs = [], []
    for number in range(ROUNDS):
        engine = fresh(folder, f"bulk-{number}", telemetry=True)
        log = InferenceLog(engine, DirectoryBlobs(folder / "blobs"))
        started = time.perf_counter()
        logged = log.capture(items, live="v-1")
        ours.append(time.perf_counter() - started)
        assert logged.new == count
        engine.dispose()

        rows = rows_of(items)
        connection = plain(folder, f"plain-{number}", "NORMAL")
        started = time.perf_counter()
        for start in range(0, count, PER_TRANSACTION):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(INSERT, rows[start : start + PER_TRANSACTION])
            connection.execute("COMMIT")
        theirs.append(time.perf_counter() - started)
        assert connection.execute("SELECT count(*) FROM inferences").fetchone() == (count,)
        connection.close()
    return {
        "bulk_vs_sqlite": statistics.median(theirs) / statistics.median(ours),
        "bulk_rows_per_s": count / statistics.median(ours),
    }


def single(folder: Path, count: int, *, telemetry: bool) -> float:
    """One row a transaction: our rows a second over those of `sqlite3`."""
    items = list(transcripts(count, seed=1))
    ours, theirs = [], []
    for number in range(ROUNDS):
        name = f"{telemetry}-{number}"
        engine = fresh(folder, f"single-{name}", telemetry=telemetry)
        log = InferenceLog(engine, DirectoryBlobs(folder / "blobs"))
        log.capture(items[:1], live="v-1")
        started = time.perf_counter()
        for item in items[1:]:
            log.capture([item], live="v-1")
        ours.append(time.perf_counter() - started)
        engine.dispose()

        rows = rows_of(items)
        connection = plain(folder, f"single-plain-{name}", "NORMAL" if telemetry else "FULL")
        started = time.perf_counter()
        for one in rows[1:]:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(INSERT, one)
            connection.execute("COMMIT")
        theirs.append(time.perf_counter() - started)
        connection.close()
    return statistics.median(theirs) / statistics.median(ours)


def _write(url: str, seed: int, fair: bool, answers: Any) -> None:
    """Log one after the other, and tell what was logged and how long the longest took."""
    add = _adds(url) if fair else _adds_as_sqlite(url)
    logged, longest_s, until = 0, 0.0, time.monotonic() + TOGETHER_S
    for item in transcripts(10_000_000, seed=seed):
        started = time.monotonic()
        if started > until:
            break
        add(item)
        longest_s = max(longest_s, time.monotonic() - started)
        logged += 1
    answers.put((logged, longest_s))


def _adds(url: str) -> Callable[[Captured], object]:
    log = InferenceLog(open_engine(url), DirectoryBlobs(Path("unused")))
    return lambda item: log.capture([item], live="v-1")


def _adds_as_sqlite(url: str) -> Callable[[Captured], object]:
    """With SQLite's own way to wait."""
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, timeout=30)
    connection.execute("PRAGMA synchronous=FULL")

    def add(item: Captured) -> None:
        (one,) = rows_of([item])
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(INSERT, one)
        connection.execute("COMMIT")

    return add


def together(folder: Path, *, fair: bool) -> tuple[float, int]:
    """The longest wait of four processes, and how many rows they logged; none may be missing."""
    engine = fresh(folder, f"together-{fair}")
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    writers = [
        context.Process(target=_write, args=(str(engine.url), 10 + n, fair, answers))
        for n in range(WRITERS)
    ]
    for one in writers:
        one.start()
    told = [answers.get() for _ in writers]
    for one in writers:
        one.join()
    with engine.connect() as connection:
        kept = connection.execute(select(func.count()).select_from(inferences)).scalar_one()
    if kept != sum(logged for logged, _ in told):
        raise SystemExit(f"lost rows: {kept} kept of {sum(logged for logged, _ in told)}")
    return max(longest_s for _, longest_s in told), kept


def filled(root: Path, count: int, database: str) -> tuple[Workspace, dict[str, float]]:
    """A workspace with so many transcripts, of which a share was corrected; what that took."""
    settings: dict[str, Any] = {"capture": {"audit_share": 0.01}}
    if database:
        settings["database"] = {"url": database}
    workspace = Workspace.create(root, settings=settings)
    started = time.perf_counter()
    workspace.capture(transcripts(count, seed=2))
    captured_s = time.perf_counter() - started
    workspace.digest.catch_up()
    digested_s = time.perf_counter() - started - captured_s
    _correct(workspace, min(count // 100, 5_000))
    return workspace, {
        "capture_rows_per_s": count / captured_s,
        "digest_rows_per_s": count / digested_s,
    }


def _correct(workspace: Workspace, count: int) -> None:
    recent = workspace.inferences.recent(limit=count)
    given = [
        Correction(inference_id=one.id, reference=f"{one.text} please", author="ann")
        for one in recent
    ]
    for start in range(0, len(given), 500):
        workspace.cases.correct(given[start : start + 500])


def asked(workspace: Workspace) -> dict[str, float]:
    """Milliseconds of what is asked again and again."""
    return {
        "trigger_ms": _median_ms(workspace.cycles.check_trigger),
        "status_ms": _median_ms(lambda: status(workspace)),
        "queue_ms": _median_ms(lambda: workspace.review.page(limit=20)),
    }


def _median_ms(call: Callable[[], object]) -> float:
    taken = []
    for _ in range(CALLS):
        started = time.perf_counter()
        call()
        taken.append(1000 * (time.perf_counter() - started))
    return statistics.median(taken)


def years(folder: Path, count: int, database: str) -> dict[str, float]:
    """What questions cost with few rows and with many."""
    small, _ = filled(folder / "small", SMALL, "")
    before = asked(small)
    memory_mb = _peak_mb()
    large, made = filled(folder / "large", count, database)
    filled_mb = _peak_mb()
    after = asked(large)
    return {
        **made,
        "trigger_ms_10k": before["trigger_ms"],
        "trigger_ms_10m": after["trigger_ms"],
        "trigger_growth": after["trigger_ms"] / before["trigger_ms"],
        "status_ms_10m": after["status_ms"],
        "queue_ms_10m": after["queue_ms"],
        "memory_growth_filling_mb": filled_mb - memory_mb,
        "memory_growth_asking_mb": _peak_mb() - filled_mb,
    }


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(folder: Path, count: int, database: str) -> dict[str, Any]:
    """All parts."""
    figures: dict[str, Any] = {"rows": count, "at": datetime.now(UTC).date().isoformat()}
    figures |= bulk(folder, min(BULK, count))
    figures["single_vs_sqlite"] = single(folder, min(SINGLE, count), telemetry=False)
    figures["single_telemetry_vs_sqlite"] = single(folder, min(SINGLE, count), telemetry=True)
    figures["max_wait_plain_s"], _ = together(folder, fair=False)
    figures["max_wait_s"], figures["logged_together"] = together(folder, fair=True)
    return figures | years(folder, count, database)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=LARGE)
    parser.add_argument("--directory", help="Where the files go (default: a temporary directory).")
    parser.add_argument("--database", default="", help="Of the large workspace.")
    asked_for = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=asked_for.directory) as folder:
        figures = measure(Path(folder), asked_for.rows, asked_for.database)
    figures = json.loads(json.dumps(figures), parse_float=lambda number: round(float(number), 4))
    for name, value in figures.items():
        print(f"{name:>28}  {value}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
