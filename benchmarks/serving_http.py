"""What HTTP costs: the service asked in this process, and over HTTP in another.

    python -m benchmarks.serving_http --model DIR   # a fine-tune; without it the bundled model

Sixteen clients each send a clip as soon as their last one is answered: real telephone speech, drawn
at random, the same clips in both arms of a round. Both decode each file in a process that may be
killed, hear it in batches, and capture it with its audio before they answer; the arms take turns,
after one round that does not count; medians.

- Service: `Service.hear`, by tasks of one event loop.
- HTTP: `misheard serve` in a process of its own, asked by clients in this one that do no more than
  write and read the bytes of a request. They share its processor, and are counted against it.

The last line is JSON: `http_overhead` (the share of the requests a second that HTTP takes),
`http_cpu_overhead` (of the processor's time for a request, without the clients'), `requests_s` and
`p95_ms` (over HTTP), `arms`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
from threadpoolctl import threadpool_limits

from benchmarks.phone import err, prompts_of
from benchmarks.serving import Ask, Load, drive
from misheard.datasets.split import Split
from misheard.demo.phone_prompts import read_samples
from misheard.serving.service import Service
from misheard.serving.utterance import Utterance
from misheard.speech.sources import DEFAULT_MODEL
from misheard.workspace import Workspace

CLIENTS, REQUESTS, ROUNDS = 16, 416, 3
_FIGURES = ("requests_s", "p50_ms", "p95_ms", "cpu_ms")
_BOUNDARY = "misheard-benchmark"


@asynccontextmanager
async def _connections(address: str, count: int) -> AsyncIterator[asyncio.Queue[Any]]:
    host, port = address.removeprefix("http://").split(":")
    free: asyncio.Queue[Any] = asyncio.Queue()
    for _ in range(count):
        free.put_nowait(await asyncio.open_connection(host, int(port)))
    yield free
    while not free.empty():
        free.get_nowait()[1].close()


def over_http(free: asyncio.Queue[Any], files: Sequence[bytes]) -> Ask:
    """Ask the server, each on a connection of its own."""

    async def ask(number: int) -> str:
        reader, writer = await free.get()
        writer.write(_request(files[number]))
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        size = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        body = json.loads(await reader.readexactly(size))
        free.put_nowait((reader, writer))
        return str(body["text"])

    return ask


def _request(data: bytes) -> bytes:
    form = (
        f"--{_BOUNDARY}\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n"
        f"--{_BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.gsm\"\r\n"
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()  # fmt: skip
    body = form + data + f"\r\n--{_BOUNDARY}--\r\n".encode()
    head = (
        "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: multipart/form-data; boundary={_BOUNDARY}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def within(service: Service, files: Sequence[bytes]) -> Ask:
    """Ask the service in this process."""

    async def ask(number: int) -> str:
        answer = await service.hear(Utterance(data=files[number], name="a.gsm"))
        return answer.transcript.text

    return ask


@contextmanager
def _server(workspace: Workspace) -> Iterator[tuple[str, psutil.Process]]:
    command = [sys.executable, "-c", "from misheard.cli import main; main()"]
    command += ["-w", str(workspace.root), "serve", "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"], psutil.Process(process.pid)
        process.terminate()


def _cpu_s(process: psutil.Process) -> float:
    """Of a process and those that it has started."""
    family = [process, *process.children(recursive=True)]
    return float(sum(sum(one.cpu_times()[:2]) for one in family))


def measure(workspace: Workspace, *, clients: int, requests: int, rounds: int) -> dict[str, Any]:
    """Both arms in turn; see above."""
    files = [sample.data for sample in read_samples(prompts_of(Split.TEST))]
    here = psutil.Process()
    found: dict[str, list[Load]] = {"service": [], "HTTP": []}

    async def turn_within(numbers: Sequence[int]) -> Load:
        service = Service(workspace)
        await service.start()
        started_cpu = _cpu_s(here)
        load = await drive(within(service, files), numbers, clients)
        spent_s = _cpu_s(here) - started_cpu
        await service.stop()
        return replace(load, cpu_ms=1_000 * spent_s / len(numbers))

    async def turn_over_http(numbers: Sequence[int]) -> Load:
        with _server(workspace) as (url, process):
            async with _connections(url, clients) as free:
                started_cpu = _cpu_s(process)
                load = await drive(over_http(free, files), numbers, clients)
                spent_s = _cpu_s(process) - started_cpu
        return replace(load, cpu_ms=1_000 * spent_s / len(numbers))

    for number in range(rounds + 1):
        numbers = random.Random(number).choices(range(len(files)), k=requests)
        loads = {
            "service": asyncio.run(turn_within(numbers)),
            "HTTP": asyncio.run(turn_over_http(numbers)),
        }
        for name, load in loads.items():
            shown = ", ".join(f"{figure} {getattr(load, figure):.1f}" for figure in _FIGURES)
            err.print(f"  round {number} of {rounds}: {name}: {shown}", soft_wrap=True)
            if number:
                found[name].append(load)
    arms = {
        name: {
            figure: round(statistics.median(getattr(load, figure) for load in loads), 1)
            for figure in _FIGURES
        }
        for name, loads in found.items()
    }
    ours, without = arms["HTTP"], arms["service"]
    return {
        "http_overhead": round(1 - ours["requests_s"] / without["requests_s"], 3),
        "http_cpu_overhead": round(1 - without["cpu_ms"] / ours["cpu_ms"], 3),
        "requests_s": ours["requests_s"],
        "p95_ms": ours["p95_ms"],
        "arms": arms,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a directory; else the bundled one")
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--requests", type=int, default=REQUESTS, help="in each arm of a round")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    # As the command line has it.
    with threadpool_limits(1, user_api="blas"), tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.create(Path(folder) / "ws", model=given.model, actor="benchmark")
        figures = measure(
            workspace, clients=given.clients, requests=given.requests, rounds=given.rounds
        )
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
