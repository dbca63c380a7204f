"""What is only here goes to the bucket, and home again; whatever dies, nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import insert, update

from misheard import audio
from misheard.blobs.directory import DirectoryBlobs
from misheard.blobs.opening import open_bucket
from misheard.capture.inferences import Heard
from misheard.cli.group import cli
from misheard.database.discarded import delete_discarded, discard, put_announced
from misheard.database.engine import now, writing
from misheard.database.schema import forgotten, inferences
from misheard.errors import BucketLeftError, BucketUnavailableError, NoBucketError
from misheard.forgetting.person import IdKind, Person
from misheard.speech.transcriber import Transcript
from misheard.syncing import Syncing
from misheard.workspace import Workspace
from tests import tiny
from tests.emulators import GcsEmulator
from tests.faults import Fault, faults
from tests.loopback import until
from tests.storage.conftest import contents, keys, spoil

MISHEARD = [sys.executable, "-c", "from misheard.cli import main; main()"]
THREADS = 32
"""So many transfers are under way at a time."""
SILENT: dict[str, Any] = {"actor": "ann", "watching": lambda _, __: lambda _: None}


def here(workspace: Workspace) -> set[str]:
    return set(DirectoryBlobs(workspace.root / "blobs"))


def mark(workspace: Workspace, key: str, *, days_ago: float = 0.0) -> None:
    """As one whose deletion somebody has asked for."""
    row = {"audio_sha256": key, "created_at": now() - timedelta(days=days_ago)}
    others = [column.name for column in forgotten.c if column.name != "number"]
    values = {name: row.get(name, 1) for name in others}
    with writing(workspace._engine) as connection:
        connection.execute(insert(forgotten).values(**values))


@pytest.fixture
def local(tmp_path: Path) -> Workspace:
    """A workspace with three recordings, a model and a list, all of it in its directory."""
    workspace = tiny.make(tmp_path / "ws")
    tiny.heard(workspace, 3)
    tiny.hold_out(workspace, count=2)
    return workspace


def under(workspace: Workspace, address: str, **more: str) -> Workspace:
    return workspace.configured({"storage": {"blobs": address, **more}})


def test_all_of_it_is_moved_and_found_where_it_is_now(local: Workspace, address: str) -> None:
    before = {key: local._blobs.get_bytes(key) for key in here(local)}
    there = under(local, address)
    told = there.syncing.to_bucket(**SILENT)
    assert (told.files, told.known, told.failed) == (len(before), 0, ())
    assert told.bytes == sum(map(len, before.values()))
    assert here(there) == set()
    assert contents(address) == {f"{key[:2]}/{key}": data for key, data in before.items()}
    assert there.integrity.check(deep=True).is_sound
    again = there.syncing.to_bucket(**SILENT)
    assert (again.files, again.bytes) == (0, 0)


def test_a_dry_run_says_how_many_and_moves_none(local: Workspace, address: str) -> None:
    before = here(local)
    there = under(local, address)
    told = there.syncing.to_bucket(**SILENT, dry_run=True)
    assert (told.files, told.is_dry_run) == (len(before), True)
    assert (here(local), keys(address)) == (before, set())
    there.syncing.to_bucket(**SILENT)
    assert there.syncing.home(**SILENT, dry_run=True).files == len(before)
    assert here(local) == set()


def test_home_again_only_what_is_missing_travels(local: Workspace, address: str) -> None:
    before = here(local)
    there = under(local, address)
    there.syncing.to_bucket(**SILENT)
    first = there.syncing.home(**SILENT)
    assert (first.files, first.known) == (len(before), 0)
    assert here(local) == before == keys(address)
    lost = sorted(before)[:2]
    for key in lost:
        (local.root / "blobs" / key[:2] / key).unlink()
    second = there.syncing.home(**SILENT)
    assert (second.files, second.known) == (2, len(before) - 2)
    # Nothing needs the bucket any more.
    assert local.integrity.check(deep=True).is_sound


def test_models_may_be_in_a_bucket_of_their_own_or_stay(
    local: Workspace, address: str, gcs: GcsEmulator
) -> None:
    (version,) = local.registry.listed()
    files = set(version.files.values())
    elsewhere = f"gs://{gcs.new_bucket()}/deployed_models"
    apart = under(local, address, models=elsewhere)
    apart.syncing.to_bucket(**SILENT)
    assert keys(elsewhere) == files
    assert not keys(address) & files
    assert here(local) == set()
    assert apart.integrity.check(deep=True).is_sound
    staying = under(local, address, models="local")
    assert not staying.integrity.check().is_sound
    # Home first, then they stay.
    apart.syncing.home(**SILENT)
    staying.syncing.to_bucket(**SILENT)
    assert here(local) == files
    assert staying.integrity.check(deep=True).is_sound


def test_what_nothing_points_at_is_not_sent(local: Workspace, address: str) -> None:
    stray = DirectoryBlobs(local.root / "blobs").put_bytes(b"left by somebody")
    told = under(local, address).syncing.to_bucket(**SILENT)
    assert told.unused == 1
    assert here(local) == {stray}
    assert stray not in keys(address)


def test_a_recording_that_was_forgotten_elsewhere_is_not_sent_and_goes_here(
    local: Workspace, address: str
) -> None:
    key = DirectoryBlobs(local.root / "blobs").put_bytes(b"somebody's voice")
    mark(local, key)
    told = under(local, address).syncing.to_bucket(**SILENT)
    assert told.forgotten == 1
    assert key not in here(local) | keys(address)


def test_what_came_in_again_after_it_was_forgotten_is_kept(local: Workspace, address: str) -> None:
    key = local.inferences.recent(limit=1)[0].audio_sha256
    mark(local, key, days_ago=1)
    there = under(local, address)
    there.capture_retention.run(actor="ann")
    assert key in here(local)
    told = there.syncing.to_bucket(**SILENT)
    assert (told.forgotten, told.unused) == (0, 0)
    assert key in keys(address)
    open_bucket(address).delete(f"{key[:2]}/{key}")
    assert not there.integrity.check().is_sound


def test_copies_home_of_what_another_machine_let_go_of_go(local: Workspace, address: str) -> None:
    there = under(local, address)
    there.syncing.to_bucket(**SILENT)
    there.syncing.home(**SILENT)
    (dataset,) = there.datasets.listed()
    key = there.datasets.rows(dataset)[0].audio_sha256
    # As the other machine does, which sees the bucket alone.
    mark(there, key)
    there.datasets.withdraw([key])
    with writing(there._engine) as connection:
        one = there.inferences.recent(limit=1)[0]
        this = inferences.c.id == one.id
        connection.execute(update(inferences).where(this).values(audio_sha256=""))
        discard(connection, [one.audio_sha256, key])
    far = open_bucket(address)
    delete_discarded(
        there._engine,
        lambda some: [far.delete(f"{key[:2]}/{key}") for key in some],
        there.datasets.in_use,
    )
    gone = {one.audio_sha256, key, dataset.manifest_sha256}
    assert here(there) >= gone
    there.capture_retention.run(actor="ann")
    assert here(there).isdisjoint(gone)
    # The manifest that took the place of the other one was never here.
    assert len(keys(address) - here(there)) == 1
    assert here(there) < keys(address)


def test_what_the_bucket_has_damaged_is_sent_again(local: Workspace, address: str) -> None:
    key = sorted(here(local))[0]
    data = local._blobs.get_bytes(key)
    spoil(address, key)
    assert under(local, address).syncing.to_bucket(**SILENT).failed == ()
    assert contents(address)[f"{key[:2]}/{key}"] == data


def test_what_is_damaged_here_stays_here_and_is_told(
    local: Workspace, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = sorted(here(local))[0]
    path = local.root / "blobs" / key[:2] / key
    path.chmod(0o644)
    path.write_bytes(b"something else")
    monkeypatch.setenv("MISHEARD_STORAGE__BLOBS", address)
    ended = CliRunner().invoke(cli, ["-w", str(local.root), "sync", "--json"])
    assert ended.exit_code == 1
    told = json.loads(ended.stdout)
    assert len(told["failed"]) == 1
    assert key in told["failed"][0]
    assert here(local) == {key}
    assert key not in keys(address)


def test_what_arrives_damaged_is_not_kept(local: Workspace, address: str) -> None:
    there = under(local, address)
    there.syncing.to_bucket(**SILENT)
    key = sorted(keys(address))[0]
    spoil(address, key)
    told = there.syncing.home(**SILENT)
    assert [key in one for one in told.failed] == [True]
    assert here(local) == keys(address) - {key}


def test_of_a_bucket_that_is_gone_nothing_is_deleted_here(
    local: Workspace, address: str, gcs: GcsEmulator
) -> None:
    there = under(local, address)
    before = here(local)
    key = sorted(before)[0]
    # So that the bucket was seen, as it is in the midst of a run.
    there._blobs.put_bytes(DirectoryBlobs(local.root / "blobs").get_bytes(key))
    gcs.delete_bucket(address.split("/")[2])
    with pytest.raises(BucketUnavailableError, match="There is no gs://"):
        there.syncing.to_bucket(**SILENT)
    assert here(local) == before


def test_without_a_bucket_it_says_how_to_name_one(local: Workspace) -> None:
    for call in (local.syncing.to_bucket, local.syncing.home):
        with pytest.raises(NoBucketError, match=r"\[storage\] blobs"):
            call(**SILENT)


def record(workspace: Workspace, numbers: Sequence[int]) -> None:
    made = []
    for number in numbers:
        data = tiny.make_wav(seconds=0.05, hertz=200 + number)
        transcript = Transcript(text="hold on", latency_s=0.1, compute_s=0.1)
        made.append(Heard(data=data, audio=audio.decode(data), transcript=transcript))
    workspace.inferences.record("v-1", made)


@contextmanager
def killed_once_held(
    command: list[str], environment: dict[str, str], gcs: GcsEmulator, *, method: str, skip: int
) -> Iterator[None]:
    """A process whose transfers are held after so many, and which is killed after the block.

    So it has not ended before, however late it is looked at.
    """
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        over.wait(600)

    with faults(gcs.url) as proxy:
        # Of what is held nothing gets through.
        which = {"method": method, "path": "upload|alt=media", "skip": skip, "times": 10_000}
        proxy.add(Fault(**which, call=hold, cut_request_at=0))
        through = environment | {"STORAGE_EMULATOR_HOST": proxy.url}
        process = subprocess.Popen(command, env=through, stdout=subprocess.PIPE)
        try:
            assert held.wait(300)
            yield
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            over.set()
        assert process.returncode == -signal.SIGKILL


def test_killed_twice_in_the_midst_nothing_is_lost_and_the_third_run_ends_it(
    tmp_path: Path, address: str, gcs: GcsEmulator
) -> None:
    workspace = tiny.make(tmp_path / "ws")
    record(workspace, range(230))
    every = here(workspace)
    environment = os.environ | {
        "MISHEARD_STORAGE__BLOBS": address,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    command = [*MISHEARD, "-w", str(workspace.root), "sync", "--json"]
    before: set[str] = set()
    for uploads in (110, 60):
        with killed_once_held(command, environment, gcs, method="POST", skip=uploads):
            # What the others do meanwhile comes to its end.
            wanted = len(before) + uploads - THREADS
            until(lambda wanted=wanted: len(keys(address)) >= wanted)
        there = keys(address)
        assert there > before
        before = there
        assert here(workspace) | there == every
        assert here(workspace)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert told["failed"] == []
    assert 0 < told["files"] < len(every)
    assert here(workspace) == set()
    assert keys(address) == every
    assert under(workspace, address).integrity.check(deep=True).is_sound


def test_a_copy_home_that_was_killed_goes_on(
    tmp_path: Path, address: str, gcs: GcsEmulator
) -> None:
    workspace = tiny.make(tmp_path / "ws", storage={"blobs": address})
    record(workspace, range(160))
    every = keys(address)
    assert here(workspace) == set()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [*MISHEARD, "-w", str(workspace.root), "sync", "--home", "--json"]
    with killed_once_held(command, environment, gcs, method="GET", skip=50 + 2 * THREADS):
        until(lambda: len(here(workspace)) >= 50)
    arrived = len(here(workspace))
    assert 50 <= arrived < len(every)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    # What had arrived did not travel again.
    assert (told["files"], told["known"]) == (len(every) - arrived, arrived)
    assert here(workspace) == every == keys(address)


def test_the_command_shows_what_it_did(
    local: Workspace, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISHEARD_STORAGE__BLOBS", address)
    count = len(here(local))
    runs = [
        CliRunner().invoke(cli, ["-w", str(local.root), "sync", *more])
        for more in (["--dry-run"], [], ["--home"])
    ]
    assert [one.exit_code for one in runs] == [0, 0, 0]
    assert f"{count} files" in runs[0].stdout
    assert "would be moved to the bucket" in runs[0].stdout
    assert f"{count} files" in runs[1].stdout
    assert "copied home" in runs[2].stdout
    (entry, _) = (one for one in local.audit.entries() if one.action == "sync")
    assert (entry.to_value, entry.evidence["files"]) == ("home", count)


def test_what_is_let_go_of_while_it_travels_is_not_left_in_the_bucket(
    local: Workspace, address: str
) -> None:
    """Between the look at the rows and the end of the transfer somebody else lets go of one."""
    there = under(local, address)
    one = there.inferences.recent(limit=1)[0]

    class Late(Syncing):
        def _move(self, part: Any, moved: Sequence[str], sent: Any) -> list[str]:
            if one.audio_sha256 in moved:
                # As another process would: the row, and the file where it is now.
                with writing(local._engine) as connection:
                    gone = inferences.update().where(inferences.c.id == one.id)
                    connection.execute(gone.values(audio_sha256="", audio_bytes=None))
            return super()._move(part, moved, sent)

    made = Late(
        there._engine,
        there._directory_blobs,
        there._blobs,
        there._model_blobs,
        in_use=there.datasets.in_use,
        buckets=(address,),
    )
    made.to_bucket(**SILENT)
    assert one.audio_sha256 not in keys(address) | here(local)


def test_nothing_is_deleted_while_a_bucket_that_was_used_is_not_known(
    local: Workspace, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a program was told of the bucket, and misheard.toml was not."""
    under(local, address).syncing.to_bucket(**SILENT)
    person = Person(kind=IdKind.SESSION, id="call-9")
    for delete in (
        lambda: local.forgetting.forget(person, actor="ann", reason="by phone"),
        lambda: local.capture_retention.run(actor="ann"),
        lambda: local.retention.prune(keep=0, actor="ann"),
    ):
        with pytest.raises(BucketLeftError, match=f"{address}.*misheard sync --release {address}"):
            delete()
    release = ["-w", str(local.root), "sync", "--release", address]
    monkeypatch.setenv("MISHEARD_STORAGE__BLOBS", address)
    assert CliRunner().invoke(cli, release).exit_code != 0, "it is in use"
    CliRunner().invoke(cli, ["-w", str(local.root), "sync", "--home"])
    monkeypatch.delenv("MISHEARD_STORAGE__BLOBS")
    ended = CliRunner().invoke(cli, release)
    assert ended.exit_code == 0, ended.output
    local.capture_retention.run(actor="ann")
    local.retention.prune(keep=0, actor="ann")
    local.forgetting.forget(person, actor="ann", reason="by phone")
    # What is used again is known again.
    under(local, address).syncing.to_bucket(**SILENT)
    with pytest.raises(BucketLeftError):
        local.capture_retention.run(actor="ann")


def test_what_is_still_on_its_way_stays_noted_until_it_has_arrived(
    tmp_path: Path, address: str
) -> None:
    workspace = tiny.make(tmp_path / "ws", storage={"blobs": address})
    data = b"somebody's voice, and no row of it yet"

    def put() -> None:
        # As it is when another process looks in the midst of the upload.
        workspace.capture_retention.run(actor="ann")
        key = workspace._blobs.put_bytes(data)
        assert key in keys(address)

    before = keys(address)
    put_announced(workspace._engine, [audio.sha256_of(data)], put)
    # Whoever put it was killed.
    workspace.capture_retention.run(actor="ann")
    assert keys(address) == before
