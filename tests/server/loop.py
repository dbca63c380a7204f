"""A workspace with something in every room, and a client of its server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from misheard.access.roles import Role
from misheard.cases.records import Correction
from misheard.cycle.options import CycleOptions
from misheard.cycle.states import CycleState
from misheard.database.engine import now
from misheard.gates.suites import SuiteKind
from misheard.monitoring.conditions import Condition, Health, Rule
from misheard.server.app import create_app
from misheard.settings import FILE_NAME
from misheard.workspace import Workspace
from tests import tiny
from tests.postgres import Cluster

HERE = "http://127.0.0.1:8000"


def furnished(
    folder: Path, *, database_url: str = "", models: tuple[Path, Path] | None = None
) -> Workspace:
    """Two cycles, one of them live after a validation and a suite; cases, alerts, a silence.

    `models` are that of the first version and a better one, which has a file `tuned.txt`.
    """
    first, better = models or (
        tiny.model(folder.parent / f"{folder.name}-first"),
        tiny.model(folder.parent / f"{folder.name}-tuned", tuned=True),
    )
    sections: dict[str, Any] = {
        "triggers": tiny.TRIGGERS,
        "capture": {"audit_share": 1.0, "min_suspicion": 0.0},
        "database": {"url": database_url},
        "validation": tiny.UNTIMED,
    }
    workspace = tiny.with_functions(
        Workspace.create(folder, model=str(first), settings=sections, actor="ann")
    )
    held_out = tiny.hold_out(workspace)
    workspace.suites.add("benchmark", SuiteKind.BENCHMARK, held_out)
    heard = tiny.heard(workspace, 12)
    tiny.correct(workspace, heard[:4])
    workspace.cases.correct(
        [Correction(inference_id=heard[4].id, reference="press pound", author="bob")]
    )
    workspace.cases.open(heard[5].id, ["reported"], suspicion=0.7, details={"ticket": 12})
    workspace.digest.catch_up()
    options = CycleOptions(model_directory=str(better))
    cycle = workspace.cycles.begin(actor="ann", force=True, approved=True, options=options)
    assert cycle is not None
    assert workspace.cycles.run(cycle.id).state is CycleState.AWAITING_APPROVAL
    workspace.cycles.approve(cycle.id, actor="ann", reason="heard it")
    proposed = workspace.cycles.begin(actor="ann", force=True, approved=False)
    assert proposed is not None and proposed.state is CycleState.PROPOSED
    at = now() - timedelta(minutes=5)
    wrong = [
        Condition(rule=rule, subject="v-1", health=Health.BAD, detail=f"{rule} is bad")
        for rule in (Rule.LATENCY, Rule.DISK, Rule.NO_TRAFFIC)
    ]
    workspace.alerts.note(wrong, at)
    workspace.alerts.note(wrong[:2], at + timedelta(seconds=1))
    workspace.alerts.silence("disk", until=now() + timedelta(hours=2), actor="ann", reason="moving")
    return workspace


def client_of(workspace: Workspace, secret: str | None = None) -> TestClient:
    """Asks a server of `workspace` from this machine; it has loaded no model."""
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    app = create_app(workspace)
    return TestClient(app, base_url=HERE, client=("127.0.0.1", 50_000), headers=headers)


def token(workspace: Workspace, role: Role) -> str:
    """The secret of a new token."""
    return workspace.tokens.create(f"{role}-token", role, actor="ann")[1]


@pytest.fixture(scope="session")
def furnished_on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return furnished(tmp_path_factory.mktemp("loop") / "calls")


@pytest.fixture(scope="session")
def furnished_on_postgresql(
    tmp_path_factory: pytest.TempPathFactory, postgres: Cluster
) -> Workspace:
    url = postgres.new_database().render_as_string(hide_password=False)
    return furnished(tmp_path_factory.mktemp("loop") / "calls", database_url=url)


@pytest.fixture
def looked_at(database: str, request: pytest.FixtureRequest) -> Workspace:
    """One for all tests that change nothing."""
    made: Workspace = request.getfixturevalue(f"furnished_on_{database}")
    return made


@pytest.fixture
def workspace(looked_at: Workspace, request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A copy of it."""
    yield from copied(looked_at, tmp_path / "calls", request)


def copied(given: Workspace, target: Path, request: pytest.FixtureRequest) -> Iterator[Workspace]:
    for engine in (given._engine, given._log_engine, given._token_engine):
        engine.dispose()
    shutil.copytree(given.root, target, symlinks=True)
    known = given.settings.database.url
    if not known:
        yield tiny.with_functions(Workspace.open(target))
        return
    server: Cluster = request.getfixturevalue("postgres")
    url = server.new_database(like=given._engine.url)
    file = target / FILE_NAME
    text = file.read_text(encoding="utf-8")
    assert known in text
    there = url.render_as_string(hide_password=False)
    file.write_text(text.replace(known, there), encoding="utf-8")
    made = tiny.with_functions(Workspace.open(target))
    yield made
    for engine in (made._engine, made._log_engine, made._token_engine):
        engine.dispose()
    server.drop(url)
