from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, func, select, update

from misheard.blobs.bucket import Sent, unwatched
from misheard.blobs.directory import DirectoryBlobs
from misheard.database.audit import AuditLog
from misheard.database.engine import now, writing
from misheard.database.schema import versions
from misheard.errors import (
    BadInputError,
    BlobCorruptError,
    BlobNotFoundError,
    ModelCorruptError,
    ModelNotFoundError,
    UnknownIdError,
    VersionExistsError,
    VersionPrunedError,
)
from misheard.registry import ModelVersion, Registry

ON_BOTH_DATABASES = True

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


@pytest.fixture
def kept(register: Register, registry: Registry) -> Path:
    """The directory of a version, whose files are no longer those of the blobs."""
    directory = registry.directory(register("a").id)
    path = directory / "model.bin"
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)
    return directory


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"b"),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
        lambda path: path.with_name("tokenizer.json").write_text("{}"),
        lambda path: path.with_name("pytorch_model.bin").symlink_to("/etc/passwd"),
    ],
    ids=["changed", "empty", "missing", "one too many", "a link too many"],
)
def test_a_directory_that_was_damaged_is_made_anew(
    kept: Path,
    registry: Registry,
    damage: Callable[[Path], object],
    caplog: pytest.LogCaptureFixture,
) -> None:
    damage(kept / "model.bin")
    assert registry.directory(kept.name) == kept
    assert [path.name for path in kept.iterdir()] == ["model.bin"]
    assert (kept / "model.bin").read_bytes() == b"a"
    assert "is made anew" in caplog.text
    assert sorted(path.name for path in kept.parent.iterdir()) == [kept.name]


def test_a_directory_that_is_whole_stays_as_it_is(kept: Path, registry: Registry) -> None:
    before = kept.stat().st_ino
    assert registry.directory(kept.name) == kept
    assert kept.stat().st_ino == before


def test_a_damaged_directory_over_a_damaged_blob_is_refused(
    kept: Path, registry: Registry, blobs: DirectoryBlobs, tmp_path: Path
) -> None:
    (key,) = blobs
    blob = tmp_path / "blobs" / key[:2] / key
    for path in (blob, kept / "model.bin"):
        path.chmod(0o644)
        path.write_bytes(b"b")
    with pytest.raises(BlobCorruptError):
        registry.directory(kept.name)
    assert not kept.exists()


def test_an_empty_directory_is_no_model(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelNotFoundError, match="holds no files"):
        registry.register(tmp_path / "empty", name="tiny", source="x", actor="ann")


def test_an_unknown_version_is_an_error(registry: Registry) -> None:
    with pytest.raises(UnknownIdError, match="no version 'v-x'"):
        registry.directory("v-x")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "mine"
    made.mkdir()
    (made / "model.bin").write_bytes(b"weights")
    return made


def test_a_version_may_have_an_id_of_its_own(registry: Registry, folder: Path) -> None:
    kept = registry.register(folder, name="t", source="x", actor="ann", version_id="spring 25+1")
    assert kept.id == "spring 25+1"
    assert registry.get("spring 25+1") == kept
    directory = registry.directory("spring 25+1")
    assert (directory / "model.bin").read_bytes() == b"weights"


def test_two_ids_within_the_same_second_are_two_versions_of_the_same_files(
    registry: Registry, folder: Path
) -> None:
    for version_id in ("one", "two"):
        registry.register(folder, name="t", source="x", actor="ann", version_id=version_id)
    by_hash = registry.register(folder, name="t", source="x", actor="ann")
    assert [one.id for one in registry.listed()] == [by_hash.id, "two", "one"]
    assert [one.id for one in registry.listed(limit=2)] == [by_hash.id, "two"]


def test_an_id_that_is_kept_gives_its_version_or_an_error_for_other_files(
    registry: Registry, folder: Path
) -> None:
    first = registry.register(folder, name="t", source="x", actor="ann", version_id="mine")
    again = registry.register(folder, name="other", source="y", actor="bob", version_id="mine")
    assert again == first
    (folder / "model.bin").write_bytes(b"other weights")
    with pytest.raises(VersionExistsError, match="'mine' was registered with other files"):
        registry.register(folder, name="t", source="x", actor="ann", version_id="mine")
    assert registry.listed() == [first]


@pytest.mark.parametrize(
    "version_id", ["", ".", "..", ".gone-1", "a/b", "/etc", "a\\b", "a\nb", "a\0b", "x" * 201]
)
def test_an_id_that_could_be_no_directory_is_refused(
    registry: Registry, folder: Path, version_id: str
) -> None:
    with pytest.raises(BadInputError, match="cannot be a version's id"):
        registry.register(folder, name="t", source="x", actor="ann", version_id=version_id)
    assert registry.listed() == []


def test_verdict_and_details_are_kept_as_json_gives_them_back(
    registry: Registry, folder: Path, engine: Engine
) -> None:
    kept = registry.register(
        folder,
        name="t",
        source="x",
        actor="ann",
        verdict={"passed": True, "model_wer": 0.1},
        details={"tags": ("a", "b")},
    )
    assert registry.get(kept.id) == kept
    assert (kept.verdict, kept.details) == (
        {"passed": True, "model_wer": 0.1},
        {"tags": ["a", "b"]},
    )
    registry.register(folder, name="t", source="x", actor="ann", version_id="plain")
    without = select(func.count()).where(versions.c.verdict.is_(None))
    with engine.connect() as connection:
        assert connection.execute(without).scalar() == 1


def test_a_later_verdict_takes_the_place_of_the_earlier_one_and_no_verdict_does_not(
    registry: Registry, folder: Path, engine: Engine
) -> None:
    def register(**given: Any) -> ModelVersion:
        return registry.register(folder, name="t", source="x", actor="ann", **given)

    register()
    register(verdict={"passed": False}, details={"note": "first"})
    register(verdict={"passed": True})
    register(verdict={"passed": True}, details={"note": "first"})
    kept = register()
    assert (kept.verdict, kept.details) == ({"passed": True}, {"note": "first"})
    assert registry.get(kept.id) == kept
    evidence = [entry.evidence for entry in AuditLog(engine).entries()]
    assert evidence[0] == {"verdict": {"passed": True}}
    assert evidence[1] == {"verdict": {"passed": False}, "details": {"note": "first"}}
    assert len(evidence) == 3


@pytest.mark.parametrize("bad", [{"wer": float("nan")}, {"x": object()}, [1], "passed"])
@pytest.mark.parametrize("what", ["verdict", "details"])
def test_what_is_no_json_is_refused(
    registry: Registry, folder: Path, what: str, bad: object
) -> None:
    with pytest.raises(BadInputError):
        registry.register(folder, name="t", source="x", actor="ann", **{what: bad})  # type: ignore[arg-type]
    assert registry.listed() == []


def test_a_missing_directory_is_named(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="nowhere"):
        registry.register(tmp_path / "nowhere", name="t", source="x", actor="ann")


def test_a_single_file_is_a_version_under_its_name(registry: Registry, folder: Path) -> None:
    kept = registry.register(folder / "model.bin", name="t", source="x", actor="ann")
    assert list(kept.files) == ["model.bin"]
    assert (registry.directory(kept.id) / "model.bin").read_bytes() == b"weights"
    assert (folder / "model.bin").read_bytes() == b"weights"


def on_begin(engine: Engine, deed: Callable[[], None]) -> None:
    """Do it once, when the next transaction begins: after the files were put."""
    left = [deed]

    def begin(_: object) -> None:
        if left:
            left.pop()()

    event.listen(engine, "begin", begin)


def test_blobs_that_were_deleted_meanwhile_are_put_again(
    registry: Registry, folder: Path, engine: Engine, blobs: DirectoryBlobs
) -> None:
    def lose() -> None:
        for key in list(blobs):
            blobs.delete(key)

    on_begin(engine, lose)
    kept = registry.register(folder, name="t", source="x", actor="ann")
    registry.verify(kept.id)


def test_a_file_that_changes_while_it_is_registered_is_refused(
    registry: Registry, folder: Path, engine: Engine, blobs: DirectoryBlobs
) -> None:
    def change() -> None:
        for key in list(blobs):
            blobs.delete(key)
        (folder / "model.bin").write_bytes(b"changed")

    on_begin(engine, change)
    with pytest.raises(ModelCorruptError, match=r"model\.bin' changed"):
        registry.register(folder, name="t", source="x", actor="ann")
    assert registry.listed() == []


def test_verify_notices_what_is_missing_or_damaged(
    register: Register, registry: Registry, blobs: DirectoryBlobs, tmp_path: Path
) -> None:
    version = register("a")
    registry.verify(version.id)
    (key,) = blobs
    path = tmp_path / "blobs" / key[:2] / key
    path.chmod(0o644)
    path.write_bytes(b"b")
    with pytest.raises(BlobCorruptError):
        registry.verify(version.id)
    blobs.delete(key)
    with pytest.raises(BlobNotFoundError):
        registry.verify(version.id)


def prune_row(engine: Engine, version_id: str) -> None:
    with writing(engine) as connection:
        row = versions.c.id == version_id
        connection.execute(update(versions).where(row).values(pruned_at=now()))


def test_a_pruned_version_has_no_directory_until_its_files_are_registered_again(
    register: Register, registry: Registry, engine: Engine
) -> None:
    version = register("a")
    registry.directory(version.id)
    prune_row(engine, version.id)
    with pytest.raises(VersionPrunedError, match="Register its files again"):
        registry.directory(version.id)
    with pytest.raises(VersionPrunedError):
        registry.verify(version.id)
    assert register("a") == version
    assert (registry.directory(version.id) / "model.bin").read_text() == "a"
    assert AuditLog(engine).entries()[0].evidence == {"pruned_at": None}


def test_a_version_that_is_pruned_while_its_directory_is_made_leaves_none(
    register: Register, engine: Engine, tmp_path: Path
) -> None:
    class PrunedMeanwhile(DirectoryBlobs):
        def fetch(self, key: str, target: Path, *, sent: Sent = unwatched) -> None:
            super().fetch(key, target, sent=sent)
            prune_row(engine, version.id)

    version = register("a")
    slow = Registry(engine, PrunedMeanwhile(tmp_path / "blobs"), tmp_path / "models")
    with pytest.raises(VersionPrunedError):
        slow.directory(version.id)
    assert list((tmp_path / "models").iterdir()) == []


def test_a_dropped_directory_is_made_anew(register: Register, registry: Registry) -> None:
    version = register("a")
    directory = registry.directory(version.id)
    registry.drop_directory(version.id)
    registry.drop_directory(version.id)
    assert not directory.exists()
    registry.sweep()
    assert list(directory.parent.iterdir()) == []
    assert registry.directory(version.id) == directory
