from __future__ import annotations

import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from misheard.database.engine import open_engine
from misheard.datasets.datasets import Sample
from misheard.errors import (
    InvalidSettingError,
    MisheardError,
    ModelNotFoundError,
    NewerSchemaError,
    NotAudioError,
    UnknownIdError,
    WorkspaceExistsError,
    WorkspaceNotFoundError,
)
from misheard.workspace import Workspace, current_actor, workspace_directory


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    """A directory that looks like a model; nobody listens with it here."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    for name in ("model.bin", "tokenizer.json", "config.json"):
        (folder / name).write_text(name, encoding="utf-8")
    return str(folder)


@pytest.fixture
def workspace(tmp_path: Path, tiny: str) -> Workspace:
    return Workspace.create(tmp_path / "ws", model=tiny, actor="ann")


def test_a_new_workspace_has_its_model_live_and_audited(workspace: Workspace, tiny: str) -> None:
    live = workspace.deployments.live()
    version = workspace.registry.get(live.version_id)
    assert version.source == tiny
    assert set(version.files) == {"model.bin", "tokenizer.json", "config.json"}
    assert [entry.actor for entry in workspace.audit.entries()] == ["ann", "ann"]


def test_opening_it_again_finds_the_same(workspace: Workspace) -> None:
    again = Workspace.open(workspace.root)
    assert again.settings == workspace.settings
    assert again.deployments.live() == workspace.deployments.live()


def test_given_settings_are_written_and_read(tmp_path: Path, tiny: str) -> None:
    given = {"backend": "inprocess", "triggers": {"min_error_cases": 3}, "recipe": {"epochs": 1}}
    made = Workspace.create(tmp_path / "ws", model=tiny, settings=given)
    values = tomllib.loads((made.root / "misheard.toml").read_text(encoding="utf-8"))
    assert values == {**given, "speech": {"model": tiny}}
    assert made.settings.triggers.min_error_cases == 3


@pytest.mark.parametrize("name", ["with space", 'quote"', "back\\slash", "naïve", "ears 👂"])
def test_a_model_may_lie_under_any_name(tmp_path: Path, tiny: str, name: str) -> None:
    shutil.copytree(tiny, tmp_path / name)
    Workspace.create(tmp_path / "ws", model=str(tmp_path / name))
    assert Workspace.open(tmp_path / "ws").settings.speech.model == str(tmp_path / name)


@pytest.mark.parametrize("name", ["with space", "what?", "a#b", "50%20", "naïve 👂"])
def test_a_workspace_keeps_its_database_inside_whatever_it_is_called(
    tmp_path: Path, tiny: str, name: str
) -> None:
    Workspace.create(tmp_path / name, model=tiny)
    assert (tmp_path / name / "misheard.db").exists()
    assert Workspace.open(tmp_path / name).deployments.live().action == "deploy"


def test_a_second_workspace_in_one_place_is_refused(workspace: Workspace, tiny: str) -> None:
    with pytest.raises(WorkspaceExistsError):
        Workspace.create(workspace.root, model=tiny)


def test_a_file_in_the_way_is_refused_and_left_alone(tmp_path: Path, tiny: str) -> None:
    (tmp_path / "ws").write_text("mine", encoding="utf-8")
    with pytest.raises(WorkspaceExistsError, match="is a file"):
        Workspace.create(tmp_path / "ws", model=tiny)
    assert (tmp_path / "ws").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("model", ["nowhere", "bundled:other", "/no/such/model"])
def test_a_missing_model_makes_no_workspace(tmp_path: Path, model: str) -> None:
    with pytest.raises(ModelNotFoundError):
        Workspace.create(tmp_path / "ws", model=model)
    assert not (tmp_path / "ws").exists()


def test_an_unknown_setting_makes_no_workspace(tmp_path: Path, tiny: str) -> None:
    with pytest.raises(InvalidSettingError, match="triggers"):
        Workspace.create(tmp_path / "ws", model=tiny, settings={"triggers": {"min": 3}})
    assert not (tmp_path / "ws").exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"recipe": {"epoch": 3}},
        {"scoring": {"normalizer": "dutch"}},
        {"datasets": {"train_percent": 110, "validation_percent": -20}},
    ],
    ids=["recipe", "normalizer", "shares"],
)
def test_a_setting_that_no_room_can_take_makes_no_workspace(
    tmp_path: Path, tiny: str, settings: dict
) -> None:
    with pytest.raises(InvalidSettingError):
        Workspace.create(tmp_path / "ws", model=tiny, settings=settings)
    assert not (tmp_path / "ws").exists()


def test_a_creation_that_was_interrupted_is_started_again(tmp_path: Path, tiny: str) -> None:
    made = Workspace.create(tmp_path / "ws", model=tiny)
    # The settings file is written last; without it, the creation had not come to its end.
    (made.root / "misheard.toml").unlink()
    again = Workspace.create(tmp_path / "ws", model=tiny)
    assert len(again.deployments.history()) == 1


def test_a_directory_without_settings_is_no_workspace(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceNotFoundError, match="misheard init"):
        Workspace.open(tmp_path)


def test_a_workspace_of_a_newer_misheard_is_refused(workspace: Workspace) -> None:
    engine = open_engine(f"sqlite:///{workspace.root / 'misheard.db'}")
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(NewerSchemaError):
        Workspace.open(workspace.root)


def test_a_database_that_is_none_is_refused(workspace: Workspace) -> None:
    for path in workspace.root.glob("misheard.db-*"):
        path.unlink()
    (workspace.root / "misheard.db").write_bytes(b"garbage " * 999)
    with pytest.raises(WorkspaceNotFoundError):
        Workspace.open(workspace.root)


def test_one_bad_recording_and_nothing_is_transcribed_or_logged(
    workspace: Workspace, tone: Callable[..., bytes]
) -> None:
    before = set((workspace.root / "blobs").rglob("*"))
    samples = [Sample(data=tone(), reference=""), Sample(data=b"text" * 9, reference="", name="b")]
    with pytest.raises(NotAudioError, match="'b'"):
        workspace.transcribe(samples)
    assert workspace.inferences.count() == 0
    assert set((workspace.root / "blobs").rglob("*")) == before


def test_a_damaged_model_is_an_error_and_nothing_is_logged(
    workspace: Workspace, tone: Callable[..., bytes]
) -> None:
    with pytest.raises(MisheardError):
        workspace.transcribe([Sample(data=tone(), reference="")])
    assert workspace.inferences.count() == 0


def test_an_unknown_version_cannot_be_deployed(workspace: Workspace) -> None:
    with pytest.raises(UnknownIdError):
        workspace.deploy("v-x", actor="ann", reason="test")
    assert len(workspace.deployments.history()) == 1


def test_deploying_and_rolling_back_by_hand(workspace: Workspace, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "model.bin").write_text("other", encoding="utf-8")
    first = workspace.deployments.live().version_id
    second = workspace.registry.register(other, name="tiny", source="x", actor="ann").id
    assert workspace.deploy(second, actor="ann", reason="try").version_id == second
    assert workspace.roll_back(actor="ann", reason="worse").version_id == first


def test_which_directory_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert workspace_directory() == Path("data")
    (tmp_path / "misheard.toml").touch()
    assert workspace_directory() == Path()
    monkeypatch.setenv("MISHEARD_WORKSPACE", "/somewhere")
    assert workspace_directory() == Path("/somewhere")
    assert workspace_directory("given") == Path("given")


def test_who_is_acting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "login")
    assert current_actor() == "login"
    monkeypatch.setenv("MISHEARD_ACTOR", "ann")
    assert current_actor() == "ann"
    monkeypatch.delenv("MISHEARD_ACTOR")
    monkeypatch.delenv("USER")
    assert current_actor().startswith("uid ")
