from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, insert, select, update

from misheard import audio
from misheard.blobs.deferred import DeferredBlobs
from misheard.blobs.directory import DirectoryBlobs
from misheard.capture.inferences import Heard, InferenceLog
from misheard.database.audit import AuditLog
from misheard.database.engine import now, writing
from misheard.database.schema import cycles, jobs, validations
from misheard.datasets.datasets import Datasets, Purpose
from misheard.datasets.manifest import Row
from misheard.datasets.split import Split
from misheard.deployment import Deployments
from misheard.errors import BadInputError, BlobCorruptError, NoEarlierVersionError
from misheard.registry import ModelVersion, Registry
from misheard.retention import Pruned, Retention
from misheard.speech.transcriber import Transcript

ON_BOTH_DATABASES = True
Register = Callable[..., ModelVersion]


@pytest.fixture
def live(engine: Engine) -> Deployments:
    return Deployments(engine)


@pytest.fixture
def retention(engine: Engine, blobs: DirectoryBlobs, registry: Registry) -> Retention:
    return Retention(engine, blobs, registry, final_cycle_states=("deployed", "failed"))


@pytest.fixture
def deployed(register: Register, live: Deployments, registry: Registry) -> list[str]:
    """Six versions, each live in its turn and each with its directory; the last one is live."""
    ids = [register(content).id for content in "abcdef"]
    for version_id in ids:
        live.deploy(version_id, actor="ann", reason="test")
        registry.directory(version_id)
    return ids


def prune(retention: Retention, keep: int) -> list[str]:
    return list(retention.prune(keep=keep, actor="ann").versions)


def directories(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "models").iterdir()}


def test_the_files_of_old_versions_go_and_their_rows_stay(
    retention: Retention,
    deployed: list[str],
    registry: Registry,
    blobs: DirectoryBlobs,
    engine: Engine,
    tmp_path: Path,
) -> None:
    done = retention.prune(keep=2, actor="ann")
    assert done == Pruned(versions=tuple(sorted(deployed[:3])), files=3)
    kept = [one for one in registry.listed() if one.pruned_at is None]
    assert {one.id for one in kept} == set(deployed[3:]) == directories(tmp_path)
    assert set(blobs) == {key for one in kept for key in one.files.values()}
    assert len(registry.listed()) == 6
    entries = AuditLog(engine).entries(subject=deployed[0])
    assert [entry.action for entry in entries] == ["delete", "prune", "register"]
    assert entries[0].evidence == {"sha256": list(registry.get(deployed[0]).files.values())}
    assert (entries[1].actor, entries[1].reason) == ("ann", "keeps 2 previous versions")


def test_pruning_again_does_nothing(retention: Retention, deployed: list[str]) -> None:
    retention.prune(keep=2, actor="ann")
    assert retention.prune(keep=2, actor="ann") == Pruned(versions=(), files=0)


@pytest.mark.parametrize("keep", [0, 1])
def test_the_live_version_and_the_one_before_it_always_stay(
    retention: Retention, deployed: list[str], live: Deployments, keep: int
) -> None:
    assert prune(retention, keep) == sorted(deployed[:4])
    live.roll_back(actor="ann", reason="worse")
    assert live.live().version_id == deployed[4]


def test_a_negative_number_is_refused(retention: Retention, deployed: list[str]) -> None:
    with pytest.raises(BadInputError):
        retention.prune(keep=-1, actor="ann")


def test_the_aim_of_the_next_rollback_stays(
    retention: Retention, deployed: list[str], live: Deployments
) -> None:
    for _ in range(2):
        live.roll_back(actor="ann", reason="worse")
    # Now the fourth is live, the fifth was before it, and the third comes next.
    assert prune(retention, 0) == sorted({*deployed[:2], deployed[5]})
    live.roll_back(actor="ann", reason="worse")
    assert live.live().version_id == deployed[2]


def test_each_slot_keeps_its_own(
    retention: Retention, deployed: list[str], live: Deployments
) -> None:
    # The fifth was live in both; in production it counts as the one before, all the same.
    for version_id in (deployed[0], deployed[4]):
        live.deploy(version_id, actor="ann", reason="try it", slot="canary")
    assert prune(retention, 0) == sorted(deployed[1:4])


def test_what_was_never_live_stays(
    retention: Retention, deployed: list[str], register: Register, registry: Registry
) -> None:
    candidate = register("candidate", parent_id=deployed[0])
    prune(retention, 0)
    registry.verify(candidate.id)
    assert registry.directory(candidate.id).is_dir()


def test_the_base_of_a_running_job_stays_until_the_job_has_ended(
    retention: Retention, deployed: list[str], engine: Engine, datasets: Datasets
) -> None:
    dataset = add_dataset(datasets, "0" * 64)
    row = {
        "id": "job-1",
        "created_at": now(),
        "state": "running",
        "backend": "local",
        "base_version_id": deployed[0],
        "dataset_id": dataset,
        "recipe": {},
    }
    with writing(engine) as connection:
        connection.execute(insert(jobs).values(**row))
    assert prune(retention, 0) == sorted(deployed[1:4])
    with writing(engine) as connection:
        connection.execute(update(jobs).values(state="failed", ended_at=now()))
    assert prune(retention, 0) == [deployed[0]]


def test_baseline_and_candidate_of_a_cycle_stay_until_it_has_ended(
    retention: Retention, deployed: list[str], engine: Engine
) -> None:
    row = {
        "id": "cycle-1",
        "created_at": now(),
        "state": "training",
        "actor": "ann",
        "baseline_id": deployed[0],
        "version_id": deployed[1],
        "decision": {},
        "detail": "",
        "fence": 0,
    }
    with writing(engine) as connection:
        connection.execute(insert(cycles).values(**row))
    assert prune(retention, 0) == sorted(deployed[2:4])
    with writing(engine) as connection:
        connection.execute(update(cycles).values(state="failed"))
    assert prune(retention, 0) == sorted(deployed[:2])


def test_the_directory_that_a_user_registered_stays_as_it_was(
    retention: Retention, deployed: list[str], tmp_path: Path
) -> None:
    def snapshot() -> dict[str, bytes]:
        found = (path for path in (tmp_path / "sources").rglob("*") if path.is_file())
        return {str(path): path.read_bytes() for path in found}

    before = snapshot()
    assert len(before) == 6
    prune(retention, 0)
    assert snapshot() == before


def test_a_directory_that_is_a_link_loses_the_link_alone(
    retention: Retention, deployed: list[str], registry: Registry, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    registry.directory(deployed[0]).rename(elsewhere)
    (tmp_path / "models" / deployed[0]).symlink_to(elsewhere)
    prune(retention, 0)
    assert (elsewhere / "model.bin").read_text() == "a"
    assert directories(tmp_path) == set(deployed[4:])


def add_dataset(datasets: Datasets, audio_sha256: str) -> str:
    row = Row(
        audio_sha256=audio_sha256,
        reference="hello",
        split=Split.TEST,
        kind="evaluation",
        speaker_group="g",
        duration_s=1.0,
    )
    return datasets.add("set", Purpose.EVALUATION, [row]).id


def test_a_file_that_anything_else_refers_to_stays(
    registry: Registry,
    live: Deployments,
    retention: Retention,
    register: Register,
    datasets: Datasets,
    blobs: DirectoryBlobs,
    engine: Engine,
    tone: Callable[..., bytes],
    tmp_path: Path,
) -> None:
    """A version's folder may hold anything, a test clip or an exported manifest included."""
    folder = tmp_path / "mine"
    folder.mkdir()
    spoken, evaluated, verdicts = tone(hertz=300), tone(hertz=500), b'{"utterance": 1}\n'
    dataset = add_dataset(datasets, blobs.put_bytes(evaluated))
    clip = audio.decode(spoken)
    transcript = Transcript(text="hello", latency_s=0.1, compute_s=0.1)
    InferenceLog(engine, blobs).record(
        "v-1", [Heard(data=spoken, audio=clip, transcript=transcript)]
    )
    row = {
        "id": "val-1",
        "created_at": now(),
        "candidate_id": "x",
        "baseline_id": "y",
        "dataset_id": dataset,
        "set_name": "set",
        "passed": True,
        "reasons": [],
        "figures": {},
        "utterances_sha256": blobs.put_bytes(verdicts),
    }
    with writing(engine) as connection:
        connection.execute(insert(validations).values(**row))
    manifest = blobs.get_bytes(datasets.get(dataset).manifest_sha256)
    files = {
        "spoken.wav": spoken,
        "evaluated.wav": evaluated,
        "set.jsonl": manifest,
        "verdicts.jsonl": verdicts,
        "shared.bin": b"next",
        "own.bin": b"nobody else's",
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    old = registry.register(folder, name="t", source="x", actor="ann")
    for version_id in (old.id, register("next").id, register("live").id):
        live.deploy(version_id, actor="ann", reason="test")
    assert retention.prune(keep=0, actor="ann") == Pruned(versions=(old.id,), files=1)
    gone = {name for name, key in old.files.items() if key not in blobs}
    assert gone == {"own.bin"}


def test_a_damaged_manifest_deletes_nothing_until_it_is_mended(
    retention: Retention, deployed: list[str], datasets: Datasets, tmp_path: Path
) -> None:
    """What it refers to is not known, so it might be anything."""
    key = datasets.get(add_dataset(datasets, "0" * 64)).manifest_sha256
    path = tmp_path / "blobs" / key[:2] / key
    content = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(b"?")
    with pytest.raises(BlobCorruptError):
        prune(retention, 0)
    assert directories(tmp_path) == set(deployed)
    path.write_bytes(content)
    assert prune(retention, 0) == sorted(deployed[:4])


def test_a_store_whose_opening_is_written_down_is_opened_before_others_are_kept_waiting(
    engine: Engine, blobs: DirectoryBlobs, registry: Registry, deployed: list[str]
) -> None:
    def opening() -> DirectoryBlobs:
        with writing(engine):
            return blobs

    models = DeferredBlobs(opening)
    retention = Retention(engine, blobs, registry, final_cycle_states=(), model_blobs=models)
    assert prune(retention, 1) == sorted(deployed[:4])


def test_a_pruned_version_that_is_registered_again_is_kept_and_can_be_pruned_again(
    retention: Retention,
    deployed: list[str],
    register: Register,
    registry: Registry,
    live: Deployments,
) -> None:
    prune(retention, 0)
    register("a")
    registry.verify(deployed[0])
    live.deploy(deployed[0], actor="ann", reason="again")
    assert (registry.directory(deployed[0]) / "model.bin").read_text() == "a"
    for version_id in deployed[4:]:
        live.deploy(version_id, actor="ann", reason="test")
    assert prune(retention, 0) == [deployed[0]]


@pytest.mark.parametrize("seed", range(4))
def test_whatever_was_deployed_every_kept_version_can_still_be_deployed(
    retention: Retention, register: Register, registry: Registry, live: Deployments, seed: int
) -> None:
    chance = random.Random(seed)
    ids = [register(content).id for content in "abcdefg"]
    for _ in range(12):
        usable = [one.id for one in registry.listed() if one.pruned_at is None]
        slot = chance.choice(["production", "production", "canary"])
        if chance.random() < 0.3:
            try:
                live.roll_back(actor="ann", reason="test", slot=slot)
            except NoEarlierVersionError:
                continue
        else:
            live.deploy(chance.choice(usable), actor="ann", reason="test", slot=slot)
        # A rollback right after retention must find its version whole; so must everything kept.
        prune(retention, chance.randrange(3))
        for one in registry.listed():
            if one.pruned_at is None:
                registry.verify(one.id)
    for number, version_id in enumerate(ids):
        if registry.get(version_id).pruned_at is None:
            live.deploy(version_id, actor="ann", reason="last", slot=f"slot {number}")
            content = (registry.directory(version_id) / "model.bin").read_text()
            assert content == "abcdefg"[number]


KILLED = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import event
from misheard.blobs.deferred import DeferredBlobs
from misheard.blobs.directory import DirectoryBlobs
from misheard.database.engine import open_engine
from misheard.registry import Registry
from misheard.retention import Retention

folder, where = Path(sys.argv[1]), sys.argv[2]
kind, number = where.split()
left = [int(number)]

def die():
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)

class Blobs(DirectoryBlobs):
    def delete(self, key):
        if kind == "delete":
            die()
        super().delete(key)

class Dropping(Registry):
    def drop_directory(self, version_id):
        if kind == "drop":
            die()
        super().drop_directory(version_id)

    def sweep(self):
        if kind == "sweep":
            die()
        super().sweep()

engine = open_engine(sys.argv[3])
if kind == "begin":
    event.listen(engine, "begin", lambda _: die())
if kind == "commit":
    event.listen(engine, "commit", lambda _: die())
blobs = Blobs(folder / "blobs")
registry = Dropping(engine, blobs, folder / "models")
Retention(engine, blobs, registry, final_cycle_states=()).prune(keep=1, actor="ann")
"""


@pytest.mark.parametrize(
    "where",
    ["commit 1", "begin 2", "begin 3", "drop 2", "delete 1", "delete 3", "commit 2", "sweep 1"],
)
def test_a_run_that_is_killed_anywhere_is_finished_by_the_next(
    retention: Retention,
    deployed: list[str],
    registry: Registry,
    blobs: DirectoryBlobs,
    engine: Engine,
    live: Deployments,
    database_url: str,
    tmp_path: Path,
    where: str,
) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path), where, database_url]
    child = subprocess.run(command, check=False)
    assert child.returncode == -signal.SIGKILL
    # Whatever still counts as kept is whole.
    for one in registry.listed():
        if one.pruned_at is None:
            registry.verify(one.id)
    prune(retention, 1)
    kept = [one for one in registry.listed() if one.pruned_at is None]
    assert {one.id for one in kept} == set(deployed[4:]) == directories(tmp_path)
    assert set(blobs) == {key for one in kept for key in one.files.values()}
    for version_id in deployed[:4]:
        actions = [entry.action for entry in AuditLog(engine).entries(subject=version_id)]
        assert actions == ["delete", "prune", "register"]


REGISTER = """
import sys
from pathlib import Path
from misheard.blobs.deferred import DeferredBlobs
from misheard.blobs.directory import DirectoryBlobs
from misheard.database.engine import open_engine
from misheard.deployment import Deployments
from misheard.errors import VersionPrunedError
from misheard.registry import Registry
from misheard.retention import Retention

folder, role = Path(sys.argv[1]), sys.argv[2]
engine = open_engine(sys.argv[3])
blobs = DirectoryBlobs(folder / "blobs")
registry, live = Registry(engine, blobs, folder / "models"), Deployments(engine)
retention = Retention(engine, blobs, registry, final_cycle_states=())
print("ready", flush=True)
sys.stdin.read()
for number in range(40):
    if role == "prune":
        retention.prune(keep=0, actor=role)
        continue
    name = "abcd"[number % 4]
    made = registry.register(folder / "sources" / name, name="t", source=name, actor=role)
    try:
        live.deploy(made.id, actor=role, reason="test")
        (registry.directory(made.id) / "model.bin").read_text()
    except (VersionPrunedError, FileNotFoundError):
        pass  # the other process had already deployed two others and pruned this one
"""


def test_processes_that_register_deploy_and_prune_at_once_leave_nothing_dangling(
    retention: Retention,
    deployed: list[str],
    registry: Registry,
    blobs: DirectoryBlobs,
    live: Deployments,
    database_url: str,
    tmp_path: Path,
) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", REGISTER, str(tmp_path), role, database_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for role in ("register", "prune")
    ]
    for child in children:
        assert child.stdout is not None
        child.stdout.readline()
    for child in children:
        assert child.stdin is not None
        child.stdin.close()
    for child in children:
        assert child.wait(timeout=600) == 0
        assert child.stdout is not None
        child.stdout.close()
    assert registry.get(live.live().version_id).pruned_at is None
    for one in registry.listed():
        if one.pruned_at is None:
            registry.verify(one.id)
            registry.directory(one.id)
    prune(retention, 0)
    kept = [one for one in registry.listed() if one.pruned_at is None]
    assert set(blobs) == {key for one in kept for key in one.files.values()}
    assert directories(tmp_path) <= {one.id for one in kept}


def test_a_version_registered_while_its_files_are_about_to_be_deleted_keeps_them(
    deployed: list[str],
    register: Register,
    registry: Registry,
    engine: Engine,
    tmp_path: Path,
    datasets: Datasets,
) -> None:
    """Registered between the two steps: after its row said pruned, before the lock is taken."""
    key = datasets.get(add_dataset(datasets, "0" * 64)).manifest_sha256

    class Late(DirectoryBlobs):
        def get_bytes(self, wanted: str) -> bytes:
            if wanted == key:
                register("a")
            return super().get_bytes(wanted)

    late = Late(tmp_path / "blobs")
    retention = Retention(engine, late, registry, final_cycle_states=())
    assert prune(retention, 0) == sorted(deployed[1:4])
    registry.verify(deployed[0])
    assert registry.get(deployed[0]).pruned_at is None


def test_a_dataset_that_came_while_manifests_were_read_keeps_its_audio(
    deployed: list[str],
    registry: Registry,
    engine: Engine,
    tmp_path: Path,
    datasets: Datasets,
    blobs: DirectoryBlobs,
) -> None:
    key = datasets.get(add_dataset(datasets, "0" * 64)).manifest_sha256
    (wanted_audio,) = registry.get(deployed[0]).files.values()

    class Late(DirectoryBlobs):
        def get_bytes(self, wanted: str) -> bytes:
            if wanted == key:
                add_dataset(datasets, wanted_audio)
            return super().get_bytes(wanted)

    retention = Retention(engine, Late(tmp_path / "blobs"), registry, final_cycle_states=())
    assert prune(retention, 0) == sorted(deployed[:4])
    assert wanted_audio in blobs


def test_only_the_rows_of_pruned_versions_change(
    retention: Retention, deployed: list[str], registry: Registry, engine: Engine
) -> None:
    before: dict[str, Any] = {one.id: vars(one) for one in registry.listed()}
    prune(retention, 2)
    for one in registry.listed():
        changed = {key for key, value in vars(one).items() if value != before[one.id][key]}
        assert changed == ({"pruned_at"} if one.id in deployed[:3] else set())
    with engine.connect() as connection:
        assert connection.execute(select(cycles)).first() is None
