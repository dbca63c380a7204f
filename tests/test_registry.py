from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine

from misheard.blobs.directory import DirectoryBlobs
from misheard.database.audit import AuditLog
from misheard.errors import BlobCorruptError, ModelNotFoundError, UnknownIdError
from misheard.registry import ModelVersion, Registry

Register = Callable[..., ModelVersion]


def test_registering_the_same_files_again_gives_the_same_version_and_one_audit_row(
    register: Register, registry: Registry, engine: Engine
) -> None:
    first, again = register("a"), register("a")
    assert again == first
    assert [version.id for version in registry.listed()] == [first.id]
    assert [entry.action for entry in AuditLog(engine).entries()] == ["register"]


def test_other_files_or_other_names_give_another_version(
    register: Register, registry: Registry, tmp_path: Path
) -> None:
    first, other = register("a"), register("b")
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    (renamed / "weights.bin").write_text("a", encoding="utf-8")
    third = registry.register(renamed, name="tiny", source="x", actor="ann")
    assert len({first.id, other.id, third.id}) == 3


def test_the_lineage_is_kept(register: Register, registry: Registry) -> None:
    parent = register("a")
    child = register("b", parent_id=parent.id, job_id="job-1")
    found = registry.get(child.id)
    assert (found.parent_id, found.job_id, found.source) == (parent.id, "job-1", "b")
    assert found == child


def test_the_directory_holds_the_files_folders_included(registry: Registry, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "model.bin").write_bytes(b"weights")
    (source / "deep" / "vocabulary.txt").write_bytes(b"words")
    version = registry.register(source, name="tiny", source="x", actor="ann")
    directory = registry.directory(version.id)
    assert (directory / "model.bin").read_bytes() == b"weights"
    assert (directory / "deep" / "vocabulary.txt").read_bytes() == b"words"
    assert registry.directory(version.id) == directory


def test_the_source_may_change_afterwards(register: Register, registry: Registry) -> None:
    version = register("a")
    (path,) = Path(registry.directory(version.id)).parents[1].glob("sources/a/model.bin")
    path.write_text("changed", encoding="utf-8")
    assert (registry.directory(version.id) / "model.bin").read_text(encoding="utf-8") == "a"


def test_a_damaged_blob_is_refused_and_no_half_directory_stays(
    register: Register, registry: Registry, blobs: DirectoryBlobs, tmp_path: Path
) -> None:
    version = register("a")
    (key,) = blobs
    path = tmp_path / "blobs" / key[:2] / key
    path.chmod(0o644)
    path.write_bytes(b"b")
    with pytest.raises(BlobCorruptError):
        registry.directory(version.id)
    assert list((tmp_path / "models").iterdir()) == []


def test_an_empty_directory_is_no_model(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelNotFoundError, match="holds no files"):
        registry.register(tmp_path / "empty", name="tiny", source="x", actor="ann")


def test_an_unknown_version_is_an_error(registry: Registry) -> None:
    with pytest.raises(UnknownIdError, match="no version 'v-x'"):
        registry.directory("v-x")
