"""What a load balancer, an operator and a browser are told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from misheard.database.engine import writing
from misheard.database.schema import deployments
from tests.conftest import make_wav
from tests.server.site import Site, site
from tests.serving.letters import make


def test_it_lives_and_is_ready(lettered: Site) -> None:
    with lettered.http() as http:
        assert http.get("/healthz").json() == {"status": "ok"}
        assert http.get("/readyz").json() == {"status": "ready", "version": "A"}


def test_without_its_database_it_is_not_ready_and_says_why(
    letters: dict[str, Path], tmp_path: Path
) -> None:
    with site(make(tmp_path / "ws", letters)) as made, made.http() as http:
        with writing(made.workspace._engine) as connection:
            connection.exec_driver_sql(f"ALTER TABLE {deployments.name} RENAME TO gone")
        answer = http.get("/readyz")
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "2"
        assert "database" in answer.json()["detail"]
        # Whoever is connected goes on being answered.
        assert http.get("/healthz").status_code == 200


def test_metrics_have_those_of_the_process_and_of_the_workspace(lettered: Site) -> None:
    lettered.hear(make_wav(seconds=0.3))
    with lettered.http() as http:
        answer = http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert re.search(
        r'^misheard_server_requests_total{server="[^"]+",outcome="answered"} [1-9]', answer.text,
        re.MULTILINE,
    )  # fmt: skip
    assert re.search(r'^misheard_server_loaded{.*version="A"} 1$', answer.text, re.MULTILINE)
    assert "\nmisheard_server_in_flight{" in answer.text
    names = re.findall(r"^# TYPE (\S+)", answer.text, re.MULTILINE)
    assert len(names) == len(set(names)) and "misheard_digest_behind" in names


@pytest.mark.parametrize("path", ["/healthz", "/nowhere", "/v1/models", "/openapi.json"])
def test_a_browser_is_told_to_run_frame_and_keep_nothing(lettered: Site, path: str) -> None:
    with lettered.http() as http:
        headers = http.get(path).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


def test_the_document_names_whatever_becomes_of_a_capture(lettered: Site) -> None:
    with lettered.http() as http:
        paths = http.get("/openapi.json").json()["paths"]
    answer = paths["/v1/audio/transcriptions"]["post"]["responses"]["200"]
    header = answer["headers"]["x-misheard-capture"]["schema"]
    assert header["enum"] == ["kept", "off", "late", "repeated", "failed"]


def test_the_document_names_every_field_of_a_transcription(lettered: Site) -> None:
    with lettered.http() as http:
        document = http.get("/openapi.json").json()
    operation = document["paths"]["/v1/audio/transcriptions"]["post"]
    form = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["required"] == ["file"]
    assert {"file", "model", "timestamp_granularities[]", "session", "store"} <= set(
        form["properties"]
    )
    assert set(operation["responses"]["200"]["content"]) >= {"application/json", "text/vtt"}
    for one in document["paths"].values():
        for described in one.values():
            assert described["summary"], described
            assert any(status in described["responses"] for status in ("4XX", "default"))
