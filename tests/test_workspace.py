from __future__ import annotations

import math
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from misheard import audio
from misheard.cycle.states import CycleState
from misheard.database.engine import open_engine
from misheard.datasets.datasets import Dataset, Purpose
from misheard.datasets.manifest import Row
from misheard.datasets.samples import Sample, parse_samples
from misheard.datasets.split import Split
from misheard.errors import (
    BackupFailedError,
    EmptyDatasetError,
    GateRefusedError,
    InvalidSettingError,
    MisheardError,
    ModelNotFoundError,
    NewerSchemaError,
    NoEarlierVersionError,
    NotAudioError,
    NothingDeployedError,
    UnknownIdError,
    WorkspaceExistsError,
    WorkspaceNotFoundError,
)
from misheard.gates.contender import Contender
from misheard.speech.decoding import DecodingOptions
from misheard.speech.transcriber import no_progress
from misheard.workspace import Workspace, current_actor, workspace_directory
from tests import tiny as tiny_workspace


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
        {"scoring": {"normalizer": "no_such_module:function"}},
        {"scoring": {"equivalents": [["pbx", "p b x"], ["pbx", "switch"]]}},
        {"datasets": {"train_percent": 110, "validation_percent": -20}},
    ],
    ids=["recipe", "normalizer", "function", "equivalents", "shares"],
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
    with pytest.raises(GateRefusedError, match="has not passed validation"):
        workspace.deploy(second, actor="ann", reason="try")
    assert workspace.deployments.live().version_id == first
    made = workspace.deploy(second, actor="ann", reason="try", force=True)
    assert made.version_id == second
    assert workspace.roll_back(actor="ann", reason="worse").version_id == first
    again = workspace.deploy(second, actor="ann", reason="was live before")
    assert again.version_id == second


def version(workspace: Workspace, folder: Path, **given: Any) -> str:
    made = tiny_workspace.model(folder)
    return workspace.registry.register(made, name="tiny", source="x", actor="ann", **given).id


def test_a_version_whose_verdict_was_a_pass_is_deployed_and_one_that_failed_is_not(
    workspace: Workspace, tmp_path: Path
) -> None:
    good = version(workspace, tmp_path / "good", verdict={"passed": True})
    bad = version(workspace, tmp_path / "bad", verdict={"passed": False})
    assert (workspace.passed_validation(good), workspace.passed_validation(bad)) == (True, False)
    assert workspace.deploy(good, actor="ann", reason="passed").version_id == good
    before = tiny_workspace.rows(workspace)
    with pytest.raises(GateRefusedError, match=f"{bad} has not passed validation"):
        workspace.deploy(bad, actor="ann", reason="try")
    assert tiny_workspace.rows(workspace) == before
    assert len(workspace.backups.listed()) == 1


def test_a_verdict_of_ours_counts_before_one_that_was_told(tmp_path: Path) -> None:
    workspace = tiny_workspace.make(tmp_path / "ws")
    told = version(workspace, tmp_path / "told", verdict={"passed": True})
    assert workspace.passed_validation(told)
    validation = workspace.validations.run(
        workspace.contender(told),
        workspace.contender(workspace.deployments.live().version_id),
        tiny_workspace.hold_out(workspace),
    )
    assert not validation.verdict.passed
    assert not workspace.passed_validation(told)
    with pytest.raises(GateRefusedError):
        workspace.deploy(told, actor="ann", reason="try")


def test_a_database_copy_is_made_before_a_deployment_and_old_files_go_after_it(
    tmp_path: Path,
) -> None:
    settings = {"deployment": {"keep_previous_versions": 1}}
    workspace = tiny_workspace.make(tmp_path / "ws", **settings)
    first = workspace.deployments.live()
    second, third = (version(workspace, tmp_path / name) for name in ("second", "third"))
    workspace.deploy(second, actor="ann", reason="try", force=True)
    (copy,) = workspace.backups.listed()
    assert copy.name.endswith(f"-{first.number}.db")
    engine = open_engine(f"sqlite:///{copy}")
    with engine.connect() as connection:
        live = connection.execute(text("SELECT version_id FROM deployments")).scalars().all()
    assert live == [first.version_id]
    assert workspace.registry.get(first.version_id).pruned_at is None
    workspace.deploy(third, actor="ann", reason="try", force=True)
    assert workspace.registry.get(first.version_id).pruned_at is not None
    assert workspace.registry.get(second).pruned_at is None
    assert workspace.roll_back(actor="ann", reason="worse").version_id == second


def test_backups_can_be_switched_off(tmp_path: Path) -> None:
    settings = {"deployment": {"auto_backup_before_deploy": False}}
    workspace = tiny_workspace.make(tmp_path / "ws", **settings)
    workspace.deploy(version(workspace, tmp_path / "b"), actor="ann", reason="try", force=True)
    assert workspace.backups.listed() == []


def test_a_live_version_that_could_not_be_brought_back_is_not_replaced(
    workspace: Workspace, tmp_path: Path
) -> None:
    live = workspace.deployments.live()
    second = version(workspace, tmp_path / "second")
    key = workspace.registry.get(live.version_id).files["model.bin"]
    (blob,) = (path for path in (workspace.root / "blobs").rglob("*") if path.name == key)
    blob.chmod(0o644)
    blob.write_bytes(b"damaged")
    with pytest.raises(BackupFailedError, match="auto_backup_before_deploy"):
        workspace.deploy(second, actor="ann", reason="try", force=True)
    assert workspace.deployments.live() == live


def test_a_cycle_deploys_with_a_backup_before_it_and_lets_go_of_old_files_after(
    tmp_path: Path,
) -> None:
    settings = {"deployment": {"keep_previous_versions": 1}}
    workspace = tiny_workspace.make(tmp_path / "ws", **settings)
    tiny_workspace.hold_out(workspace)
    first = workspace.deployments.live().version_id
    for name in ("one", "two"):
        begun = tiny_workspace.begin_with_model(
            workspace, tmp_path / name, skip_validation=True, auto_deploy=True
        )
        assert workspace.cycles.run(begun.id).state is CycleState.DEPLOYED
    assert len(workspace.backups.listed()) == 1
    assert workspace.registry.get(first).pruned_at is not None
    assert {e.subject for e in workspace.audit.entries() if e.actor == "retention"} == {first}


def test_rolling_back_to_a_named_version_is_noted_on_both_cycles(tmp_path: Path) -> None:
    workspace = tiny_workspace.make(tmp_path / "ws")
    tiny_workspace.hold_out(workspace)
    first = workspace.deployments.live().version_id
    cycles = []
    for name in ("one", "two"):
        begun = tiny_workspace.begin_with_model(
            workspace, tmp_path / name, skip_validation=True, auto_deploy=True
        )
        cycles.append(workspace.cycles.run(begun.id))
    workspace.roll_back(actor="bob", reason="worse", to=first)
    assert workspace.deployments.live().version_id == first
    left = workspace.cycles.get(cycles[1].id)
    assert left.state is CycleState.ROLLED_BACK
    assert left.detail == "bob: worse"
    made = workspace.roll_back(actor="bob", reason="better", to=str(cycles[1].version_id))
    assert made.version_id == cycles[1].version_id
    assert workspace.cycles.get(cycles[1].id).state is CycleState.DEPLOYED
    with pytest.raises(NoEarlierVersionError, match="was never live"):
        workspace.roll_back(actor="bob", reason="x", to="v-never")
    with pytest.raises(NoEarlierVersionError, match="is what is live"):
        workspace.roll_back(actor="bob", reason="x", to=str(cycles[1].version_id))


def test_the_first_deployment_into_a_new_slot(workspace: Workspace, tmp_path: Path) -> None:
    live = workspace.deployments.live()
    other = version(workspace, tmp_path / "other")
    with pytest.raises(GateRefusedError):
        workspace.deploy(other, actor="ann", reason="try", slot="canary")
    # What is live in production is no stranger there, and none elsewhere either.
    with pytest.raises(GateRefusedError):
        workspace.deploy(live.version_id, actor="ann", reason="try", slot="canary")
    made = workspace.deploy(other, actor="ann", reason="try", slot="canary", force=True)
    assert (made.slot, made.version_id, made.undo_number) == ("canary", other, 0)
    assert workspace.deployments.live() == live
    assert workspace.deployments.live("canary") == made
    with pytest.raises(NoEarlierVersionError):
        workspace.roll_back(actor="ann", reason="worse", slot="canary")
    with pytest.raises(NothingDeployedError):
        workspace.deployments.live("nowhere")


def test_the_set_that_decides_is_the_newest_held_out_one_else_a_test_split(
    tmp_path: Path,
) -> None:
    workspace = tiny_workspace.make(tmp_path / "ws")
    with pytest.raises(EmptyDatasetError, match="misheard dataset hold-out"):
        workspace.held_out()

    def training(name: str, split: Split) -> Dataset:
        row = Row(
            audio_sha256="a" * 64,
            reference=name,
            split=split,
            kind="error",
            speaker_group="g",
            duration_s=1.0,
        )
        return workspace.datasets.add(name, Purpose.TRAINING, [row])

    training("old", Split.TRAIN)
    with pytest.raises(EmptyDatasetError):
        workspace.held_out()
    tested = training("tested", Split.TEST)
    training("new", Split.TRAIN)
    assert workspace.held_out() == tested
    tiny_workspace.hold_out(workspace, "suite", 2)
    assert workspace.held_out() == tested
    tiny_workspace.hold_out(workspace, count=3)
    newest = tiny_workspace.hold_out(workspace, count=4)
    assert workspace.held_out() == newest


def test_an_evaluation_set_needs_a_sample_and_the_same_ones_are_the_same_set(
    workspace: Workspace,
) -> None:
    with pytest.raises(EmptyDatasetError, match="'mine'"):
        workspace.evaluation_set("mine", [])
    first = tiny_workspace.hold_out(workspace, "mine", 3)
    assert tiny_workspace.hold_out(workspace, "mine", 3) == first
    assert tiny_workspace.hold_out(workspace, "mine", 2) != first


def test_other_settings_leave_the_file_and_the_workspace_as_they_were(
    workspace: Workspace,
) -> None:
    rooms = (workspace.cycles, workspace.suites, workspace.validations, workspace.cases)
    file = (workspace.root / "misheard.toml").read_bytes()
    before = workspace.settings
    other = workspace.configured(
        {
            "triggers": {"min_error_cases": 3, "require_approval": True},
            "regression": {"max_wer_degradation": 0.5},
            "recipe": {"epochs": 9},
        }
    )
    assert (workspace.root / "misheard.toml").read_bytes() == file
    assert workspace.settings == before
    assert (workspace.cycles, workspace.suites, workspace.validations, workspace.cases) == rooms
    rules = other.cycles._stages.rules
    assert (rules.triggers.min_error_cases, rules.triggers.require_approval) == (3, True)
    # What is not named stays.
    assert rules.triggers.min_corrected_cases == before.triggers.min_corrected_cases
    assert rules.recipe.epochs == 9
    assert other.suites.rules.max_wer_degradation == 0.5
    assert other.settings.validation == before.validation
    assert workspace.cycles._stages.rules.recipe.epochs != 9


def test_other_settings_see_the_same_rows_and_set_upon_each_other(workspace: Workspace) -> None:
    one = workspace.configured({"triggers": {"min_error_cases": 3}})
    two = one.configured({"triggers": {"min_corrected_cases": 2}, "deployment": {}})
    triggers = two.settings.triggers
    assert (triggers.min_error_cases, triggers.min_corrected_cases) == (3, 2)
    assert two.deployments.live() == workspace.deployments.live()
    (case_id,) = (two.cases.open(one_heard.id) for one_heard in tiny_workspace.heard(workspace, 1))
    assert workspace.cases.get(case_id).id == case_id


@pytest.mark.parametrize(
    "sections",
    [
        {"trigger": {"min_error_cases": 3}},
        {"triggers": {"min_errors": 3}},
        {"triggers": {"min_error_cases": "many"}},
        {"triggers": {"min_error_cases": 0}},
        {"triggers": {"error_rate_threshold": float("nan")}},
        {"datasets": {"train_percent": 90}},
        {"recipe": {"epoch": 3}},
        {"scoring": {"normalizer": "dutch"}},
    ],
    ids=str,
)
def test_settings_that_cannot_be_make_no_other_workspace(
    workspace: Workspace, sections: dict[str, Any]
) -> None:
    with pytest.raises(InvalidSettingError):
        workspace.configured(sections)


def test_other_ways_of_listening_load_the_model_anew_and_other_rules_do_not(
    workspace: Workspace,
) -> None:
    """A model that was loaded to decode otherwise must not answer for these settings."""
    loaded = workspace._load
    assert workspace.configured({"triggers": {"min_error_cases": 3}})._load is loaded
    assert workspace.configured({"speech": {"beam_size": 1}})._load is loaded
    assert workspace.configured({"speech": {"beam_size": 5}})._load is not loaded
    assert workspace._load is loaded


OPEN = """
import sys
from misheard.workspace import Workspace
sys.stdin.readline()
workspace = Workspace.open_or_create(sys.argv[1], actor="ann")
print(workspace.deployments.live().version_id)
"""


@pytest.mark.model
def test_processes_that_make_the_same_workspace_at_once_share_it(tmp_path: Path) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, str(tmp_path / "ws")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    answers = {child.communicate()[0] for child in children}
    assert [child.returncode for child in children] == [0, 0, 0]
    workspace = Workspace.open(tmp_path / "ws")
    assert answers == {workspace.deployments.live().version_id + "\n"}
    assert len(workspace.deployments.history()) == 1
    assert len(workspace.registry.listed()) == 1


def test_a_workspace_that_is_there_is_opened_as_it_is(workspace: Workspace) -> None:
    again = Workspace.open_or_create(workspace.root)
    assert again.settings == workspace.settings
    assert len(again.registry.listed()) == 1


def test_a_file_in_its_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "ws").write_text("mine", encoding="utf-8")
    with pytest.raises(MisheardError):
        Workspace.open_or_create(tmp_path / "ws")
    assert (tmp_path / "ws").read_text(encoding="utf-8") == "mine"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with the bundled model."""
    return Workspace.create(tmp_path_factory.mktemp("real") / "ws", actor="ann")


@pytest.mark.model
def test_a_version_is_a_plain_function_of_a_path_bytes_or_samples(
    real: Workspace, tmp_path: Path, short_prompts: list
) -> None:
    prompt = short_prompts[0]
    path = tmp_path / "prompt.gsm"
    path.write_bytes(prompt.data)
    function = real.transcribe_function(real.deployments.live().version_id)
    answers = [
        function(source)
        for source in (path, str(path), prompt.data, audio.decode(prompt.data).samples)
    ]
    (logged,) = real.transcribe([Sample(data=prompt.data, reference="")])
    assert [answer["transcript"] for answer in answers] == [logged.text] * 4
    assert logged.text
    for answer in answers:
        assert set(answer) == {"transcript", "confidence"}
        assert answer["confidence"] == pytest.approx(math.exp(logged.avg_logprob), abs=0.02)
        assert 0 < answer["confidence"] < 1
    # A function is no production: only the call of `transcribe` is in the log.
    assert real.inferences.count() == 1


@pytest.mark.model
def test_a_function_refuses_what_is_no_audio_and_an_unknown_version_has_none(
    real: Workspace, tmp_path: Path
) -> None:
    function = real.transcribe_function(real.deployments.live().version_id)
    for bad in (tmp_path / "nothing.wav", b"no audio" * 99, np.zeros((2, 2, 2)), None, [], "x" * 9):
        with pytest.raises(MisheardError):
            function(bad)
    with pytest.raises(UnknownIdError):
        real.transcribe_function("v-x")


@pytest.mark.model
def test_a_model_answers_by_the_settings_it_is_asked_under(
    real: Workspace, short_prompts: list
) -> None:
    version_id = real.deployments.live().version_id
    assert real.transcriber(version_id) is real.transcriber(version_id)
    same = real.configured({"triggers": {"min_error_cases": 3}})
    assert same.transcriber(version_id) is real.transcriber(version_id)
    wide = real.configured({"speech": {"beam_size": 4}})
    clip = audio.decode(short_prompts[0].data)
    heard = wide.transcriber(version_id)
    assert heard is not real.transcriber(version_id)
    assert heard.transcribe([clip])[0].text


def test_functions_hear_for_the_versions_they_are_set_for(tmp_path: Path) -> None:
    workspace = tiny_workspace.make(tmp_path / "ws")
    live = workspace.deployments.live().version_id
    other = version(workspace, tmp_path / "other")
    asked: list[str] = []
    workspace.functions.baseline = lambda path: asked.append(f"baseline {path}") or "press pound"

    def of_model(directory: str) -> Any:
        assert (Path(directory) / "model.bin").exists()
        return lambda path: {"transcript": f"by {Path(directory).name}"}

    workspace.functions.of_model = of_model
    rows = workspace.datasets.rows(tiny_workspace.hold_out(workspace, count=2))
    before, after = workspace.contender(live), workspace.contender(other)
    assert isinstance(before, Contender)
    assert isinstance(after, Contender)
    assert (before.id, after.id) == (live, other)
    assert [one.text for one in before.hypothesise(rows, no_progress)] == ["press pound"] * 2
    assert [one.text for one in after.hypothesise(rows, no_progress)] == [f"by {other}"] * 2
    assert len(asked) == 2
    workspace.functions.baseline = workspace.functions.of_model = None
    assert workspace.contender(live) == live
    assert workspace.contender(other) == other


def test_a_function_is_given_the_very_paths_and_arrays_of_the_samples(
    workspace: Workspace, tmp_path: Path
) -> None:
    path = tmp_path / "one.wav"
    path.write_bytes(tiny_workspace.tone(1))
    array = np.linspace(-0.5, 0.5, 4_000, dtype=np.float32)
    samples = parse_samples(
        [
            {"audio": str(path), "text": "one"},
            {"audio": array, "text": "two"},
            {"audio": tiny_workspace.tone(3), "text": "three"},
        ]
    )
    given: list[Any] = []
    contender = workspace.function_contender("mine", lambda x: given.append(x) or "x", samples)
    rows = workspace.datasets.rows(workspace.evaluation_set("mine", samples))
    contender.hypothesise(rows, no_progress)
    by_text = dict(zip((row.reference for row in rows), given, strict=True))
    assert by_text["one"] == str(path)
    assert by_text["two"] is array
    # Bytes have no place of their own, so they get one for as long as the call lasts.
    assert by_text["three"].endswith(".wav")
    assert not Path(by_text["three"]).exists()


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


def test_a_longer_table_of_equivalents_moves_no_sentence_to_another_split(tmp_path: Path) -> None:
    workspace = tiny_workspace.make(tmp_path / "ws")
    tiny_workspace.correct(workspace, tiny_workspace.heard(workspace, 30), words="mister pump")
    table = [["old pump", "mister pump"]]
    grown = workspace.configured({"scoring": {"equivalents": table}})
    assert grown.normalizer("mister pump 3") == "old pump 3"

    def splits(of: Workspace) -> dict[str, str]:
        return {row.audio_sha256: row.split for row in of.cycles._stages._built().rows}

    assert len(set(splits(workspace).values())) > 1
    assert splits(grown) == splits(workspace)


def test_without_settings_the_gates_decode_as_the_engine_does_and_as_before(tmp_path: Path) -> None:
    workspace = tiny_workspace.make(tmp_path / "ws")
    assert workspace.decoding() == DecodingOptions()
    assert workspace.hypotheses._decoding == "en beam=1 int8 retry=8"


def test_another_way_of_decoding_has_another_name(tmp_path: Path) -> None:
    workspace = tiny_workspace.make(tmp_path / "ws")
    ways: list[dict[str, Any]] = [
        {},
        {"prompt": "Voicemail."},
        {"hotwords": "Voicemail."},
        {"temperatures": [0.0, 0.4]},
        {"retry_margin_s": 0.0},
        {"doubt_threshold": -0.4},
        {"language": "auto"},
        {"beam_size": 2},
    ]
    names = [workspace.configured({"speech": way}).hypotheses._decoding for way in ways]
    assert len(set(names)) == len(ways)
    assert workspace.configured({"speech": {"batch_size": 3}}).hypotheses._decoding == names[0]
    made = workspace.configured({"speech": {"temperatures": [0.0, 0.4], "prompt": "Hi."}})
    assert made.decoding(language="de") == DecodingOptions(
        temperatures=(0.0, 0.4), prompt="Hi.", language="de"
    )


@pytest.mark.model
def test_one_call_may_ask_for_more_than_is_set(real: Workspace, short_prompts: list) -> None:
    recording = audio.Recording(data=short_prompts[0].data)
    ((logged, heard),) = real.hear([recording], word_timestamps=True)
    assert (heard.text, heard.language) == (logged.text, "en")
    assert [word.text for word in heard.words]
    assert real.transcribe([recording])[0].text == logged.text
    before = real.inferences.count()
    with pytest.raises(InvalidSettingError, match=r"speech\.language"):
        real.hear([recording], language="de")
    assert real.inferences.count() == before
