"""What it costs to log, to look after and to ask about millions of transcripts.

    python -m benchmarks.storage                          # 10 million transcripts, about 15 minutes
    python -m benchmarks.storage --rows 300000            # a minute
    python -m benchmarks.storage --database postgresql    # on a server that it starts itself

Four parts, each on databases of its own in a temporary directory (`--directory`):

- **Bulk.** `InferenceLog.capture` of 200,000 transcripts beside the driver's own `executemany`
  (`sqlite3`, psycopg) of the same rows, prepared beforehand, into a table with the same columns and
  indices, with the same settings (SQLite: WAL, synchronous=NORMAL; PostgreSQL: synchronous_commit
  off) and as many rows a transaction. In turn, three times, medians. `bulk_vs_sqlite` is our rows a
  second over theirs.
- **Single.** One transcript a transaction, made durable (synchronous=FULL; synchronous_commit on),
  beside the same rows by `BEGIN IMMEDIATE`, `INSERT`, `COMMIT`. `single_vs_sqlite` is our rows a
  second over theirs, and `single_telemetry_vs_sqlite` the same at synchronous=NORMAL.
- **Together.** Four processes log one transcript after the other for ten seconds. All that they
  were told was logged must be there; `max_wait_s` is the longest that any of them waited for one,
  and `max_wait_plain_s` the longest with the database's own way to wait.
- **Years.** A workspace with `--rows` transcripts over a year and one with 10,000, of both 2 %
  drawn at random and half of these labelled, hardly two of one call: checking the trigger, the
  status page, the next page of the review queue, the metrics, each the median of 50 calls.
  `trigger_growth` is the larger over the smaller; `memory_growth_asking_mb` is how much more memory
  the process has after all calls on the larger one than before them.

The last line is JSON; on PostgreSQL its names end in `_vs_postgresql`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import update

from benchmarks.places import Place, place, plain
from misheard.blobs.directory import DirectoryBlobs
from misheard.capture.captured import Captured, latest_time, row
from misheard.capture.inferences import InferenceLog
from misheard.cases.records import AUDIT_METHOD, Correction
from misheard.cases.review import Stream
from misheard.database.engine import new_ids, now, open_engine, writing
from misheard.database.schema import deployments
from misheard.reports.status import status
from misheard.workspace import Workspace

BULK, SINGLE, ROUNDS, PER_TRANSACTION = 200_000, 2_000, 3, 2_000
WRITERS, TOGETHER_S = 4, 10.0
SMALL, LARGE = 10_000, 10_000_000
CALLS = 50
DRAWN, LABELLED = 0.02, 0.01
"""Shares of the traffic."""
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


def rows_of(items: Sequence[Captured], *, on_sqlite: bool) -> list[tuple[Any, ...]]:
    """The rows that `items` become."""
    latest, made = latest_time(now()), []
    for start in range(0, len(items), PER_TRANSACTION):
        some = items[start : start + PER_TRANSACTION]
        # By portions, as we do: ids sort by the time at which they are made, and an index of many
        # that were made at one moment is filled at random places.
        ids = new_ids("inf", len(some))
        made += [
            row(item, id_, live="v-1", latest=latest, on_sqlite=on_sqlite)
            for item, id_ in zip(some, ids, strict=True)
        ]
    return made if on_sqlite else [_as_psycopg_takes_it(one) for one in made]


def _as_psycopg_takes_it(one: tuple[Any, ...]) -> tuple[Any, ...]:
    from psycopg.types.json import Json  # noqa: PLC0415 - see `places`

    return tuple(Json(value) if isinstance(value, dict) else value for value in one)


def log_into(url: str, folder: Path, *, telemetry: bool = False) -> InferenceLog:
    """Our side."""
    return InferenceLog(open_engine(url, telemetry=telemetry), DirectoryBlobs(folder / "blobs"))


def bulk(where: Place, folder: Path, count: int) -> dict[str, float]:
    """Many rows at once."""
    items = list(transcripts(count))
    ours, theirs = [], []
    for _ in range(ROUNDS):
        log = log_into(where.fresh(), folder, telemetry=True)
        started = time.perf_counter()
        logged = log.capture(items, live="v-1")
        ours.append(time.perf_counter() - started)
        assert logged.new == count

        rows = rows_of(items, on_sqlite=where.name == "sqlite")
        their = plain(where.fresh(), durable=False)
        started = time.perf_counter()
        for start in range(0, count, PER_TRANSACTION):
            their.add(rows[start : start + PER_TRANSACTION])
        theirs.append(time.perf_counter() - started)
        assert their.count() == count
        their.close()
    return {
        f"bulk_vs_{where.name}": statistics.median(theirs) / statistics.median(ours),
        "bulk_rows_per_s": count / statistics.median(ours),
    }


def single(where: Place, folder: Path, count: int, *, telemetry: bool) -> float:
    """One row a transaction: our rows a second over those of the driver."""
    items = list(transcripts(count, seed=1))
    ours, theirs = [], []
    for _ in range(ROUNDS):
        log = log_into(where.fresh(), folder, telemetry=telemetry)
        log.capture(items[:1], live="v-1")
        started = time.perf_counter()
        for item in items[1:]:
            log.capture([item], live="v-1")
        ours.append(time.perf_counter() - started)

        rows = rows_of(items, on_sqlite=where.name == "sqlite")
        their = plain(where.fresh(), durable=not telemetry)
        their.add(rows[:1])
        started = time.perf_counter()
        for one in rows[1:]:
            their.add([one])
        theirs.append(time.perf_counter() - started)
        their.close()
    return statistics.median(theirs) / statistics.median(ours)


def _write(url: str, seed: int, ours: bool, answers: Any) -> None:
    """Log one after the other, and tell what was logged and how long the longest took."""
    add = _adds(url) if ours else _adds_plainly(url)
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
    log = log_into(url, Path("unused"))
    return lambda item: log.capture([item], live="v-1")


def _adds_plainly(url: str) -> Callable[[Captured], object]:
    """With the database's own way to wait."""
    their, on_sqlite = plain(url, durable=True), url.startswith("sqlite")
    return lambda item: their.add(rows_of([item], on_sqlite=on_sqlite))


def together(where: Place, *, ours: bool) -> tuple[float, int]:
    """The longest wait of four processes, and how many rows they logged; none may be missing."""
    url = where.fresh()
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    writers = [
        context.Process(target=_write, args=(url, 10 + n, ours, answers)) for n in range(WRITERS)
    ]
    for one in writers:
        one.start()
    told = [answers.get() for _ in writers]
    for one in writers:
        one.join()
    kept = plain(url, durable=True).count()
    if kept != sum(logged for logged, _ in told):
        raise SystemExit(f"lost rows: {kept} kept of {sum(logged for logged, _ in told)}")
    return max(longest_s for _, longest_s in told), kept


def filled(where: Place, root: Path, count: int) -> tuple[Workspace, dict[str, float]]:
    """A workspace with so many transcripts, of which some were corrected; what that took."""
    settings: dict[str, Any] = {"capture": {"audit_share": DRAWN}}
    if where.name != "sqlite":
        settings["database"] = {"url": where.empty()}
    workspace = Workspace.create(root, settings=settings)
    with writing(workspace._engine) as connection:
        # What is live has heard all of it.
        long_ago = now() - timedelta(days=400)
        connection.execute(update(deployments).values(created_at=long_ago))
    started = time.perf_counter()
    workspace.capture(transcripts(count, seed=2))
    captured_s = time.perf_counter() - started
    workspace.digest.catch_up()
    digested_s = time.perf_counter() - started - captured_s
    _correct(workspace, min(count // 100, 5_000))
    started = time.perf_counter()
    labelled = _label(workspace, round(count * LABELLED))
    labelled_s = time.perf_counter() - started
    return workspace, {
        "labelled": labelled,
        "labels_per_s": labelled / labelled_s,
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


def _label(workspace: Workspace, count: int) -> int:
    """So many of the audit; one in ten was wrong."""
    labelled = 0
    while labelled < count:
        page = workspace.review.page(Stream.AUDIT, limit=min(500, count - labelled))
        if not page.items:
            break
        workspace.cases.correct(
            [
                Correction(
                    inference_id=one.inference_id,
                    reference=one.text if number % 10 else f"{one.text} please",
                    author="bob",
                    method=AUDIT_METHOD,
                )
                for number, one in enumerate(page.items)
            ]
        )
        labelled += len(page.items)
    return labelled


def asked(workspace: Workspace) -> dict[str, float]:
    """Milliseconds of what is asked again and again."""
    return {
        "trigger_ms": _median_ms(workspace.cycles.check_trigger),
        "status_ms": _median_ms(lambda: status(workspace)),
        "queue_ms": _median_ms(lambda: workspace.review.page(limit=20)),
        "metrics_ms": _median_ms(workspace.metrics.text),
    }


def _median_ms(call: Callable[[], object]) -> float:
    taken = []
    for _ in range(CALLS):
        started = time.perf_counter()
        call()
        taken.append(1000 * (time.perf_counter() - started))
    return statistics.median(taken)


def years(where: Place, folder: Path, count: int) -> dict[str, float]:
    """What questions cost with few rows and with many."""
    small, _ = filled(where, folder / "small", SMALL)
    before = asked(small)
    memory_mb = _peak_mb()
    large, made = filled(where, folder / "large", count)
    filled_mb = _peak_mb()
    after = asked(large)
    return {
        **made,
        "trigger_ms_10k": before["trigger_ms"],
        "trigger_ms_10m": after["trigger_ms"],
        "trigger_growth": after["trigger_ms"] / before["trigger_ms"],
        "status_ms_10m": after["status_ms"],
        "queue_ms_10m": after["queue_ms"],
        "metrics_ms_10m": after["metrics_ms"],
        "memory_growth_filling_mb": filled_mb - memory_mb,
        "memory_growth_asking_mb": _peak_mb() - filled_mb,
    }


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(where: Place, folder: Path, count: int) -> dict[str, Any]:
    """All parts."""
    name = where.name
    figures: dict[str, Any] = {"rows": count, "at": datetime.now(UTC).date().isoformat()}
    figures |= bulk(where, folder, min(BULK, count))
    few = min(SINGLE, count)
    figures[f"single_vs_{name}"] = single(where, folder, few, telemetry=False)
    figures[f"single_telemetry_vs_{name}"] = single(where, folder, few, telemetry=True)
    figures["max_wait_plain_s"], _ = together(where, ours=False)
    figures["max_wait_s"], figures["logged_together"] = together(where, ours=True)
    return figures | years(where, folder, count)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=LARGE)
    parser.add_argument("--directory", help="Where the files go (default: a temporary directory).")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    asked_for = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory(dir=asked_for.directory) as folder,
        place(asked_for.database, Path(folder)) as where,
    ):
        figures = measure(where, Path(folder), asked_for.rows)
    figures = json.loads(json.dumps(figures), parse_float=lambda number: round(float(number), 4))
    for name, value in figures.items():
        print(f"{name:>28}  {value}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
