"""The tables of the reference pages say what the code does."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from misheard.cycle.states import CycleState
from misheard.datasets import quality
from misheard.workspace import Workspace
from src.data.finetuning_coordinator import FinetuningCoordinator, _status
from src.data.finetuning_orchestrator import _STATUS
from tests.guide_docs.conftest import ROOT
from tests.tiny import model

REFERENCE = (ROOT / "docs" / "API_REFERENCE.md").read_text(encoding="utf-8")
LOOP = (ROOT / "docs" / "FINETUNING_ORCHESTRATION.md").read_text(encoding="utf-8")
MODULES = sorted(path.stem for path in (ROOT / "src" / "data").glob("[a-z]*.py"))


def classes() -> Iterator[type]:
    """Every public class of `src/data/`."""
    for name in MODULES:
        module = importlib.import_module(f"src.data.{name}")
        for value in vars(module).values():
            if inspect.isclass(value) and value.__module__ == module.__name__:
                yield value


def call_of(name: str, function: Any) -> str:
    """A signature without its annotations, as the page writes it."""
    parameters = [
        one.replace(annotation=inspect.Parameter.empty)
        for one in inspect.signature(function).parameters.values()
        if one.name != "self"
    ]
    bare = inspect.Signature(parameters)
    return f"`{name}{bare}`"


RECORDS = [one for one in classes() if dataclasses.is_dataclass(one)]
CONFIGS = [one for one in RECORDS if one.__name__.endswith("Config")]
OTHERS = [one for one in classes() if not dataclasses.is_dataclass(one)]


def test_the_reference_has_every_class() -> None:
    assert (len(OTHERS), len(CONFIGS), len(RECORDS)) == (7, 4, 9)
    for one in [*OTHERS, *RECORDS]:
        assert f"`{one.__name__}" in REFERENCE, one
    for one in OTHERS:
        assert f"\n## {one.__name__}\n" in REFERENCE
        assert f"`{one.__module__}`" in REFERENCE


@pytest.mark.parametrize("owner", OTHERS, ids=lambda one: one.__name__)
def test_the_reference_has_every_method_with_its_defaults(owner: type) -> None:
    assert call_of(owner.__name__, owner.__init__) in REFERENCE  # type: ignore[misc]
    _, _, section = REFERENCE.partition(f"\n## {owner.__name__}\n")
    section = section.partition("\n## ")[0]
    methods = {
        name: value
        for name, value in vars(owner).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }
    for name, function in methods.items():
        assert f"\n| {call_of(name, function)} |" in section
    documented = set(re.findall(r"^\| `(\w+)\(", section, re.MULTILINE))
    assert documented == set(methods)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda one: one.__name__)
def test_the_reference_has_every_option_with_its_default(config: type) -> None:
    _, _, table = REFERENCE.partition(f"| `{config.__name__}` | default |")
    documented = re.findall(r"^\| `(\w+)` \| `(.*?)` \|", table.partition("\n\n")[0], re.MULTILINE)
    assert documented == [(one.name, repr(one.default)) for one in dataclasses.fields(config)]


@pytest.mark.parametrize("record", RECORDS, ids=lambda one: one.__name__)
def test_the_reference_has_every_field_of_every_record(record: type) -> None:
    for one in dataclasses.fields(record):
        assert f"`{one.name}`" in REFERENCE, one.name


def test_the_reference_has_every_key_of_every_dict(tmp_path: Path) -> None:
    folder = tmp_path / "calls"
    Workspace.create(folder, model=str(model(tmp_path / "first")))
    coordinator = FinetuningCoordinator(storage_dir=folder, use_gcs=False)
    tracker = coordinator.metadata_tracker
    checked = coordinator.orchestrator.check_trigger_conditions()
    untriggered = coordinator.run_complete_workflow()
    begun = coordinator.orchestrator.create_finetuning_job()
    status = coordinator.get_system_status()
    (workflow,) = status["workflows"]["recent"]
    assert workflow["job_id"] == begun.job_id
    report = coordinator.regression_tester.generate_regression_report()
    dicts = [
        checked,
        checked["metrics"],
        untriggered,
        untriggered["stages"],
        *workflow["stages"].values(),
        coordinator.orchestrator.get_orchestration_status(),
        status,
        status["workflows"],
        coordinator.validator.generate_validation_report(),
        coordinator.deployer.generate_deployment_report(),
        coordinator.deployer.get_deployment_history()[0],
        report,
        report["degradation_stats"],
        report["degradation_stats"]["wer"],
        coordinator.regression_tester.run_test_suite("mine", str),
        tracker.get_performance_trend(),
        tracker.get_inference_statistics(),
        tracker.get_learning_summary(),
        tracker.generate_performance_report(),
    ]
    for one in dicts:
        assert one
        for key in one:
            assert f"`{key}`" in REFERENCE, key


def test_the_table_of_states_is_the_codes_own(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "calls", model=str(model(tmp_path / "first")))
    cycle = workspace.cycles.begin(actor="ann", force=True)
    assert cycle is not None

    def workflow(state: CycleState) -> list[str]:
        before = ("converted", "validated") if state is CycleState.REFUSED else ("",)
        return [_status(dataclasses.replace(cycle, state=state), one) for one in before]

    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (`.*?`) \|", LOOP, re.MULTILINE)
    told = {state: (job, re.findall(r"`(\w+)`", words)) for state, job, words in rows}
    assert told == {state.value: (_STATUS[state], workflow(state)) for state in CycleState}


def test_the_table_of_flaws_is_the_codes_own() -> None:
    found = set(re.findall(r'found\.append\("(.*?)"\)', inspect.getsource(quality)))
    _, _, table = LOOP.partition("| flaw | what it means |")
    assert set(re.findall(r"^\| ([a-z ,]+?) \|", table.partition("\n\n")[0], re.MULTILINE)) == found


def test_the_loop_page_explains_every_option() -> None:
    bucket = {"deployment_strategy", "sync_to_gcs", "gcs_models_prefix"}
    names = {one.name for config in CONFIGS for one in dataclasses.fields(config)} - bucket
    assert len(names) > 25
    for name in sorted(names):
        assert re.search(rf"\b{name}\b", LOOP), name
