"""Rollouts as a server plays them: who answers, who hears besides, and what becomes of it."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from misheard.cases.records import Correction
from misheard.database.schema import shadow_transcripts
from misheard.errors import BadInputError, EngineClosedError, OverloadedError
from misheard.rollouts.signals import Signal
from misheard.rollouts.states import Arm, Rollout
from misheard.serving.batching import Batcher, BatchingRules
from misheard.serving.service import Answer, Service
from misheard.serving.utterance import Utterance
from misheard.speech.context import Context, ModelCard
from misheard.speech.transcriber import FunctionTranscriber
from misheard.workspace import Workspace
from tests.conftest import write_wav
from tests.serving.letters import PATIENCE_S, deploy, make, make_letters, run, until
from tests.tiny_whisper import tiny_whisper

SILENT = "silent"
QUICK = {"step_sessions": 3, "step_minutes": 0.0, "signals": ["empty", "failed"]}


@pytest.fixture(scope="module")
def letters(bundled: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A, B and C say a letter; the silent one says spaces."""
    folder = tmp_path_factory.mktemp("letters")
    made = make_letters(folder, bundled)
    made[SILENT] = tiny_whisper(folder / SILENT, bundled, layers=1, says=" ")
    context = Context(margin_s=0.5, round_to=32)
    ModelCard(base="", dataset_id="", recipe_id="", context=context).write(made[SILENT])
    return made


@pytest.fixture
def workspace(letters: dict[str, Path], tmp_path: Path) -> Workspace:
    return make(tmp_path / "ws", letters, rollouts=QUICK)


@asynccontextmanager
async def serving(workspace: Workspace) -> AsyncIterator[Service]:
    service = Service(workspace)
    await service.start()
    try:
        yield service
    finally:
        await service.stop()


def voice() -> bytes:
    """A pitch with its overtones for half a second."""
    times = np.arange(8_000) / 16_000
    return write_wav(0.1 * sum(np.sin(2 * np.pi * 120 * n * times) / n for n in range(1, 6)))


async def hear(service: Service, session: str | None = None) -> Answer:
    return await service.hear(Utterance(data=voice(), session=session))


async def trying(service: Service, version_id: str) -> None:
    """Wait until this server gives it its share."""
    await until(lambda: getattr(service.engines.rollout, "version_id", "") == version_id)


def counted(workspace: Workspace, rollout: Rollout) -> Counter[Any]:
    evidence = workspace.rollouts.evidence(rollout.id)
    return Counter({arm: count for arm, count in evidence.requests.items() if count})


def test_a_canary_answers_its_sessions_and_goes_live_when_it_is_as_good(
    workspace: Workspace,
) -> None:
    async def body() -> None:
        rollout = workspace.begin_canary("B", actor="ann", reason="r", shares=(0.5,), force=True)
        async with serving(workspace) as service:
            await trying(service, "B")
            said: dict[str, str] = {}
            for number in range(160):
                # Each twice, of so many that some are the candidate's.
                session = f"call {number // 2 % 40}"
                answer = await hear(service, session)
                if workspace.rollouts.running() is None:
                    break
                said[session] = said.get(session, "") + answer.version_id
            # Whichever had a session kept it.
            assert {frozenset(who) for who in said.values()} <= {frozenset("A"), frozenset("B")}
            await until(lambda: workspace.rollouts.running() is None)
        done = workspace.rollouts.get(rollout.id)
        assert (done.state, workspace.deployments.live().version_id) == ("promoted", "B")
        assert workspace.deployments.live().actor == "server"

    run(body)


def test_a_canary_that_says_nothing_is_taken_back_by_the_server_itself(
    workspace: Workspace,
) -> None:
    async def body() -> None:
        rollout = workspace.begin_canary(
            SILENT, actor="ann", reason="r", shares=(0.2, 0.5), force=True
        )
        async with serving(workspace) as service:
            await trying(service, SILENT)
            for number in range(200):
                await hear(service, f"call {number}")
                if workspace.rollouts.running() is None:
                    break
            await until(lambda: workspace.rollouts.running() is None)
            await until(lambda: service.engines.rollout is None)
            assert (await hear(service, "call 0")).version_id == "A"
        done = workspace.rollouts.get(rollout.id)
        assert done.state == "rolled_back"
        assert done.detail.startswith("surely worse: empty in ")
        assert workspace.deployments.live().version_id == "A"

    run(body)


def test_nobody_has_a_part_in_it_until_the_candidate_is_loaded(workspace: Workspace) -> None:
    """Else all that goes wrong meanwhile would be the live version's."""

    async def body() -> None:
        key = workspace.registry.get("B").files["model.bin"]
        workspace.registry.drop_directory("B")
        blob = workspace.root / "blobs" / key[:2] / key
        blob.rename(workspace.root / "aside")
        rollout = workspace.begin_canary("B", actor="ann", reason="r", shares=(0.9,), force=True)
        async with serving(workspace) as service:
            await until(lambda: "B" in service.engines.state.failed)
            for number in range(5):
                answer = await hear(service, f"call {number}")
                assert answer.version_id == "A"
        assert counted(workspace, rollout) == Counter()

    run(body)


def test_a_shadow_hears_besides_and_nobody_is_given_what_it_heard(workspace: Workspace) -> None:
    async def body() -> None:
        rollout = workspace.begin_shadow("B", actor="ann", reason="r", share=1.0)
        async with serving(workspace) as service:
            await trying(service, "B")
            answers = await asyncio.gather(*(hear(service, f"call {n}") for n in range(4)))
            assert {answer.version_id for answer in answers} == {"A"}
            await until(lambda: counted(workspace, rollout)[Arm.CANDIDATE] == 4)
        with workspace._engine.connect() as connection:
            rows = connection.execute(select(shadow_transcripts)).all()
        assert {row.inference_id for row in rows} == {one.inference_id for one in answers}
        assert {row.text for row in rows} == {"BBBBBBBB"}
        assert {(row.words, row.differences) for row in rows} == {(1, 1)}

    run(body)


def test_what_is_corrected_counts_for_who_heard_it(workspace: Workspace) -> None:
    async def body() -> None:
        workspace_of_it = workspace.configured(
            {"rollouts": {"step_sessions": 1_000, "signals": ["corrected"]}}
        )
        rollout = workspace_of_it.begin_canary(
            "B", actor="ann", reason="r", shares=(0.5,), force=True
        )
        async with serving(workspace_of_it) as service:
            await trying(service, "B")
            answers = [await hear(service, f"call {n}") for n in range(10)]
        workspace_of_it.cases.correct(
            [
                Correction(inference_id=str(one.inference_id), reference="hello", author="carl")
                for one in answers
            ]
        )
        assert workspace_of_it.rollouts.note_corrections() == 10
        (corrected,) = workspace_of_it.rollouts.evidence(rollout.id).signals
        told = Counter(one.version_id for one in answers)
        assert corrected.signal is Signal.CORRECTED
        assert (corrected.candidate, corrected.live) == (told["B"], told["A"])

    run(body)


def play(service: Service, version_id: str, function: Callable[[Any], Any]) -> None:
    """Let a function answer where a version would."""
    engine = FunctionTranscriber(function, name=version_id)
    service.engines._loaded.add(version_id, Batcher(engine, rules=BatchingRules()))


def wrong(workspace: Workspace, rollout: Rollout, signal: Signal) -> tuple[int, int]:
    """Sessions of the candidate and of the live version that went wrong so."""
    each = workspace.rollouts.evidence(rollout.id).signals
    (found,) = [one for one in each if one.signal is signal]
    return found.candidate, found.live


def test_what_only_the_candidate_refuses_is_answered_and_counts_as_its_failure(
    letters: dict[str, Path], tmp_path: Path
) -> None:
    """A language that it does not know, or an answer that is none: no mistakes of a caller's."""

    workspace = make(tmp_path / "ws", letters, rollouts=QUICK | {"step_sessions": 100})

    async def body() -> None:
        rollout = workspace.begin_canary("B", actor="ann", reason="r", shares=(0.9,), force=True)
        async with serving(workspace) as service:
            await trying(service, "B")
            play(service, "B", lambda _: 5)
            answers = [await hear(service, f"call {n}") for n in range(12)]
            assert {one.version_id for one in answers} == {"A"}
            await until(lambda: sum(counted(workspace, rollout).values()) == 12)
            assert wrong(workspace, rollout, Signal.FAILED)[0] > 0
            # What both of them refuse says nothing of either.
            before = counted(workspace, rollout)
            play(service, "A", lambda _: 5)
            for number in range(4):
                with pytest.raises(BadInputError):
                    await hear(service, f"other {number}")
        assert counted(workspace, rollout) - before == Counter()

    run(body)


def test_what_only_the_live_version_refuses_counts_as_its_failure(
    letters: dict[str, Path], tmp_path: Path
) -> None:
    """As it would count as the candidate's; its caller is told all the same."""
    workspace = make(tmp_path / "ws", letters, rollouts=QUICK | {"step_sessions": 100})

    async def body() -> None:
        rollout = workspace.begin_canary("B", actor="ann", reason="r", shares=(0.5,), force=True)
        async with serving(workspace) as service:
            await trying(service, "B")
            play(service, "A", lambda _: 5)
            for number in range(40):
                with suppress(BadInputError):
                    await hear(service, f"call {number}")
            await until(lambda: wrong(workspace, rollout, Signal.FAILED)[1] > 0)
        assert wrong(workspace, rollout, Signal.FAILED)[0] == 0

    run(body)


def test_what_fails_and_is_then_refused_counts_once(
    letters: dict[str, Path], tmp_path: Path
) -> None:
    """The candidate fails, and the live version that is to answer instead has too much to do."""
    rules = QUICK | {"signals": ["empty"], "step_sessions": 100}
    workspace = make(tmp_path / "ws", letters, rollouts=rules)

    async def body() -> None:
        rollout = workspace.begin_canary("B", actor="ann", reason="r", shares=(0.9,), force=True)
        async with serving(workspace) as service:
            await trying(service, "B")
            with service.engines.using("B") as broken:
                broken.batcher.close()
            full = BatchingRules(max_waiting=0)
            engine = FunctionTranscriber(lambda _: "", name="A")
            service.engines._loaded.add("A", Batcher(engine, rules=full))
            for number in range(8):
                with pytest.raises(OverloadedError):
                    await hear(service, f"call {number}")
        told = counted(workspace, rollout)
        assert told.total() == 8 and told[Arm.CANDIDATE] > 0

    run(body)


def test_who_waits_no_longer_counts_against_whoever_kept_them_waiting(
    letters: dict[str, Path], tmp_path: Path
) -> None:
    """Else a candidate that never answers would never be found out."""
    # Only who is not answered at all counts as slow.
    rules = QUICK | {"signals": ["slow"], "step_sessions": 100, "slow_s": 600.0}
    workspace = make(tmp_path / "ws", letters, rollouts=rules)
    answer = threading.Event()

    async def body() -> None:
        rollout = workspace.begin_canary("B", actor="ann", reason="r", shares=(0.5,), force=True)
        async with serving(workspace) as service:
            await trying(service, "B")
            play(service, "B", lambda _: "late" if answer.wait(PATIENCE_S) else "")
            with service.engines.using("B") as candidate:
                batcher = candidate.batcher
            for number in range(100):
                asked = asyncio.create_task(hear(service, f"call {number}"))
                # Who waits for the candidate would wait for ever.
                await until(lambda asked=asked: asked.done() or batcher.held)
                asked.cancel()
                await asyncio.gather(asked, return_exceptions=True)
                if workspace.rollouts.running() is None:
                    break
            await until(lambda: workspace.rollouts.running() is None)
            answer.set()
        done = workspace.rollouts.get(rollout.id)
        assert (done.state, done.detail[:20]) == ("rolled_back", "surely worse: slow i")

    run(body)


def test_a_shadow_hears_what_the_live_version_fails_at(workspace: Workspace) -> None:
    """Else only its own failures would count."""

    async def body() -> None:
        rollout = workspace.begin_shadow("B", actor="ann", reason="r", share=1.0)
        async with serving(workspace) as service:
            await trying(service, "B")
            with service.engines.using("A") as broken:
                broken.batcher.close()
            with pytest.raises(EngineClosedError):
                await hear(service, "call")
            await until(lambda: wrong(workspace, rollout, Signal.FAILED) == (0, 1))

    run(body)


def test_a_request_for_a_version_by_name_has_no_part_in_it(workspace: Workspace) -> None:
    async def body() -> None:
        rollout = workspace.begin_canary("B", actor="ann", reason="r", shares=(0.5,), force=True)
        async with serving(workspace) as service:
            await trying(service, "B")
            for _ in range(5):
                asked = Utterance(data=voice(), version_id="B", session="call")
                assert (await service.hear(asked)).version_id == "B"
        assert counted(workspace, rollout) == Counter()

    run(body)


def test_where_no_backup_can_be_made_the_canary_goes_on_and_the_log_says_why(
    letters: dict[str, Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # It is not tried once more before this is over.
    monkeypatch.setattr("misheard.rollouts.rollouts._TRIED_AGAIN_S", 600.0)
    deployment = {"auto_backup_before_deploy": True}
    workspace = make(tmp_path / "ws", letters, rollouts=QUICK, deployment=deployment)
    made = workspace.root / "backups"
    if made.exists():
        made.rename(workspace.root / "aside")
    made.write_text("no directory", encoding="utf-8")

    async def body() -> None:
        rollout = workspace.begin_canary("B", actor="ann", reason="r", shares=(0.5,), force=True)
        async with serving(workspace) as service:
            await trying(service, "B")
            for number in range(30):
                await hear(service, f"call {number}")
            await until(lambda: sum(counted(workspace, rollout).values()) == 30)
        assert workspace.rollouts.running() == rollout

    run(body)
    told = [one.getMessage() for one in caplog.records if one.name == "misheard.serving"]
    (failed,) = [one for one in told if "rollout" in one or "tried" in one]
    assert "A canary was to go live and could not" in failed
    assert "The backup could not be made" in failed


def test_what_is_live_may_change_under_it(workspace: Workspace) -> None:
    async def body() -> None:
        rollout = workspace.begin_canary("B", actor="ann", reason="r", shares=(0.5,), force=True)
        async with serving(workspace) as service:
            await trying(service, "B")
            await asyncio.to_thread(deploy, workspace, "C")
            for number in range(200):
                await hear(service, f"call {number}")
                if workspace.rollouts.running() is None:
                    break
            await until(lambda: workspace.rollouts.running() is None)
        assert workspace.rollouts.get(rollout.id).state == "superseded"
        assert workspace.deployments.live().version_id == "C"

    run(body)
