"""Which routes need a token, and whose name feedback bears."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from misheard.access.roles import Role
from misheard.database.engine import writing
from misheard.workspace import Workspace
from tests.conftest import make_wav
from tests.server.site import TRANSCRIPTIONS, Site, site
from tests.serving.letters import PATIENCE_S, make


@pytest.fixture(scope="module")
def guarded(letters: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    workspace = make(tmp_path_factory.mktemp("guarded") / "ws", letters)
    workspace.tokens.create("nobody", Role.TRANSCRIBE, actor="ann")
    with site(workspace) as made:
        yield made


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json"])
def test_whoever_watches_it_needs_no_token(guarded: Site, path: str) -> None:
    with guarded.http() as http:
        assert http.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/x", "/metrics", "/"])
def test_all_else_does(guarded: Site, path: str) -> None:
    with guarded.http() as http:
        answer = http.get(path)
        assert answer.status_code == 401
        assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_recording_is_refused_before_it_is_read(guarded: Site) -> None:
    with guarded.http() as http:
        answer = http.post(TRANSCRIPTIONS, files={"file": b"x" * 1_000_000})
        assert answer.status_code == 401
        assert http.post("/v1/feedback", json={"id": "x", "right": True}).status_code == 401


def test_feedback_bears_the_name_of_the_token(guarded: Site) -> None:
    _, secret = guarded.workspace.tokens.create("phones", Role.TRANSCRIBE, actor="ann")
    with guarded.client(api_key=secret) as client:
        heard = client.audio.transcriptions.create(
            file=("a.wav", make_wav(seconds=0.3)), model="whisper-1"
        )
        assert client.models.retrieve("whisper-1").id == "whisper-1"
    with guarded.http(headers={"Authorization": f"Bearer {secret}"}) as http:
        sent = {"id": heard.to_dict()["id"], "text": "Press one."}
        assert http.post("/v1/feedback", json=sent).status_code == 200
        assert http.get("/metrics").status_code == 200
    (given,) = guarded.workspace.cases.corrections()
    assert given.author == "phones"


def test_when_it_stops_it_is_noted_which_tokens_were_used(
    letters: dict[str, Path], tmp_path: Path
) -> None:
    workspace = make(tmp_path / "ws", letters)
    _, secret = workspace.tokens.create("phones", Role.TRANSCRIBE, actor="ann")
    with (
        ThreadPoolExecutor(1) as pool,
        site(workspace) as made,
        made.http(headers={"Authorization": f"Bearer {secret}"}) as http,
    ):
        locked, over = threading.Event(), threading.Event()
        pool.submit(hold, workspace, locked, over)
        assert locked.wait(PATIENCE_S)
        try:
            assert http.get("/v1/models").status_code == 200
            assert workspace.tokens.listed()[0].last_used_at is None
        finally:
            # While it stops.
            threading.Timer(1.0, over.set).start()
    assert workspace.tokens.listed()[0].last_used_at is not None


def hold(workspace: Workspace, locked: threading.Event, over: threading.Event) -> None:
    with writing(workspace._engine):
        locked.set()
        over.wait(PATIENCE_S)
