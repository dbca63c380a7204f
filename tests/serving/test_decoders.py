"""Files of strangers, in processes that may be killed: nothing here is replaced but Python itself,
by programs that lie, where it must be shown what a decoder that was taken over can do."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from misheard import audio
from misheard.errors import (
    AudioDamagedError,
    AudioTooLongError,
    BadInputError,
    DecoderUnavailableError,
    DecodingTimedOutError,
    NotAudioError,
)
from misheard.serving.decoders import DecoderRules, Decoders
from misheard.settings.serving import ServingSettings
from tests.serving.letters import PATIENCE_S
from tests.serving.malformed import corpus, opus_bomb
from tests.serving.wellformed import wellformed, written_of

SETTINGS = ServingSettings()
RULES = DecoderRules(
    processes=SETTINGS.decoders,
    limits=audio.AudioLimits(max_duration_s=SETTINGS.max_duration_s),
    max_decode_s=SETTINGS.max_decode_s,
)
"""Those that a server has by default."""
FAMILIES = sorted({name.split("/")[0] for name in corpus()})
GOOD = wellformed()["wav-pcm16"]
LONG = opus_bomb("webm", piped=True)
"""It takes seconds to find out that it is too long."""
T = TypeVar("T")


@pytest.fixture(scope="module")
def pool() -> Iterator[Decoders]:
    made = Decoders(rules=replace(RULES, max_decode_s=PATIENCE_S))
    wait_for(lambda: len(made.pids) == RULES.processes)
    yield made
    made.close()


@pytest.fixture
def decoders() -> Iterator[Callable[..., Decoders]]:
    made = []

    def make(**rules: Any) -> Decoders:
        made.append(Decoders(rules=replace(RULES, **rules)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 3 * PATIENCE_S))


async def outcome(work: Awaitable[audio.Audio]) -> Any:
    """What comes of it, and after how many seconds."""
    begun = time.monotonic()
    try:
        result: Any = await work
    except BadInputError as error:
        result = error
    return result, time.monotonic() - begun


async def each_at_its_turn(pool: Decoders, files: dict[str, bytes]) -> dict[str, Any]:
    """Outcomes by name; no file waits for a decoder, so that the times are those of decoding."""
    free = asyncio.Semaphore(RULES.processes)

    async def ask(name: str) -> Any:
        async with free:
            return await outcome(pool.decode(files[name], name=name))

    return dict(zip(files, await asyncio.gather(*map(ask, files)), strict=True))


async def computing(pool: Decoders, data: bytes) -> float:
    """The seconds that decoders compute for a file that is refused."""
    before = sum(map(cpu_ticks, pool.pids))
    await outcome(pool.decode(data))
    return (sum(map(cpu_ticks, pool.pids)) - before) / 100


def figure(pid: int, name: str) -> int:
    """Of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


def is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


def wait_for(true: Callable[[], bool], seconds: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_the_corpus_is_large_and_its_files_differ() -> None:
    assert len(corpus()) >= 400
    assert len(set(corpus().values())) >= 400


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_no_recording_is_refused_in_time_and_hurts_nobody(
    family: str, pool: Decoders
) -> None:
    run(pool.decode(GOOD))
    before = pool.pids
    files = {name: data for name, data in corpus().items() if name.startswith(f"{family}/")}
    outcomes = run(each_at_its_turn(pool, files))
    taken = [name for name, (result, _) in outcomes.items() if isinstance(result, audio.Audio)]
    assert taken == []
    # By the clock others have their part in it, by what its decoder has computed they have not.
    slow = [name for name, (_, spent) in outcomes.items() if spent > RULES.max_decode_s / 2]
    computed = {name: run(computing(pool, files[name])) for name in slow}
    assert {name: spent for name, spent in computed.items() if spent > RULES.max_decode_s / 2} == {}
    # Each was refused for a reason, and not since its decoder died of it.
    died = [n for n, (result, _) in outcomes.items() if isinstance(result, DecodingTimedOutError)]
    assert died == []
    assert pool.pids == before
    for name, (result, _) in outcomes.items():
        assert f"'{name}'" in str(result), "the file is named"
    assert run(pool.decode(GOOD)).duration_s == 1.0


def test_bombs_take_no_more_memory_than_the_longest_recording(
    decoders: Callable[..., Decoders],
) -> None:
    limits = audio.AudioLimits(max_duration_s=600)
    pool = decoders(processes=1, limits=limits, max_decode_s=PATIENCE_S)
    run(pool.decode(wellformed()["webm-opus"]))
    (pid,) = pool.pids
    before = figure(pid, "VmRSS")
    bombs = {name: data for name, data in corpus().items() if name.startswith("bomb/")}
    bombs["long"] = LONG
    run(each_at_its_turn(pool, bombs))
    assert pool.pids == {pid}
    largest = max(map(len, bombs.values())) // 1_000
    assert figure(pid, "VmHWM") - before <= 600 * 64 + 2 * largest + 20_000
    run(pool.decode(GOOD))
    assert figure(pid, "VmRSS") - before <= 30_000


@pytest.mark.parametrize("name", wellformed())
def test_recordings_come_out_as_they_do_in_this_process(name: str, pool: Decoders) -> None:
    data = wellformed()[name]
    here, there = audio.decode(data), run(pool.decode(data, name=name))
    assert np.array_equal(here.samples, there.samples)
    assert there.sha256 == here.sha256
    assert there.duration_s == pytest.approx(1.0, abs=0.1)
    assert not there.samples.flags.writeable


def test_many_callers_wait_for_few_processes(pool: Decoders) -> None:
    async def all_at_once() -> list[audio.Audio]:
        return await asyncio.gather(
            *(pool.decode(data) for data in list(wellformed().values()) * 5)
        )

    clips = run(all_at_once())
    assert [clip.sha256 for clip in clips[: len(wellformed())]] == [
        audio.sha256_of(data) for data in wellformed().values()
    ]
    assert len(pool.pids) == RULES.processes


def test_names_of_any_kind_are_passed_on_cut_short(pool: Decoders) -> None:
    for name in ("", "ü 🎙.wav", "a" * 5_000, "line\nbreak", "\udcff"):
        with pytest.raises(NotAudioError):
            run(pool.decode(b"no audio", name=name))


def test_a_decoder_that_was_killed_while_idle_is_replaced_unseen(
    decoders: Callable[..., Decoders],
) -> None:
    pool = decoders(processes=1)
    run(pool.decode(GOOD))
    (pid,) = pool.pids
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: is_gone(pid))
    assert run(pool.decode(GOOD)).duration_s == 1.0
    assert pool.pids
    assert pid not in pool.pids


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_decoder_that_dies_takes_only_its_file_with_it(
    decoders: Callable[..., Decoders], number: signal.Signals
) -> None:
    pool = decoders(processes=2)

    wait_for(lambda: len(pool.pids) == 2)

    async def kill_one() -> tuple[Any, audio.Audio]:
        before = {pid: cpu_ticks(pid) for pid in pool.pids}
        hit = asyncio.create_task(outcome(pool.decode(LONG, name="long")))
        while not (busy := [pid for pid in before if cpu_ticks(pid) > before[pid] + 5]):
            await asyncio.sleep(0.01)
        os.kill(busy[0], number)
        other = await pool.decode(GOOD)
        return (await hit)[0], other

    refused, other = run(kill_one())
    assert isinstance(refused, DecodingTimedOutError)
    assert "'long'" in str(refused)
    assert other.duration_s == 1.0
    assert run(pool.decode(GOOD)).duration_s == 1.0


def cpu_ticks(pid: int) -> int:
    """Hundredths of a second that it has computed."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


@contextmanager
def in_haste(pool: Decoders) -> Iterator[None]:
    """What is decoded from now on has 2 s; what comes after the block has its time."""
    usual = pool._rules
    pool._rules = replace(usual, max_decode_s=2.0)
    try:
        yield
    finally:
        pool._rules = usual


def test_a_decoder_that_hangs_is_killed_and_replaced(decoders: Callable[..., Decoders]) -> None:
    pool = decoders(processes=1)
    run(pool.decode(GOOD))
    (pid,) = pool.pids
    os.kill(pid, signal.SIGSTOP)
    # Larger than a pipe: it does not even take in the file.
    large = written_of(np.zeros(2_000_000), "WAV")
    begun = time.monotonic()
    with in_haste(pool), pytest.raises(DecodingTimedOutError, match=r"within 2 s"):
        run(pool.decode(large))
    assert time.monotonic() - begun < RULES.max_decode_s
    assert is_gone(pid)
    assert run(pool.decode(GOOD)).duration_s == 1.0


def test_a_file_that_takes_too_long_is_given_up(decoders: Callable[..., Decoders]) -> None:
    pool = decoders(processes=1)
    run(pool.decode(GOOD))
    (pid,) = pool.pids
    with in_haste(pool), pytest.raises(DecodingTimedOutError, match="send it in pieces"):
        run(pool.decode(LONG))
    assert is_gone(pid)
    assert run(pool.decode(GOOD)).duration_s == 1.0


def test_a_file_that_needs_too_much_memory_is_refused(decoders: Callable[..., Decoders]) -> None:
    pool = decoders(processes=1, limits=audio.AudioLimits(max_duration_s=60), memory_mb=10)
    with pytest.raises(DecodingTimedOutError):
        run(pool.decode(written_of(np.zeros((500_000, 6)), "WAV", "DOUBLE")))
    assert run(pool.decode(GOOD)).duration_s == 1.0


def test_limits_are_those_of_the_rules(decoders: Callable[..., Decoders]) -> None:
    pool = decoders(processes=1, limits=audio.AudioLimits(max_duration_s=0.9))
    with pytest.raises(AudioTooLongError, match=r"0\.9 s.*in pieces"):
        run(pool.decode(GOOD))


def test_a_caller_who_goes_away_leaves_the_pool_well(decoders: Callable[..., Decoders]) -> None:
    pool = decoders(processes=1)

    async def go_away() -> audio.Audio:
        await pool.decode(GOOD)
        with in_haste(pool):
            tasks = [asyncio.create_task(pool.decode(LONG)) for _ in range(100)]
            await asyncio.sleep(0.1)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        # Those that waited are gone: only the one that was being decoded comes first. All of them
        # would take at least 200 s.
        return await asyncio.wait_for(pool.decode(GOOD), PATIENCE_S)

    assert run(go_away()).duration_s == 1.0


def test_closing_ends_the_processes_and_what_they_do(decoders: Callable[..., Decoders]) -> None:
    pool = decoders(processes=2)
    wait_for(lambda: len(pool.pids) == 2)

    async def close() -> tuple[list[Any], set[int]]:
        await pool.decode(GOOD)
        tasks = [asyncio.create_task(pool.decode(LONG)) for _ in range(4)]
        await asyncio.sleep(0.1)
        pids = pool.pids
        begun = time.monotonic()
        pool.close()
        assert time.monotonic() - begun < PATIENCE_S
        return await asyncio.gather(*tasks, return_exceptions=True), pids

    results, pids = run(close())
    refusals = (DecoderUnavailableError, asyncio.CancelledError)
    assert all(isinstance(one, refusals) for one in results)
    assert pids
    assert all(map(is_gone, pids))
    pool.close()
    with pytest.raises(DecoderUnavailableError, match="stopping"):
        run(pool.decode(GOOD))


def test_decoders_end_with_their_server() -> None:
    program = """
        import time
        from misheard.audio import AudioLimits
        from misheard.serving.decoders import DecoderRules, Decoders

        limits = AudioLimits(max_duration_s=60)
        pool = Decoders(rules=DecoderRules(processes=2, limits=limits, max_decode_s=5))
        while len(pool.pids) < 2: time.sleep(0.01)
        print(*pool.pids, flush=True)
        time.sleep(60)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as server:
        pids = [int(pid) for pid in (server.stdout or sys.stdin).readline().split()]
        assert len(pids) == 2
        assert not any(map(is_gone, pids))
        server.kill()
    wait_for(lambda: all(map(is_gone, pids)))


def test_a_decoder_holds_nothing_of_its_server(
    decoders: Callable[..., Decoders], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MISHEARD_DATABASE__URL", "postgresql://me:secret@example/db")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with (tmp_path / "open").open("w") as held:
        os.set_inheritable(held.fileno(), True)
        pool = decoders(processes=1)
        run(pool.decode(GOOD))
        (pid,) = pool.pids
        files = {path.readlink() for path in Path(f"/proc/{pid}/fd").iterdir()}
    assert b"secret" not in Path(f"/proc/{pid}/environ").read_bytes()
    assert {str(path).split(":")[0] for path in files} == {"pipe", "/dev/null"}
    assert figure(pid, "NoNewPrivs") == 1
    limits = Path(f"/proc/{pid}/limits").read_text(encoding="ascii").splitlines()
    least = {line[:26].strip(): line[26:].split()[:2] for line in limits}
    for name in ("Max file size", "Max core file size", "Max open files"):
        assert least[name] == ["0", "0"], name
    assert int(least["Max address space"][1]) < 10e9


def test_a_decoder_that_is_shut_in_opens_writes_and_takes_nothing() -> None:
    program = """
        import os, socket
        import numpy as np
        from misheard.serving.decoder import _shut_in

        _shut_in(50_000_000)

        def can(do):
            try: do()
            except (OSError, MemoryError): return False
            return True

        print(
            can(lambda: open("/etc/hostname")),
            can(lambda: socket.create_connection(("127.0.0.1", 9))),
            can(lambda: os.memfd_create("x")),
            can(os.pipe),
            can(lambda: np.ones(20_000_000)),
            can(lambda: np.ones(2_000_000)),
        )
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, check=True, text=True
    )
    assert ended.stdout.split() == ["False"] * 5 + ["True"]


LIES = {
    "an-unknown-kind": "ANSWER.pack(200, 4) + b'oops'",
    "more-than-there-may-be": "ANSWER.pack(0, 1 << 50)",
    "a-long-message": "ANSWER.pack(1, 1_001) + b'a' * 1_001",
    "no-whole-samples": "ANSWER.pack(0, 7) + bytes(7)",
    "samples-that-are-no-numbers": "ANSWER.pack(0, 8) + b'\\xff' * 8",
    "a-pickle": "b'cos\\nsystem\\n(S\"touch opened\"\\ntR.'",
    "half-an-answer": "ANSWER.pack(0, 8_000) + bytes(80)",
    "nothing": "b''",
    "nothing-and-lives-on": "b''); os.close(1); __import__('time').sleep(30",
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_an_answer_that_no_decoder_gives_ends_the_decoder(
    decoders: Callable[..., Decoders], lie: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    liar = tmp_path / "liar"
    liar.write_text(
        f"#!{sys.executable}\n"
        "import os\n"
        "from misheard.serving.decoder import ANSWER, READY\n"
        "os.write(1, READY)\n"
        "os.read(0, 1_000)\n"
        f"os.write(1, {lie})\n",
        encoding="utf-8",
    )
    liar.chmod(0o700)
    monkeypatch.chdir(tmp_path)
    honest = sys.executable
    monkeypatch.setattr(sys, "executable", str(liar))
    pool = decoders(processes=1, max_decode_s=20)
    with pytest.raises(DecodingTimedOutError, match=r"'call\.wav'"):
        run(pool.decode(GOOD[:900], name="call.wav"))
    monkeypatch.setattr(sys, "executable", honest)
    assert run(pool.decode(GOOD)).duration_s == 1.0
    assert not (tmp_path / "opened").exists()


def test_a_decoder_that_cannot_start_is_no_fault_of_the_file(
    decoders: Callable[..., Decoders], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = sys.executable
    monkeypatch.setattr(sys, "executable", "/bin/false")
    pool = decoders(processes=1)
    with pytest.raises(DecoderUnavailableError):
        run(pool.decode(GOOD))
    monkeypatch.setattr(sys, "executable", honest)
    assert run(pool.decode(GOOD)).duration_s == 1.0


def test_a_decoder_is_replaced_after_many_files(
    decoders: Callable[..., Decoders], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("misheard.serving.decoders._FILES_PER_PROCESS", 3)
    pool = decoders(processes=1)
    seen = set()
    for _ in range(2):
        run(pool.decode(GOOD))
        seen |= pool.pids
        run(pool.decode(GOOD))
        with pytest.raises(AudioDamagedError):
            run(pool.decode(GOOD[:5_000]))
    run(pool.decode(GOOD))
    assert len(seen | pool.pids) == 3
