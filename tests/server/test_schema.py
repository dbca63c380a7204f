"""The whole OpenAPI document, from outside: whatever is sent, the server keeps its word.

Schemathesis makes requests that the document allows and such that it does not, for every operation,
those that change things included, and looks at each answer: no 5xx; a status, headers, a media type
and a body as the document has them; a refusal of what is not valid, and of who sends no token.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from misheard.access.roles import Role
from misheard.server.app import create_app
from misheard.workspace import Workspace
from tests.postgres import Cluster
from tests.server.guarded import served
from tests.server.loop import furnished
from tests.serving.letters import make_letters

HERE = Path(__file__).parent
BEYOND_A_SCHEMA = "positive_data_acceptance"
"""What is refused for a reason of its own: a version that is pruned, a name that is taken."""


class Noting:
    """Notes the status of every answer of an application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.statuses: Counter[int] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.statuses[message["status"]] += 1
            await send(message)

        await self._app(scope, receive, sending)


@pytest.fixture(scope="module")
def models(bundled: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    letters = make_letters(tmp_path_factory.mktemp("letters"), bundled)
    (letters["B"] / "tuned.txt").write_text("tuned", encoding="utf-8")
    return letters["A"], letters["B"]


def real_ids(workspace: Workspace) -> dict[str, list[str]]:
    """Parameter → what it may be."""
    versions = [one.id for one in workspace.registry.listed()]
    inferences = [one.id for one in workspace.inferences.recent()]
    return {
        "inference_id": inferences,
        "id": inferences,
        "case_id": [one.id for one in workspace.cases.listed()],
        "cycle_id": [one.id for one in workspace.cycles.listed()],
        "version_id": versions,
        "to": versions,
        "validation_id": [one.id for one in workspace.validations.listed()],
        "dataset_id": [one.id for one in workspace.datasets.listed()],
        "name": ["benchmark", "validation", "performance"],
        "number": [str(one.number) for one in workspace.alerts.silences()],
    }


def run(folder: Path, workspace: Workspace, *options: str) -> Counter[int]:
    """Run Schemathesis against a server of `workspace`; the statuses that it was answered."""
    token, secret = workspace.tokens.create("asking", Role.ADMINISTER, actor="ann")
    told: dict[str, Any] = {"real": real_ids(workspace), "own": [token.id, token.name]}
    (folder / "real.json").write_text(json.dumps(told), encoding="utf-8")
    hooks = {"SCHEMATHESIS_HOOKS": "tests.server.real_ids"}
    environment = {**os.environ, **hooks, "MISHEARD_REAL_IDS": str(folder / "real.json")}
    environment["PYTHONPATH"] = f"{HERE.parents[1]}:{os.environ.get('PYTHONPATH', '')}"
    # Beside Python: not everyone who runs tests has activated its environment.
    program = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
    assert program is not None
    app = Noting(create_app(workspace))
    with served(app, lifespan="on") as port:
        command = [program, "run", f"http://127.0.0.1:{port}/openapi.json"]
        command += ["-H", f"Authorization: Bearer {secret}", "--generation-deterministic"]
        command += ["--exclude-checks", BEYOND_A_SCHEMA, "--continue-on-failure", "--no-color"]
        command += ["--suppress-health-check", "too_slow"]
        command += ["--request-timeout", "120", *options]
        ended = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
    assert ended.returncode == 0, ended.stdout[-20_000:] + ended.stderr[-2_000:]
    selected = re.search(r"Selected: (\d+)/(\d+)\s+Tested: (\d+)", ended.stdout)
    assert selected is not None and len(set(selected.groups())) == 1, ended.stdout[-3_000:]
    return app.statuses


def test_it_keeps_its_word_whatever_is_sent(tmp_path: Path, models: tuple[Path, Path]) -> None:
    workspace = furnished(tmp_path / "calls", models=models)
    statuses = run(tmp_path, workspace, "--phases", "coverage,fuzzing", "--max-examples", "8")
    assert {200, 201, 202, 204, 400, 401, 404, 405, 409, 422} <= statuses.keys()
    assert max(statuses) < 500


def test_it_does_on_postgresql_too(
    tmp_path: Path, models: tuple[Path, Path], postgres: Cluster
) -> None:
    url = postgres.new_database()
    there = url.render_as_string(hide_password=False)
    workspace = furnished(tmp_path / "calls", models=models, database_url=there)
    statuses = run(tmp_path, workspace, "--phases", "fuzzing", "--max-examples", "6")
    assert {200, 201, 404, 422} <= statuses.keys() and max(statuses) < 500
    postgres.drop(url)
