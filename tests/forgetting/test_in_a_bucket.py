"""Somebody who is forgotten, and what retention lets go of, is in no bucket either."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from misheard.blobs.opening import open_bucket
from misheard.database.engine import now, writing
from misheard.database.schema import inferences
from misheard.forgetting.person import IdKind, Person
from misheard.workspace import Workspace
from tests import tiny
from tests.emulators import GcsEmulator
from tests.forgetting.conftest import CLIPS, Office, clip

SILENT: dict[str, Any] = {"actor": "ann", "watching": lambda _, __: lambda _: None}
ANNA = Person(kind=IdKind.SPEAKER, id="anna")


@pytest.fixture
def addresses(gcs: GcsEmulator, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name, value in gcs.environment.items():
        monkeypatch.setenv(name, value)
    return {"blobs": f"gs://{gcs.new_bucket()}", "models": f"gs://{gcs.new_bucket()}/models"}


@pytest.fixture
def moved(office: Office, addresses: dict[str, str]) -> Workspace:
    """All of it in the bucket."""
    workspace = office.workspace.configured({"storage": addresses})
    workspace.syncing.to_bucket(**SILENT)
    return workspace


def objects(addresses: dict[str, str]) -> Iterator[tuple[str, bytes]]:
    for address in addresses.values():
        bucket = open_bucket(address)
        for one in bucket.listed():
            yield one.name, bucket.get(one.name)


def holding(addresses: dict[str, str], needles: list[bytes]) -> list[str]:
    """Objects with words or sound of somebody."""
    found = objects(addresses)
    return [name for name, data in found if any(needle in data for needle in needles)]


def test_nothing_of_the_person_is_left_in_the_bucket(
    office: Office, moved: Workspace, addresses: dict[str, str]
) -> None:
    assert len(holding(addresses, office.of("anna"))) > CLIPS
    done = moved.forgetting.forget(ANNA, actor="dora", reason="a letter")
    assert holding(addresses, office.of("anna")) == []
    assert office.holding(*office.of("anna")) == []
    assert done.is_complete
    clips = {clip("bert", number) for number in range(CLIPS)}
    assert clips <= {data for _, data in objects(addresses)}
    assert moved.integrity.check(deep=True).is_sound


def test_copies_at_home_go_with_it(
    office: Office, moved: Workspace, addresses: dict[str, str]
) -> None:
    moved.syncing.home(**SILENT)
    assert len(office.holding(*office.of("anna"))) > CLIPS
    moved.forgetting.forget(ANNA, actor="dora", reason="a letter")
    assert holding(addresses, office.of("anna")) == []
    assert office.holding(*office.of("anna")) == []


def test_copies_at_home_of_another_machine_go_when_it_next_looks_after_what_is_kept(
    office: Office, moved: Workspace, addresses: dict[str, str]
) -> None:
    moved.syncing.home(**SILENT)
    # As another machine on the same database, which has no copies.
    other = moved.configured({})
    other._blobs = other._blobs.far  # type: ignore[attr-defined, misc]
    other.forgetting.forget(ANNA, actor="dora", reason="a letter")
    assert holding(addresses, office.of("anna")) == []
    voices = [clip("anna", number)[500:560] for number in range(CLIPS)]
    assert len(office.holding(*voices)) == CLIPS
    moved.capture_retention.run(actor="worker")
    assert office.holding(*voices) == []


def test_audio_that_is_not_kept_any_more_is_deleted_in_the_bucket(
    moved: Workspace, addresses: dict[str, str]
) -> None:
    # What is drawn for the audit is kept.
    unaudited = moved.configured({"capture": {"audit_share": 0.0}})
    tiny.heard(unaudited, 3)
    unaudited.digest.catch_up()
    before = {name for name, _ in objects(addresses)}
    with writing(moved._engine) as connection:
        old = {"created_at": now() - timedelta(days=400)}
        connection.execute(update(inferences).values(**old))
    rules = moved.configured({"capture": {"keep_audio_days": 30.0}})
    gone = rules.capture_retention.run(actor="worker")
    assert gone.recordings > 0
    left = {name for name, _ in objects(addresses)}
    assert len(before - left) == gone.blobs > 0
    assert moved.integrity.missing_files() == []


def test_files_of_models_are_let_go_of_in_their_own_bucket(
    moved: Workspace, addresses: dict[str, str], office: Office
) -> None:
    (office.root / "new").mkdir()
    for number in range(4):
        (office.root / "new" / "model.bin").write_text(f"weights {number}")
        made = moved.registry.register(
            office.root / "new", name="n", source="test", actor="ann", version_id=f"v-{number}"
        )
        moved.deployments.deploy(made.id, actor="ann", reason="test")
    pruned = moved.retention.prune(keep=1, actor="ann")
    assert {"v-0", "v-1"} <= set(pruned.versions)
    texts = {data for _, data in objects({"models": addresses["models"]})}
    assert {b"weights 2", b"weights 3"} <= texts
    assert not {b"weights 0", b"weights 1"} & texts
    assert moved.integrity.check(deep=True).is_sound


def test_what_nothing_points_at_is_found_and_deleted_in_both_buckets(
    moved: Workspace, addresses: dict[str, str]
) -> None:
    strays = {moved._blobs.put_bytes(b"stray"), moved._model_blobs.put_bytes(b"of a model")}
    assert moved.integrity.check(deep=True).unused_files == 2
    assert moved.capture_retention.note_unknown() == 2
    moved.capture_retention.run(actor="ann")
    assert not strays & {name.partition("/")[2] for name, _ in objects(addresses)}
    assert moved.integrity.check(deep=True).unused_files == 0
