"""Does a server answer with what is live, all the time, and let go of what it no longer needs?"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import update

from misheard.database.engine import now, writing
from misheard.database.schema import stagings
from misheard.errors import (
    BlobNotFoundError,
    GateRefusedError,
    NothingDeployedError,
    NotReadyError,
    StagingFailedError,
)
from misheard.serving.engines import Engines
from misheard.workspace import Workspace
from tests.serving.letters import (
    CLIP,
    PATIENCE_S,
    ask,
    deploy,
    make,
    make_letters,
    run,
    serving,
    until,
)

CLIENTS = 16
MOVES = 100


@pytest.fixture(scope="module")
def letters(bundled: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_letters(tmp_path_factory.mktemp("letters"), bundled)


@pytest.fixture
def workspace(letters: dict[str, Path], tmp_path: Path) -> Workspace:
    return make(tmp_path / "ws", letters)


def take_away(workspace: Workspace, version_id: str) -> Path:
    """Lose the weights of a version; where they are now."""
    key = workspace.registry.get(version_id).files["model.bin"]
    blob = workspace.root / "blobs" / key[:2] / key
    workspace.registry.drop_directory(version_id)
    aside = workspace.root / f"{version_id}.aside"
    blob.rename(aside)
    return aside


def bring_back(workspace: Workspace, version_id: str, aside: Path) -> None:
    key = workspace.registry.get(version_id).files["model.bin"]
    aside.rename(workspace.root / "blobs" / key[:2] / key)


def test_a_server_answers_with_what_is_live_and_says_so(workspace: Workspace) -> None:
    async def body() -> None:
        async with serving(workspace, address="here:1") as engines:
            assert await ask(engines) == ("A", "A")
            (row,) = workspace.fleet.alive("production")
            live = workspace.deployments.live()
            assert (row.address, row.slot, row.version_id) == ("here:1", "production", "A")
            assert row.deployment_number == live.number
            assert "A" in row.loaded
            with engines.using() as held:
                assert (held.version_id, held.deployment_number) == ("A", live.number)
            with pytest.raises(NotReadyError), engines.using("C"):
                pass
        assert workspace.fleet.known() == []
        await engines.stop()
        with pytest.raises(NotReadyError), engines.using():
            pass

    run(body)


def test_where_nothing_is_live_nothing_is_served(workspace: Workspace) -> None:
    async def body() -> None:
        with pytest.raises(NothingDeployedError):
            await Engines(workspace, slot="canary").start()

    run(body)
    assert workspace.fleet.known() == []


def test_a_server_whose_first_model_is_lost_says_what_is_missing(workspace: Workspace) -> None:
    take_away(workspace, "A")

    async def body() -> None:
        with pytest.raises(BlobNotFoundError):
            await Engines(workspace).start()

    run(body)
    assert workspace.fleet.known() == []


def test_a_request_ends_on_the_version_that_it_began_on(
    letters: dict[str, Path], tmp_path: Path
) -> None:
    workspace = make(tmp_path / "ws", letters, serving={"keep_loaded": 1})

    async def body() -> None:
        async with serving(workspace) as engines:
            with engines.using() as held:
                await asyncio.to_thread(deploy, workspace, "B")
                await until(lambda: engines.state.version_id == "B")
                assert await ask(engines) == ("B", "B")
                # Nobody else wants A now, and whoever holds it still can use it.
                await asyncio.sleep(0.1)
                assert engines.state.loaded == ("B",)
                heard = await held.batcher.transcribe(CLIP)
                assert set(heard.text) == {"A"}
                assert await ask(engines, "A") == ("A", "A")
            with pytest.raises(NotReadyError), engines.using("A"):
                pass

    run(body)


def test_what_was_live_before_stays_loaded_and_is_loaded_by_a_new_server(
    workspace: Workspace,
) -> None:
    deploy(workspace, "B")
    deploy(workspace, "C")

    async def body() -> None:
        async with serving(workspace) as engines:
            # The live one, and the one that a rollback goes to.
            await until(lambda: engines.state.loaded == ("B", "C"))
            assert await ask(engines) == ("C", "C")
            workspace.roll_back(actor="ann", reason="test")
            await until(lambda: engines.state.version_id == "B")
            assert await ask(engines) == ("B", "B")
            await until(lambda: engines.state.loaded == ("A", "B"))

    run(body)


def test_a_server_goes_on_with_what_it_has_until_what_is_live_can_be_loaded(
    workspace: Workspace,
) -> None:
    deploy(workspace, "B")
    deploy(workspace, "A")
    deploy(workspace, "C")

    async def body() -> None:
        async with serving(workspace) as engines:
            await until(lambda: engines.state.loaded == ("A", "C"))
            aside = take_away(workspace, "B")
            made = workspace.roll_back(actor="ann", reason="test", to="B")
            await until(lambda: "B" in engines.state.failed)
            assert await ask(engines) == ("C", "C")
            # Beside the event loop, on which the server has yet to tell of it.
            follow = partial(workspace.fleet.follow, "production", "B", made.number)
            followed = await asyncio.to_thread(follow, within_s=PATIENCE_S)
            (behind,) = followed.behind
            assert behind.version_id == "C"
            assert "is missing from the blob store" in behind.failed["B"]
            bring_back(workspace, "B", aside)
            await until(lambda: engines.state.version_id == "B")
            assert await ask(engines) == ("B", "B")
            assert engines.state.failed == {}

    run(body)


def test_nobody_has_a_part_in_what_is_tried_where_the_live_version_does_not_answer(
    workspace: Workspace,
) -> None:
    """Else what the candidate gets wrong would be counted, and the live version's would not."""
    deploy(workspace, "B")
    deploy(workspace, "A")
    deploy(workspace, "C")
    begin = partial(workspace.begin_canary, "A", actor="ann", reason="test", force=True)

    async def body() -> None:
        async with serving(workspace) as engines:
            await until(lambda: engines.state.loaded == ("A", "C"))
            aside = take_away(workspace, "B")
            workspace.roll_back(actor="ann", reason="test", to="B")
            await until(lambda: "B" in engines.state.failed)
            begun = await asyncio.to_thread(begin)
            await until(lambda: knows(engines, begun.id))
            assert await ask(engines) == ("C", "C")
            assert "A" in engines.state.loaded
            assert engines.rollout is None
            bring_back(workspace, "B", aside)
            await until(lambda: engines.rollout == begun)
            assert await ask(engines) == ("B", "B")

    run(body)


def knows(engines: Engines, rollout_id: str) -> bool:
    """Whether it has seen that something is tried."""
    wanted = engines._wanted
    return bool(wanted and wanted.rollout and wanted.rollout.id == rollout_id)


def test_what_was_tried_beside_a_version_that_is_live_no_more_is_over(
    workspace: Workspace,
) -> None:
    """Without a request, and without a worker."""
    begun = workspace.begin_shadow("B", actor="ann", reason="test")

    async def body() -> None:
        async with serving(workspace) as engines:
            await until(lambda: engines.rollout == begun)
            await asyncio.to_thread(deploy, workspace, "C")
            await until(lambda: workspace.rollouts.running() is None)
            assert workspace.rollouts.get(begun.id).state == "superseded"
            await until(lambda: not knows(engines, begun.id))

    run(body)


def test_what_a_server_cannot_load_does_not_go_live_and_can_be_tried_again(
    workspace: Workspace,
) -> None:
    async def body() -> None:
        async with serving(workspace) as engines:
            before = workspace.deployments.history()
            aside = take_away(workspace, "B")
            with pytest.raises(StagingFailedError, match=r"cannot serve B: .* missing"):
                await asyncio.to_thread(deploy, workspace, "B")
            assert workspace.deployments.history() == before
            assert workspace.fleet.staged("production") == []
            assert await ask(engines) == ("A", "A")
            bring_back(workspace, "B", aside)
            # What was said of the first try does not count for the second.
            await asyncio.to_thread(deploy, workspace, "B")
            await until(lambda: engines.state.version_id == "B")

    run(body)


def test_who_writes_for_long_keeps_no_server_from_following(workspace: Workspace) -> None:
    deploy(workspace, "B")

    async def body() -> None:
        async with serving(workspace) as engines:
            await until(lambda: engines.state.loaded == ("A", "B"))
            live = workspace.deployments.deploy("A", actor="ann", reason="test")
            with writing(workspace._engine):
                # It says so when it can, and answers at once.
                await until(lambda: engines.state.deployment_number == live.number)
                assert await ask(engines) == ("A", "A")
                await asyncio.sleep(0.2)
                (row,) = workspace.fleet.known()
                assert row.version_id == "B"
            await until(lambda: workspace.fleet.known()[0].version_id == "A")

    run(body)


def test_what_is_too_slow_does_not_go_live(letters: dict[str, Path], tmp_path: Path) -> None:
    workspace = make(tmp_path / "ws", letters, deployment={"max_latency_s": 1e-6})

    async def body() -> None:
        with pytest.raises(GateRefusedError, match=r"max_latency_s allows 1e-06 s"):
            await Engines(workspace).start()

    run(body)


def test_a_database_that_gives_errors_for_a_while_stops_no_answer(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> None:
        async with serving(workspace) as engines:
            rename(workspace, "stagings", "aside")
            await until(lambda: "this server goes on as it is" in caplog.text)
            assert await ask(engines) == ("A", "A")
            rename(workspace, "aside", "stagings")
            await asyncio.to_thread(deploy, workspace, "B")
            await until(lambda: engines.state.version_id == "B")
            assert await ask(engines) == ("B", "B")
        assert caplog.text.count("this server goes on as it is") == 1

    run(body)


def test_who_cannot_ask_for_long_lets_the_live_version_alone_answer(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere the candidate may have been taken back."""
    monkeypatch.setattr("misheard.serving.engines._UNSURE_AFTER_S", 12.0)
    begun = workspace.begin_canary("B", actor="ann", reason="test", force=True)

    async def body() -> None:
        async with serving(workspace) as engines:
            await until(lambda: engines.rollout == begun)
            rename(workspace, "stagings", "aside")
            await until(lambda: engines._is_cut_off)
            # A look or two may be missed.
            assert engines.rollout == begun
            await until(lambda: engines.rollout is None)
            assert await ask(engines) == ("A", "A")
            rename(workspace, "aside", "stagings")
            await until(lambda: engines.rollout == begun)

    run(body)


def rename(workspace: Workspace, table: str, name: str) -> None:
    """For whoever asks for it by the other name, there is nothing but an error."""
    with writing(workspace._engine) as connection:
        connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {name}")


def test_under_load_no_request_fails_and_each_answer_is_a_whole_models(
    letters: dict[str, Path], tmp_path: Path
) -> None:
    """16 clients, 100 deployments and rollbacks, with two versions and with three."""
    workspace = make(tmp_path / "ws", letters)
    answers: list[tuple[str, str]] = []
    is_over = asyncio.Event()

    async def client(engines: Engines) -> None:
        while not is_over.is_set():
            answers.append(await ask(engines))

    def move(number: int) -> None:
        if number % 2:
            made = workspace.roll_back(actor="ann", reason="test")
            followed = workspace.fleet.follow(
                "production", made.version_id, made.number, within_s=PATIENCE_S
            )
            assert not followed.behind
            return
        deploy(workspace, "BC"[number // 2 % 2])

    async def body() -> None:
        async with serving(workspace) as engines:
            clients = [asyncio.create_task(client(engines)) for _ in range(CLIENTS)]
            for number in range(MOVES):
                await asyncio.to_thread(move, number)
                live = workspace.deployments.live()
                await until(lambda live=live: engines.state.deployment_number == live.number)
                assert (await ask(engines))[0] == live.version_id
            is_over.set()
            await asyncio.gather(*clients)

    run(body)
    assert len(workspace.deployments.history(limit=200)) == MOVES + 2
    assert len(answers) >= MOVES
    assert all(said == version_id for version_id, said in answers)
    assert {version_id for version_id, _ in answers} == {"A", "B", "C"}


FOLLOWER = """
import asyncio, sys
from misheard.serving.engines import Engines
from misheard.workspace import Workspace

async def main():
    engines = Engines(Workspace.open(sys.argv[1]), address="elsewhere")
    await engines.start()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await engines.stop()

asyncio.run(main())
"""


@pytest.fixture
def elsewhere(letters: dict[str, Path], tmp_path: Path) -> Iterator[Workspace]:
    """A workspace that a server in another process follows, as often as by default."""
    workspace = make(tmp_path / "ws", letters, serving={"follow_s": 0.5})
    with subprocess.Popen(
        [sys.executable, "-c", FOLLOWER, str(workspace.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        try:
            yield workspace
        finally:
            server.communicate(timeout=PATIENCE_S)


def test_servers_in_several_processes_follow_within_two_seconds(elsewhere: Workspace) -> None:
    async def body() -> list[float]:
        took = []
        async with serving(elsewhere), serving(elsewhere):
            for version_id in "BABABABA":
                number = await asyncio.to_thread(deploy, elsewhere, version_id)
                started = time.monotonic()
                followed = await asyncio.to_thread(
                    lambda n=number, v=version_id: elsewhere.fleet.follow(
                        "production", v, n, within_s=PATIENCE_S
                    )
                )
                took.append(time.monotonic() - started)
                assert len(followed.answering) == 3
        return took

    took = run(body)
    # Half of them, so that one hiccup of a busy machine does not count.
    assert sorted(took)[len(took) // 2] < 2.0


DEPLOYER = """
import sys
from misheard.workspace import Workspace
Workspace.open(sys.argv[1]).deploy("B", actor="bob", reason="killed", force=True)
"""


def test_a_deployer_that_is_killed_while_it_waits_has_changed_nothing(
    letters: dict[str, Path], tmp_path: Path
) -> None:
    workspace = make(tmp_path / "ws", letters, serving={"follow_s": 1.0})

    async def body() -> None:
        async with serving(workspace) as engines:
            before = workspace.deployments.history()
            with subprocess.Popen(
                [sys.executable, "-c", DEPLOYER, str(workspace.root)]
            ) as deployer:
                await until(lambda: bool(workspace.fleet.staged("production")))
                deployer.kill()
            await until(lambda: "B" in engines.state.loaded)
            assert workspace.deployments.history() == before
            assert await ask(engines) == ("A", "A")
            # Nobody comes for it, and its time runs out.
            with writing(workspace._engine) as connection:
                connection.execute(update(stagings).values(until=now()))
            await until(lambda: "B" not in engines.state.loaded)
            await asyncio.to_thread(deploy, workspace, "C")
            await until(lambda: engines.state.version_id == "C")

    run(body)
