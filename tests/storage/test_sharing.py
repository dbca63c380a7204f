"""Two machines with one database and one bucket."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from misheard import audio
from misheard.blobs.opening import open_bucket
from misheard.datasets.samples import Sample
from misheard.errors import BlobCorruptError, BucketTakenError, StagingFailedError
from misheard.rooms.claiming import MARKER
from misheard.workspace import Workspace
from tests import tiny
from tests.emulators import GcsEmulator
from tests.faults import Fault, FaultProxy, faults
from tests.loopback import until
from tests.postgres import Cluster
from tests.server.site import PATIENCE_S
from tests.server.test_processes import hear, running
from tests.serving.letters import QUICK, ask, deploy, letter_of, make, make_letters, run, serving
from tests.storage.conftest import keys, spoil

CLIPS = 40
TOGETHER = 4
"""Far fewer than may travel at a time."""


@pytest.fixture(scope="module")
def letters(bundled: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_letters(tmp_path_factory.mktemp("letters"), bundled)


@pytest.fixture
def shared(postgres: Cluster, address: str) -> Iterator[dict[str, dict[str, Any]]]:
    url = postgres.new_database(migrated=True)
    text = url.render_as_string(hide_password=False)
    yield {"database": {"url": text}, "storage": {"blobs": address}}
    postgres.drop(url)


@pytest.fixture
def machines(
    shared: dict[str, dict[str, Any]], letters: dict[str, Path], tmp_path: Path
) -> tuple[Workspace, Workspace]:
    """Two workspaces that are one."""
    first = make(tmp_path / "one", letters, **shared)
    settings = {**QUICK, **shared}
    second = Workspace.create(
        tmp_path / "two", model=str(letters["A"]), settings=settings, actor="bob"
    )
    return first, second


def test_what_one_deploys_is_served_by_the_other(machines: tuple[Workspace, Workspace]) -> None:
    first, second = machines
    assert {one.id for one in first.registry.listed()} == {
        one.id for one in second.registry.listed()
    }
    with running(first) as one, running(second) as two, one.http() as http, two.http() as other:
        for it in (http, other):
            until(lambda it=it: it.get("/readyz").status_code == 200, seconds=PATIENCE_S)
        until(lambda: len(first.fleet.alive("production")) == 2, seconds=PATIENCE_S)
        assert letter_of(hear(other).json()["text"]) == "A"
        first.deploy("B", actor="ann", reason="better", force=True)
        # Servers follow within two seconds.
        for it in (http, other):
            until(lambda it=it: letter_of(hear(it).json()["text"]) == "B", seconds=PATIENCE_S)
        second.roll_back(actor="bob", reason="worse")
        until(lambda: letter_of(hear(http).json()["text"]) == "A", seconds=PATIENCE_S)
    # What was heard at either is in one log, its audio where both find it.
    (sound,) = {one.audio_sha256 for one in first.inferences.recent()}
    assert first.recording(sound) == second.recording(sound)
    for workspace in machines:
        assert list((workspace.root / "blobs").glob("??/*")) == []
        assert workspace.integrity.check(deep=True).is_sound


def test_a_version_is_fetched_once_and_sent_once(
    machines: tuple[Workspace, Workspace],
    letters: dict[str, Path],
    gcs: GcsEmulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    second = Workspace.open(machines[1].root)
    size = sum(path.stat().st_size for path in letters["B"].iterdir())
    with faults(gcs.url) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        second.registry.directory("B")
        fetched = proxy.bytes_down()
        assert size <= fetched < size * 1.1 + 20_000
        second.registry.directory("B")
        assert proxy.bytes_down() == fetched
        # What the bucket has is not sent again, but for files so small that asking costs as much.
        second.registry.register(
            letters["B"], name="b", source="test", actor="bob", version_id="B again"
        )
        small = [path.stat().st_size for path in letters["B"].iterdir()]
        assert proxy.bytes_up("POST") < sum(one for one in small if one <= 1 << 20) + 50_000


def test_what_arrives_damaged_is_not_served(
    machines: tuple[Workspace, Workspace], address: str
) -> None:
    first, second = machines
    spoil(address, first.registry.get("C").files["model.bin"])
    with pytest.raises(BlobCorruptError):
        second.registry.directory("C")
    assert not (second.root / "models" / "C").exists()
    assert list((second.root / "models").glob(".fetch-*")) == []

    async def body() -> None:
        async with serving(second) as engines:
            with pytest.raises(StagingFailedError, match="SHA-256"):
                await asyncio.to_thread(deploy, first, "C")
            assert await ask(engines) == ("A", "A")

    run(body)
    assert first.deployments.live().version_id == "A"


def test_what_does_not_arrive_whole_is_not_registered(
    machines: tuple[Workspace, Workspace],
    gcs: GcsEmulator,
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    second = Workspace.open(machines[1].root)
    before, there = len(second.registry.listed()), keys(address)
    source = tmp_path / "new"
    source.mkdir()
    (source / "model.bin").write_bytes(b"weights" * 1_000)
    with faults(gcs.url) as proxy, monkeypatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        proxy.add(Fault(method="POST", path="upload", spoil_request=True, times=50))
        with pytest.raises(BlobCorruptError):
            second.registry.register(source, name="new", source="test", actor="bob")
    assert len(second.registry.listed()) == before
    assert keys(address) == there


def test_recordings_travel_side_by_side(
    tmp_path: Path, gcs: GcsEmulator, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of some is answered before all of these have been asked for."""
    with faults(gcs.url) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        workspace = tiny.make(tmp_path / "ws", storage={"blobs": address})
        with _together(proxy, "POST", "upload"):
            tiny.heard(workspace, CLIPS)
        samples = [
            Sample(data=tiny.make_wav(hertz=400 + n), reference=f"number {n}") for n in range(CLIPS)
        ]
        with _together(proxy, "POST", "upload"):
            made = workspace.evaluation_set("many", samples)
        target = tmp_path / "exported"
        keys_of_samples = "|".join(audio.sha256_of(sample.data) for sample in samples)
        with _together(proxy, "GET", keys_of_samples):
            workspace.datasets.export(made, target)
    for sample in samples:
        assert any(sample.data == path.read_bytes() for path in (target / "audio").iterdir())


@contextmanager
def _together(proxy: FaultProxy, method: str, path: str) -> Iterator[None]:
    """The first few requests of the block wait for each other."""
    barrier = threading.Barrier(TOGETHER, timeout=50)
    fault = proxy.add(Fault(method=method, path=path, times=TOGETHER, call=barrier.wait))
    yield
    assert fault.times == 0
    assert not barrier.broken


def test_another_workspace_is_not_let_into_the_bucket(
    tmp_path: Path, address: str, gcs: GcsEmulator
) -> None:
    """It would delete what the first one needs: both have the same files under the same names."""
    first = tiny.make(tmp_path / "one", storage={"blobs": address})
    with pytest.raises(BucketTakenError, match=f"{address}/NAME"):
        tiny.make(tmp_path / "two", storage={"blobs": address})
    tiny.make(tmp_path / "three", storage={"blobs": f"{address}/three"})
    # The first one made anew, without what it knew of its bucket: by a word of its owner.
    assert Workspace.open(first.root).integrity.check(deep=True).is_sound
    open_bucket(address).delete(MARKER)
    again = Workspace.open(first.root)
    assert again.integrity.check(deep=True).is_sound
    again._blobs.put_bytes(b"it is its own again")
    with pytest.raises(BucketTakenError):
        tiny.make(tmp_path / "four", storage={"blobs": address})
