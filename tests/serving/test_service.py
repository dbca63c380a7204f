"""From audio to an answer that is captured, whoever makes it and whatever goes wrong."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select

from misheard.audio import decode
from misheard.blobs.directory import DirectoryBlobs
from misheard.blobs.gcs import GcsBucket
from misheard.blobs.objects import BucketBlobs
from misheard.blobs.patience import Patience
from misheard.capture.inferences import Heard, InferenceLog
from misheard.database.engine import open_engine
from misheard.database.schema import shadow_transcripts
from misheard.errors import (
    BadInputError,
    NotAudioError,
    NotReadyError,
    OverloadedError,
    StorageBusyError,
)
from misheard.rollouts.signals import Signal
from misheard.rollouts.states import Arm, Rollout, read_tag
from misheard.serving import recorder as recorder_module
from misheard.serving import service as service_module
from misheard.serving.recorder import Recorder
from misheard.serving.service import Service
from misheard.serving.utterance import Answer, Capture, Utterance
from misheard.speech.transcriber import Transcript
from misheard.workspace import Workspace
from tests.conftest import make_wav
from tests.emulators import GcsEmulator
from tests.faults import Fault, faults
from tests.serving.letters import (
    PATIENCE_S,
    deploy,
    held_up,
    letter_of,
    make,
    make_letters,
    run,
    until,
)
from tests.small_disk import MountsDisk

SESSIONS = [f"call-{number}" for number in range(32)]
"""So many that both versions have some, whatever a rollout is called."""


@pytest.fixture(scope="module")
def letters(bundled: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_letters(tmp_path_factory.mktemp("letters"), bundled)


@pytest.fixture
def workspace(letters: dict[str, Path], tmp_path: Path) -> Workspace:
    return make(tmp_path / "ws", letters)


@asynccontextmanager
async def serving(workspace: Workspace) -> AsyncIterator[Service]:
    service = Service(workspace)
    await service.start()
    try:
        yield service
    finally:
        await service.stop()


def utterance(number: int = 0, **given: Any) -> Utterance:
    """One that differs from others by its number."""
    return Utterance(data=make_wav(seconds=0.3, hertz=200 + number), **given)


@contextmanager
def locked(workspace: Workspace) -> Iterator[None]:
    """Another has the database while the block runs."""
    file = workspace.root / "misheard.db"
    with closing(sqlite3.connect(file, timeout=PATIENCE_S)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.rollback()


async def hear_all(service: Service, some: Sequence[Utterance]) -> list[Answer]:
    return await asyncio.gather(*map(service.hear, some))


def test_what_is_heard_is_answered_and_kept(workspace: Workspace) -> None:
    async def body() -> None:
        async with serving(workspace) as service:
            answer = await service.hear(utterance(name="a.wav", session="s", tags={"line": "1"}))
        assert (answer.transcript.text, answer.version_id) == ("AAAAAAAA", "A")
        assert answer.duration_s == pytest.approx(0.3)
        assert answer.capture is Capture.KEPT
        logged = workspace.inferences.get(answer.inference_id or "")
        assert (logged.text, logged.version_id, logged.source) == ("AAAAAAAA", "A", "a.wav")
        assert (logged.session, logged.tags["line"]) == ("s", "1")
        assert logged.latency_s == answer.transcript.latency_s
        assert logged.compute_s is not None and logged.compute_s < (logged.latency_s or 0.0)

    run(body)


def test_many_at_once_are_kept_in_few_transactions(workspace: Workspace) -> None:
    commits: list[object] = []
    event.listen(workspace._log_engine, "commit", commits.append)

    async def body() -> None:
        async with serving(workspace) as service:
            some = [utterance(number) for number in range(32)]
            size = len(some[0].data) + decode(some[0].data).samples.nbytes
            # However slowly they are heard, they are kept when all of them wait for that.
            with locked(workspace):
                asked = asyncio.create_task(hear_all(service, some))
                await until(lambda: service._recorder._held_bytes == 32 * size)
                commits.clear()
            answers = await asked
            assert len(commits) < 32
        assert len({one.inference_id for one in answers}) == 32

    run(body)
    assert workspace.inferences.count() == 32


def test_one_that_cannot_be_kept_takes_no_other_with_it(workspace: Workspace) -> None:
    async def body() -> None:
        async with serving(workspace) as service:
            good = [utterance(number) for number in range(4)]
            odd = utterance(9)
            object.__setattr__(odd, "session", "x" * 501)  # past the door, where it is refused
            answers = await hear_all(service, [*good, odd])
        kept = [one.capture for one in answers]
        assert kept == [Capture.KEPT] * 4 + [Capture.FAILED]

    run(body)


def test_a_full_disk_keeps_no_answer_from_its_caller(
    letters: dict[str, Path], tmp_path: Path, mount_disk: MountsDisk
) -> None:
    disk = mount_disk(tmp_path / "disk", "40m")
    workspace = make(disk / "ws", letters)

    async def body() -> None:
        async with serving(workspace) as service:
            ballast = disk / "ballast"
            with ballast.open("wb", buffering=0) as file:
                for size in (1 << 20, 1 << 12, 1):
                    with suppress(OSError):
                        while file.write(b"\0" * size):
                            pass
            answer = await service.hear(utterance())
            assert answer.transcript.text == "AAAAAAAA"
            assert (answer.capture, answer.inference_id) == (Capture.FAILED, None)
            assert _value(service, "not_captured_total") == 1
            ballast.unlink()
            assert (await service.hear(utterance())).capture is Capture.KEPT

    run(body)


def test_a_database_that_is_busy_keeps_no_answer_from_its_caller_and_all_is_kept_later(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "_KEPT_WITHIN_S", 0.2)

    async def body() -> None:
        async with serving(workspace) as service:
            with locked(workspace):
                answers = await hear_all(service, [utterance(number) for number in range(3)])
            assert {one.transcript.text for one in answers} == {"AAAAAAAA"}
            assert {one.capture for one in answers} == {Capture.LATE}

    run(body)
    assert workspace.inferences.count() == 3  # a service that stops keeps all that waits


def busy(workspace: Workspace) -> tuple[Recorder, list[Exception]]:
    """A recorder that soon finds the database busy, and what it could not keep."""
    lost: list[Exception] = []
    engine = open_engine(f"sqlite:///{workspace.root / 'misheard.db'}", patience_s=0.1)
    blobs = DirectoryBlobs(workspace.root / "blobs")
    return Recorder(InferenceLog(engine, blobs), lost=lost.append), lost


async def give_up(recorder: Recorder, number: int) -> None:
    """Have something kept, and do not wait for it."""
    data = make_wav(seconds=0.3, hertz=200 + number)
    transcript = Transcript(text="hello", latency_s=0.1, compute_s=0.1)
    heard = Heard(data=data, audio=decode(data), transcript=transcript)
    with suppress(TimeoutError):
        await asyncio.wait_for(recorder.keep("A", heard), 0.1)


def test_however_long_the_database_is_busy_all_is_kept(workspace: Workspace) -> None:
    recorder, lost = busy(workspace)

    async def body() -> None:
        with locked(workspace):
            await asyncio.gather(*[give_up(recorder, number) for number in range(3)])
            await asyncio.sleep(1.0)  # ten times what one attempt takes
        await asyncio.to_thread(recorder.close)

    run(body)
    assert (workspace.inferences.count(), lost) == (3, [])


def test_however_long_the_bucket_is_away_all_is_kept(
    workspace: Workspace, gcs: GcsEmulator
) -> None:
    # It soon gives up who refuses it, and waits for who is slow.
    hasty = Patience(first_s=0.01, deadline_s=0.1, answer_s=PATIENCE_S)
    lost: list[Exception] = []
    with faults(gcs.url) as proxy:
        bucket = GcsBucket(gcs.new_bucket(), endpoint=proxy.url, patience=hasty)
        log = InferenceLog(workspace._engine, BucketBlobs(bucket))
        recorder = Recorder(log, lost=lost.append)

        async def body() -> None:
            away = proxy.add(Fault(status=503, times=10_000))
            await asyncio.gather(*[give_up(recorder, number) for number in range(3)])
            await asyncio.sleep(1.0)  # ten times what one attempt takes
            with proxy.lock:  # which counts it down
                away.times = 0
            await asyncio.to_thread(recorder.close)

        run(body)
        assert (workspace.inferences.count(), lost) == (3, [])
        assert len(list(bucket.listed())) == 3


def test_what_nobody_waits_for_and_cannot_be_kept_is_told(workspace: Workspace) -> None:
    recorder, lost = busy(workspace)

    async def body() -> None:
        with locked(workspace):
            await give_up(recorder, 1)
            await asyncio.to_thread(recorder.close)
            await until(lambda: lost)

    run(body)
    assert [type(error) for error in lost] == [StorageBusyError]


def test_the_same_id_with_another_text_gets_no_id_to_correct_it_by(workspace: Workspace) -> None:
    """Else "this is right" would be put down to the text that was kept."""

    async def body() -> None:
        async with serving(workspace) as service:
            first = await service.hear(utterance(client_id="mine"))
            again = await service.hear(utterance(client_id="mine"))
            await asyncio.to_thread(deploy, workspace, "B")
            await until(lambda: service.engines.state.version_id == "B")
            other = await service.hear(utterance(client_id="mine"))
        assert again.inference_id == first.inference_id is not None
        assert (other.capture, other.inference_id) == (Capture.REPEATED, None)
        assert other.transcript.text == "BBBBBBBB"
        assert _value(service, "not_captured_total") == 0

    run(body)
    assert workspace.inferences.count() == 1


def test_a_field_that_is_left_blank_is_none() -> None:
    blank = utterance(session="", client_id="", speaker="")
    assert (blank.session, blank.client_id, blank.speaker) == (None, None, None)


def test_what_waits_to_be_kept_is_bounded(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "_KEPT_WITHIN_S", 0.2)
    monkeypatch.setattr(recorder_module, "_MOST_BYTES", 50_000)

    async def body() -> None:
        async with serving(workspace) as service:
            with locked(workspace):
                answers = await hear_all(service, [utterance(number) for number in range(3)])
            assert Counter(one.capture for one in answers) == {Capture.LATE: 1, Capture.FAILED: 2}

    run(body)
    assert workspace.inferences.count() == 1


def _value(service: Service, name: str, **labels: str) -> float:
    (family,) = [one for one in service.families() if one.name == f"misheard_server_{name}"]
    (sample,) = [one for one in family.samples if labels.items() <= one.labels.items()]
    return sample.value


def test_requests_are_counted_by_what_became_of_them(workspace: Workspace) -> None:
    async def body() -> None:
        async with serving(workspace) as service:
            outcome = partial(_value, service, "requests_total")
            await service.hear(utterance())
            with pytest.raises(NotAudioError):
                await service.hear(Utterance(data=b"nothing"))
            with pytest.raises(NotReadyError):
                await service.hear(utterance(version_id="C"))
            gone = asyncio.create_task(service.hear(utterance()))
            await asyncio.sleep(0)
            assert _value(service, "in_flight") == 1
            gone.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gone
            counted = [outcome(outcome=one) for one in ("answered", "rejected", "failed")]
            assert counted == [1, 1, 1]
            assert outcome(outcome="abandoned") == 1
            assert _value(service, "in_flight") == 0

    run(body)


def test_there_is_room_for_so_many(letters: dict[str, Path], tmp_path: Path) -> None:
    workspace = make(tmp_path / "ws", letters, serving={"max_waiting": 2})

    async def body() -> None:
        async with serving(workspace) as service:
            asked = [asyncio.create_task(service.hear(utterance(one))) for one in range(3)]
            done = await asyncio.gather(*asked, return_exceptions=True)
            assert [type(one) for one in done] == [Answer, Answer, OverloadedError]
            assert _value(service, "requests_total", outcome="refused") == 1
            assert (await service.hear(utterance())).transcript.text == "AAAAAAAA"

    run(body)


def test_too_much_audio_at_once_is_refused_and_counted_so(
    letters: dict[str, Path], tmp_path: Path
) -> None:
    workspace = make(tmp_path / "ws", letters, serving={"max_waiting_audio_s": 0.4})

    async def body() -> None:
        async with serving(workspace) as service:
            # The one that is taken is not heard before the others have come.
            with held_up(service.engines):
                asked = [asyncio.create_task(service.hear(utterance(one))) for one in range(4)]
                await until(lambda: sum(one.done() for one in asked) == 3)
            done = await asyncio.gather(*asked, return_exceptions=True)
            refused = sum(isinstance(one, OverloadedError) for one in done)
            assert refused == 3
            assert _value(service, "requests_total", outcome="refused") == refused
            assert _value(service, "requests_total", outcome="failed") == 0

    run(body)


@pytest.mark.parametrize(
    "given",
    [{"session": "x" * 501}, {"tags": {"a": "\0"}}, {"tags": {"rollout": "r/1"}}, {"speaker": 7}],
)
def test_what_cannot_be_kept_is_refused_before_it_is_heard(given: dict[str, Any]) -> None:
    with pytest.raises(BadInputError):
        utterance(**given)


async def canary(workspace: Workspace) -> Rollout:
    begin = partial(workspace.begin_canary, "B", actor="ann", reason="test", force=True)
    return await asyncio.to_thread(begin, shares=(0.5,))


def test_a_canary_answers_its_sessions_and_is_counted(workspace: Workspace) -> None:
    async def body() -> None:
        async with serving(workspace) as service:
            rollout = await canary(workspace)
            await until(lambda: service.engines.rollout is not None)
            some = [utterance(number, session=one) for number, one in enumerate(SESSIONS)]
            first, second = await hear_all(service, some), await hear_all(service, some)
        said = [letter_of(one.transcript.text) for one in first]
        assert set(said) == {"A", "B"}
        # Who has it keeps it, and what is logged says who heard it.
        assert [letter_of(one.transcript.text) for one in second] == said
        assert [one.version_id for one in first] == said
        for one in first:
            tags = workspace.inferences.get(one.inference_id or "").tags
            assert read_tag(tags) == (rollout.id, 0)
        sessions = workspace.rollouts.evidence(rollout.id).sessions
        assert sessions == {Arm.CANDIDATE: said.count("B"), Arm.LIVE: said.count("A")}

    run(body)


def test_a_candidate_that_fails_fails_nobody(workspace: Workspace) -> None:
    async def body() -> None:
        async with serving(workspace) as service:
            rollout = await canary(workspace)
            await until(lambda: service.engines.rollout is not None)
            with service.engines.using("B") as broken:
                broken.batcher.close()
            # Too few to be sure of it, which would end the rollout.
            some = [utterance(number, session=one) for number, one in enumerate(SESSIONS[:16])]
            answers = await hear_all(service, some)
        assert {one.transcript.text for one in answers} == {"AAAAAAAA"}
        assert {one.version_id for one in answers} == {"A"}
        evidence = workspace.rollouts.evidence(rollout.id)
        (failed,) = [one for one in evidence.signals if one.signal is Signal.FAILED]
        assert failed.candidate == evidence.sessions[Arm.CANDIDATE] > 0 == failed.live

    run(body)


def test_a_shadow_hears_besides_and_nobody_is_given_that(workspace: Workspace) -> None:
    async def body() -> None:
        async with serving(workspace) as service:
            begin = partial(workspace.begin_shadow, "B", actor="ann", reason="test", share=1.0)
            await asyncio.to_thread(begin)
            await until(lambda: service.engines.rollout is not None)
            some = [utterance(number) for number in range(4)]
            answers = await hear_all(service, some)
            assert {one.version_id for one in answers} == {"A"}
            await until(lambda: len(_shadowed(workspace)) == 4)
        assert _shadowed(workspace) == {one.inference_id: "BBBBBBBB" for one in answers}

    run(body)


def _shadowed(workspace: Workspace) -> dict[str, str]:
    query = select(shadow_transcripts.c.inference_id, shadow_transcripts.c.text)
    with workspace._engine.connect() as connection:
        return {row.inference_id: row.text for row in connection.execute(query)}


def test_who_asks_for_a_version_gets_that_one(workspace: Workspace) -> None:
    async def body() -> None:
        async with serving(workspace) as service:
            await canary(workspace)
            await until(lambda: service.engines.rollout is not None)
            asked = [utterance(n, session=one, version_id="B") for n, one in enumerate(SESSIONS)]
            answers = await hear_all(service, asked)
        assert Counter(one.version_id for one in answers) == {"B": len(SESSIONS)}

    run(body)
