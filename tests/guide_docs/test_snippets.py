"""Every Python snippet of the guides, pasted in order, on real models."""

from __future__ import annotations

import ast
import logging
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from misheard.errors import MisheardError
from misheard.workspace import Workspace
from src.data.model_validator import ModelValidator, ValidationConfig, ValidationResult
from tests.emulators import GcsEmulator, running
from tests.guide_docs.conftest import GIVEN, OURS, ROOT, names_made_in, paste, snippets
from tests.guide_docs.test_commands import SHOW, in_a_terminal

pytestmark = pytest.mark.model

needs_given = pytest.mark.skipif(
    not GIVEN.exists(), reason=f"'{GIVEN.parent.name}/{GIVEN.name}' is not beside this checkout"
)

# The given guide has two placeholders; this is what stands in their place.
MODEL_PATH = "/path/to/model"
SAME_CALL = """validate_model(
    model_id="finetuned_v1",
    model_transcribe_fn=model_transcribe,
    baseline_id="baseline_v1",
    baseline_transcribe_fn=baseline_transcribe,
)"""


def given(model_path: str) -> list[str]:
    """The snippets of the guide as the user gave it, with its placeholders filled in."""
    found = snippets(GIVEN)
    text = "".join(found)
    assert MODEL_PATH in text
    assert "validate_model(...)" in text
    return [
        one.replace(MODEL_PATH, model_path).replace("validate_model(...)", SAME_CALL)
        for one in found
    ]


@pytest.fixture(scope="module")
def real(copy_of_filled: Callable[[str], Path]) -> dict[str, Any]:
    """The three names that the given guide expects its reader to have, and a model's directory."""
    folder = copy_of_filled("real")
    workspace = Workspace.open(folder / "data")
    tuned = workspace.registry.get(workspace.deployments.live().version_id)
    model = workspace.transcribe_function(tuned.id)
    baseline = workspace.transcribe_function(str(tuned.parent_id))
    validator = ModelValidator(
        config=ValidationConfig(
            min_wer_improvement=-1.0,
            min_cer_improvement=-1.0,
            max_wer_degradation_rate=1.0,
            require_significance=False,
            require_no_major_degradation=False,
        ),
        evaluation_data_path=folder / "data" / "evaluation" / "test.jsonl",
        storage_dir=folder / "data",
        use_gcs=False,
    )
    result = validator.validate_model("finetuned_v1", model, "baseline_v1", baseline)
    assert result.passed, result.failure_reason
    return {
        "model_transcribe": model,
        "baseline_transcribe": baseline,
        "validation_result": result,
        "directory": str(workspace.registry.directory(tuned.id).resolve()),
    }


def named(real: dict[str, Any]) -> dict[str, Any]:
    names = ("model_transcribe", "baseline_transcribe", "validation_result")
    return {"__name__": "guide"} | {name: real[name] for name in names}


@pytest.fixture(scope="module")
def given_pasted(
    real: dict[str, Any],
    copy_of_filled: Callable[[str], Path],
    pasting: Callable[[Path], None],
) -> tuple[Path, dict[str, Any]]:
    folder = copy_of_filled("given")
    pasting(folder)
    namespace = named(real)
    with google("your-project-id", "production-project"):
        for number, snippet in enumerate(given(real["directory"]), 1):
            paste(snippet, namespace, f"the given guide, snippet {number}")
    return folder, namespace


@contextmanager
def google(*projects: str) -> Iterator[None]:
    """What the guide has its reader do first: a login, a project, its two buckets."""
    emulator = GcsEmulator()
    with running(emulator), pytest.MonkeyPatch.context() as patch:
        for name, value in emulator.environment.items():
            patch.setenv(name, value)
        patch.setenv("GOOGLE_CLOUD_PROJECT", projects[0])
        for project in projects:
            for what in ("datasets", "models"):
                emulator.new_bucket(f"{project}-{what}")
        yield


@pytest.fixture
def given_guide(
    given_pasted: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """What the names of the given guide stand for once all of it was pasted."""
    monkeypatch.chdir(given_pasted[0])
    return given_pasted[1]


@needs_given
def test_the_given_guide_runs_as_written(given_guide: dict[str, Any]) -> None:
    assert given_guide["trigger_result"]["should_trigger"] is False
    assert given_guide["job"].status == "ready"
    result = given_guide["result"]
    assert isinstance(result, ValidationResult)
    assert result.num_samples == len(result.per_sample_results) > 5
    assert 0 < result.baseline_wer < 1


@needs_given
def test_the_given_guide_deploys_its_model_and_is_back_where_it_was(
    given_guide: dict[str, Any],
) -> None:
    deployer, made = given_guide["deployer"], given_guide["version_id"]
    log = [(one["action"], one["version_id"]) for one in deployer.get_deployment_history()]
    # Newest first: deployed, rolled back, and at the end of the guide rolled back once more.
    (again, base), (back, before), (deployed, drilled) = log[:3]
    assert (again, back, deployed) == ("rollback", "rollback", "deploy")
    assert drilled == made
    assert len({made, before, base}) == 3
    assert deployer.get_active_version().version_id == base


@needs_given
def test_the_given_guides_suite_runs_every_test_on_the_real_model(
    given_guide: dict[str, Any],
) -> None:
    results = given_guide["results"]
    assert results["total_tests"] == len(results["results"]) > 1
    assert results["passed"] + results["failed"] == results["total_tests"]
    (ours,) = (one for one in results["results"] if one["test_id"] == given_guide["test_id"])
    assert ours["baseline_wer"] == 0.15
    assert ours["num_samples"] == 12
    assert math.isclose(ours["wer_degradation"], ours["model_wer"] - 0.15)


@needs_given
def test_the_given_guides_coordinator_has_its_files_in_the_buckets(
    given_guide: dict[str, Any],
) -> None:
    assert given_guide["coordinator"].workspace.settings.storage.buckets == (
        "gs://production-project-datasets",
        "gs://production-project-models/deployed_models",
    )
    assert (
        given_guide["tracker"].workspace.settings.storage.blobs == "gs://your-project-id-datasets"
    )


@needs_given
def test_the_given_guides_figures_are_those_of_the_workspace(given_guide: dict[str, Any]) -> None:
    assert given_guide["wer_trend"]["count"] >= 2
    assert given_guide["stats"]["total_inferences"] > 0
    assert given_guide["validation_report"]["total_validations"] >= 2
    assert given_guide["deployment_report"]["total_versions"] == 3
    assert given_guide["regression_report"]["registered_tests"] > 1
    assert given_guide["status"]["workflows"]["total"] == 2


@pytest.fixture(scope="module")
def our_pasted(
    copy_of_filled: Callable[[str], Path], pasting: Callable[[Path], None]
) -> tuple[Path, dict[str, Any]]:
    folder = copy_of_filled("ours")
    pasting(folder)
    namespace: dict[str, Any] = {"__name__": "guide"}
    with google("your-project-id"):
        for number, snippet in enumerate(snippets(OURS), 1):
            paste(snippet, namespace, f"docs/QUICK_START.md, snippet {number}")
    return folder, namespace


@pytest.fixture
def our_guide(
    our_pasted: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """What the names of docs/QUICK_START.md stand for once all of it was pasted."""
    monkeypatch.chdir(our_pasted[0])
    return our_pasted[1]


def test_our_guide_keeps_what_was_reported(our_guide: dict[str, Any]) -> None:
    case = our_guide["data_manager"].get_failed_case(our_guide["case_id"])
    assert case.corrected_transcript == "Agent logged in."
    assert case.metadata == {"call": "a test"}


def test_our_guides_job_waits_is_approved_and_cancelled(our_guide: dict[str, Any]) -> None:
    job, forced = our_guide["job"], our_guide["forced"]
    assert (job.status, forced.status) == ("ready", "ready")
    cycles = our_guide["data_manager"].workspace.cycles
    assert [step.to_state for step in cycles.steps(job.job_id)] == [
        "proposed",
        "triggered",
        "dataset",
        "cancelled",
    ]


def test_our_guide_compares_two_real_models(our_guide: dict[str, Any]) -> None:
    result = our_guide["result"]
    assert 0 < result.baseline_wer < 1
    assert result.num_samples == len(result.per_sample_results) > 5
    assert any(one["candidate"] != one["baseline"] for one in result.per_sample_results)
    assert our_guide["results"]["total_tests"] > 1


def test_our_guide_leaves_live_what_was_live(our_guide: dict[str, Any]) -> None:
    assert our_guide["deployer"].get_active_version() == our_guide["live"]


@needs_given
def test_our_guide_makes_every_call_of_the_given_one() -> None:
    called = {name for one in snippets(GIVEN) for name in calls_in(one)}
    assert len(called) > 20
    assert called <= {name for one in snippets(OURS) for name in calls_in(one)}


def calls_in(snippet: str) -> set[str]:
    """The names of the methods and classes that a snippet calls, with those of its keywords."""
    found = set()
    for node in ast.walk(ast.parse(snippet)):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            found.add(name)
            found |= {f"{name}({one.arg})" for one in node.keywords}
    return found


EMPTY_GIVEN = {
    "validate_model(": "Nothing was held out",
    "register_model(": "neither a directory nor a file",
    "register_test(": r"data/evaluation/test\.jsonl",
    "use_gcs=True": "gcloud auth",
}
EMPTY_OURS = {
    "store_failed_case(": r"agent-loginok\.gsm",
    "transcribe_function(live.parent_version)": "no version",
    "use_gcs=True": "gcloud auth",
}
"""What a snippet does first that cannot be done in an empty workspace, and what it then says."""


def paste_into_empty(
    found: list[str], namespace: dict[str, Any], expected: dict[str, str]
) -> list[str]:
    """Paste all; the messages of those that ended in an error, each as it was expected."""
    missing: set[str] = set()
    ended = []
    for number, snippet in enumerate(found, 1):
        try:
            paste(snippet, namespace, f"snippet {number}")
        except NameError as error:
            assert error.name in missing, f"snippet {number}: {error}"
        except MisheardError as error:
            ended.append(str(error))
            wanted = [text for call, text in expected.items() if call in snippet]
            assert any(re.search(text, str(error)) for text in wanted), f"snippet {number}: {error}"
        missing |= names_made_in(snippet) - set(namespace)
    return ended


@needs_given
def test_the_given_guide_says_what_an_empty_workspace_lacks(
    real: dict[str, Any], pasting: Callable[[Path], None], tmp_path: Path
) -> None:
    pasting(tmp_path)
    namespace = named(real)
    ended = paste_into_empty(given(MODEL_PATH), namespace, EMPTY_GIVEN)
    # Twice the validation, three times the bucket, the model and the list.
    assert len(ended) == 7
    assert namespace["trigger_result"]["should_trigger"] is False
    assert math.isnan(namespace["trigger_result"]["metrics"]["estimated_error_rate"])
    assert namespace["job"].status == "failed"
    assert "would hold no utterance" in namespace["job"].error_message
    assert namespace["status"]["validation"]["total_validations"] == 0
    assert [one.status for one in namespace["deployer"].list_versions()] == ["deployed"]


def test_our_guide_says_what_an_empty_workspace_lacks(
    pasting: Callable[[Path], None], tmp_path: Path
) -> None:
    pasting(tmp_path)
    namespace: dict[str, Any] = {"__name__": "guide"}
    ended = paste_into_empty(snippets(OURS), namespace, EMPTY_OURS)
    assert len(ended) == 3
    assert namespace["job"] is None
    assert namespace["forced"].status == "failed"


@pytest.mark.parametrize(
    "name", ["FINETUNING_ORCHESTRATION.md", "API_REFERENCE.md", "TESTING_GUIDE.md"]
)
def test_the_snippets_of_the_other_pages_run(
    name: str,
    copy_of_filled: Callable[[str], Path],
    pasting: Callable[[Path], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    page = ROOT / "docs" / name
    pasting(copy_of_filled(page.stem))
    found = snippets(page)
    assert found
    namespace: dict[str, Any] = {"__name__": "page"}
    with caplog.at_level(logging.INFO):
        for number, snippet in enumerate(found, 1):
            paste(snippet, namespace, f"{name}, snippet {number}")


def test_print_status_of_a_filled_workspace_is_whole_at_80(
    copy_of_filled: Callable[[str], Path],
) -> None:
    folder = copy_of_filled("shown")
    workspace = Workspace.open(folder / "data")
    shown = in_a_terminal(80, "-c", SHOW, str(ROOT), str(folder / "data"))
    for version in workspace.registry.listed():
        assert version.id in shown
    assert "WER" in shown
    assert all(len(line) <= 80 for line in shown.splitlines() if not line.startswith("Next:"))
