"""A bucket that is 20 ms away: one blob after the other, and eight at a time.

    python -m benchmarks.buckets

500 clips of 64 kB and a model of 75 MB, put into fake-gcs-server and fetched again through a proxy
that waits 20 ms before each request, as a region on the same continent does. The emulator and the
proxy run on the same processors and take their share. The last line is JSON: seconds of each, and
`put_speedup` and `fetch_speedup` of the clips.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.emulators import GcsEmulator, running
from tests.faults import FaultProxy, faults

from misheard.blobs.gcs import GcsBucket
from misheard.blobs.objects import BucketBlobs
from misheard.blobs.transfers import copy_missing, fetch_all, put_all

CLIP_BYTES = 64_000
MODEL_BYTES = 75_000_000


def seconds(do: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    do()
    return round(time.perf_counter() - began, 2)


def written(folder: Path, sizes: list[int]) -> list[Path]:
    """Files of these sizes that nothing can make smaller."""
    generator, paths = random.Random(1), []
    for number, size in enumerate(sizes):
        paths.append(folder / f"{number}")
        paths[-1].write_bytes(generator.randbytes(size))
    return paths


def travelled(
    emulator: GcsEmulator, proxy: FaultProxy, paths: list[Path], threads: int
) -> dict[str, float]:
    """Seconds there and back, into a bucket of its own."""
    store = BucketBlobs(GcsBucket(emulator.new_bucket(), endpoint=proxy.url))
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, float] = {}
        keys: list[str] = []
        found["put_s"] = seconds(lambda: keys.extend(put_all(store, paths, threads=threads)))
        targets = {Path(folder) / f"{number}": key for number, key in enumerate(keys)}
        found["fetch_s"] = seconds(lambda: fetch_all(store, targets, threads=threads))
        found["nothing_missing_s"] = seconds(lambda: copy_missing(store, store, keys))
    return found


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=500)
    parser.add_argument("--latency-ms", type=float, default=20)
    given = parser.parse_args()
    emulator = GcsEmulator()
    with running(emulator), tempfile.TemporaryDirectory() as folder:
        model, *clips = written(Path(folder), [MODEL_BYTES, *[CLIP_BYTES] * given.clips])
        with faults(emulator.url, latency_s=given.latency_ms / 1000) as proxy:
            found = {
                "one": travelled(emulator, proxy, clips, 1),
                "eight": travelled(emulator, proxy, clips, 8),
                "model": travelled(emulator, proxy, [model], 1),
            }
    for name, times in found.items():
        print(name, *(f"{what} {value:.2f}" for what, value in times.items()))
    one, eight = found["one"], found["eight"]
    speedups = {
        f"{what}_speedup": round(one[f"{what}_s"] / eight[f"{what}_s"], 1)
        for what in ("put", "fetch")
    }
    print(json.dumps({**speedups, **found}))


if __name__ == "__main__":
    main()
