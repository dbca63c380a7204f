"""Every error is a problem that says what to do, and nothing of the machine it happened on."""

from __future__ import annotations

import inspect
import logging
import tempfile
from pathlib import Path
from typing import Annotated

import pytest
from fastapi import FastAPI, Query
from starlette.testclient import TestClient

from misheard import errors
from misheard.errors import MisheardError
from misheard.server import places
from misheard.server.app import create_app
from misheard.server.problems import MEDIA_TYPE, Incidents, add_problems, problem_of
from tests import tiny

CLASSES = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, MisheardError)
]


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = FastAPI()
    add_problems(app)
    app.add_middleware(Incidents)

    @app.get("/raises/{name}")
    def raises(name: str, detail: str = "'a.wav' is 3 bytes.") -> None:
        raise getattr(errors, name)(detail)

    @app.get("/breaks")
    def breaks() -> None:
        raise RuntimeError("/srv/secret/file")

    @app.get("/v1/counts")
    @app.get("/counts")
    def counts(many: Annotated[int, Query(le=10)], also: int = 0) -> int:
        return many + also

    return TestClient(app)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_of_ours_has_an_answer(kind: type[MisheardError]) -> None:
    answer = problem_of(kind("See: misheard versions"))
    assert 400 <= answer.status_code < 600
    assert answer.media_type == MEDIA_TYPE


def test_what_the_caller_can_mend_is_told_in_full(client: TestClient) -> None:
    answer = client.get("/raises/NotAudioError")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert answer.json() == {
        "type": "urn:misheard:problem:not-audio",
        "title": "This is no audio that can be decoded.",
        "status": 400,
        "detail": "'a.wav' is 3 bytes.",
        "error": {
            "message": "This is no audio that can be decoded. 'a.wav' is 3 bytes.",
            "type": "invalid_request_error",
            "param": None,
            "code": "not_audio",
        },
    }


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("UnknownIdError", 404),
        ("DeploymentConflictError", 409),
        ("VersionPrunedError", 410),
        ("StorageBusyError", 503),
        ("DatabaseUnreachableError", 503),
        ("BucketUnreachableError", 503),
        ("BucketUnavailableError", 500),
        ("DiskFullError", 507),
        ("BlobCorruptError", 500),
    ],
)
def test_statuses(client: TestClient, kind: str, status: int) -> None:
    answer = client.get(f"/raises/{kind}")
    assert answer.status_code == answer.json()["status"] == status
    assert ("retry-after" in answer.headers) == (status == 503)


def test_what_is_wrong_with_the_machine_is_for_its_log(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "'/srv/calls/misheard.db' of postgresql://ann:pw@db/calls was locked."
    with caplog.at_level(logging.ERROR):
        answer = client.get("/raises/StorageBusyError", params={"detail": secret})
    assert "srv" not in answer.text and "ann" not in answer.text
    assert "send it again" in answer.json()["detail"]
    (line,) = [one for one in caplog.messages if answer.json()["incident"] in one]
    assert secret in line


def test_a_path_or_an_address_in_a_detail_is_never_told(client: TestClient) -> None:
    secret = "'/srv/calls/x.wav' and ~/calls/y.wav of postgresql://ann:pw@db/calls?x=1 do not fit."
    answer = client.get("/raises/BadInputError", params={"detail": secret})
    assert answer.json()["detail"] == "'…' and … of … do not fit."


@pytest.mark.parametrize(
    ("told", "answered"),
    [
        ("'/srv/my calls/blobs/x' is no file.", "'…' is no file."),
        ("'/data' or /data", "'…' or …"),
        ("calls in 'calls/misheard.toml'.", "calls in '…'."),
        ("server:/srv/a/b is away.", "… is away."),
        ("'/v1/secret/dir/x' is no model.", "'…' is no model."),
        ("/srv/ann's calls/misheard.db (../calls/x)", "… (…"),
        ("sqlite:////srv/ann's calls/misheard.db was locked.", "… was locked."),
        (f"{tempfile.gettempdir()}/x is full.", "… is full."),
        ("See GET /v1/models, /api/v1/triggers and /openapi.json.", None),
        ("Audio/text of openai/whisper-tiny, 3 / 4 and 'a'/'b'.", None),
    ],
)
def test_whatever_a_place_looks_like(
    monkeypatch: pytest.MonkeyPatch, told: str, answered: str | None
) -> None:
    known = {*places._known, "calls", "/srv/ann's calls"}
    monkeypatch.setattr(places, "_known", known)
    assert places.without_places(told) == (told if answered is None else answered)


def test_where_a_workspace_is_gets_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_known", set())
    elsewhere = tmp_path / "its own" / "all's.db"
    elsewhere.parent.mkdir()
    made = tiny.make(tmp_path / "all's", database={"url": f"sqlite:///{elsewhere}"})
    create_app(made)
    for place in (made.root / "blobs" / "x", elsewhere, f"sqlite:///{elsewhere}"):
        assert places.without_places(f"{place} is away") == "… is away"


def test_what_nobody_expected_has_a_number_and_no_trace(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        answer = client.get("/breaks")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert "RuntimeError" not in answer.text and "secret" not in answer.text
    (record,) = [one for one in caplog.records if answer.json()["incident"] in one.getMessage()]
    assert record.exc_info is not None


def test_a_request_that_is_not_valid_is_told_where(client: TestClient) -> None:
    for path, status in (("/counts", 422), ("/v1/counts", 400)):
        answer = client.get(path, params={"many": 11, "also": "x" * 5_000})
        assert answer.status_code == status
        problem = answer.json()
        assert problem["error"]["param"] == "many"
        assert "many: Input should be less than or equal to 10" in problem["detail"]
        assert "also: " in problem["detail"]
        assert len(answer.text) < 2_000


def test_what_is_not_there_is_a_problem_too(client: TestClient) -> None:
    missing = client.get("/nowhere")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    assert "/openapi.json" in missing.json()["detail"]
    wrong = client.post("/counts")
    assert wrong.status_code == 405
    assert wrong.headers["allow"] == "GET"
