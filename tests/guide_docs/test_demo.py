"""The demo that the guide names, on a dozen clips a split with real training."""

from __future__ import annotations

from pathlib import Path

import pytest

from misheard.cycle.states import CycleState
from misheard.workspace import Workspace
from tests.guide_docs.conftest import SAID

COMPONENTS = (
    "Data Manager",
    "Fine-Tuning Orchestrator",
    "Model Validator",
    "Regression Tester",
    "Model Deployer",
    "Complete Workflow Coordinator",
)


@pytest.mark.model
@pytest.mark.parametrize("component", COMPONENTS)
def test_the_demo_names_each_component_as_it_runs(filled: Path, component: str) -> None:
    said = (filled / SAID).read_text(encoding="utf-8")
    assert any(line.startswith(component) for line in said.splitlines())


@pytest.mark.model
def test_the_demo_trains_deploys_rolls_back_and_reports(filled: Path) -> None:
    workspace = Workspace.open(filled / "data")
    newest = workspace.cycles.latest()
    assert newest is not None
    assert newest.state is CycleState.DEPLOYED
    job = workspace.jobs.get(str(newest.job_id))
    assert (job.result or {})["training_clips"] > 0
    assert "rollback" in [one.action for one in workspace.deployments.history()]
    for name in ("validation", "regression", "deployment", "performance"):
        assert (filled / "data" / f"{name}.html").stat().st_size > 1_000
        assert (filled / "data" / f"{name}.json").stat().st_size > 100
    assert "Critical Benchmark" in [suite.name for suite in workspace.suites.listed()]
