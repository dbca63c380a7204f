"""The API of the loop: what it lists, what it changes, for whom, and what it refuses."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import update
from starlette.testclient import TestClient

from misheard.access.roles import Role
from misheard.cycle.states import CycleState
from misheard.database.audit import AuditEntry
from misheard.database.engine import now, writing
from misheard.database.schema import cycles
from misheard.fleet import ServerState
from misheard.server.api.parameters import MOST_AT_ONCE
from misheard.server.app import create_app
from misheard.workspace import Workspace
from tests import tiny
from tests.loopback import until
from tests.server.loop import (
    client_of,
    furnished_on_postgresql,
    furnished_on_sqlite,
    looked_at,
    token,
    workspace,
)

__all__ = ["furnished_on_postgresql", "furnished_on_sqlite", "looked_at", "workspace"]

ON_BOTH_DATABASES = True
LISTS = (
    "/inferences",
    "/cases",
    "/corrections",
    "/triggers/evaluations",
    "/cycles",
    "/datasets",
    "/versions",
    "/validations",
    "/suites",
    "/suites/benchmark/runs",
    "/deployments",
    "/monitoring/alerts",
    "/monitoring/silences",
    "/audit",
    "/tokens",
)


@pytest.fixture
def api(workspace: Workspace) -> Asking:
    return Asking(client_of(workspace))


@pytest.fixture
def looking(looked_at: Workspace) -> Asking:
    """For what changes nothing."""
    return _asking(looked_at)


@cache
def _asking(workspace: Workspace) -> Asking:
    """Made once: an application of so many routes takes a part of a second."""
    return Asking(client_of(workspace))


class Asking:
    def __init__(self, client: TestClient) -> None:
        self.client = client

    def get(self, path: str, status: int = 200, /, **query: Any) -> Any:
        answer = self.client.get(f"/api/v1{path}", params=query)
        assert answer.status_code == status, answer.text
        return answer.json()

    def post(self, path: str, body: Any = None, status: int = 200) -> Any:
        answer = self.client.post(f"/api/v1{path}", json={} if body is None else body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def delete(self, path: str, status: int = 204) -> None:
        answer = self.client.delete(f"/api/v1{path}")
        assert answer.status_code == status, answer.text

    def whole(self, path: str, limit: int) -> list[Any]:
        """All of a list, page by page."""
        found: list[Any] = []
        query: dict[str, Any] = {"limit": limit}
        while True:
            page = self.get(path, **query)
            assert len(page["items"]) <= limit
            found += page["items"]
            if page["next"] is None:
                return found
            query["before"] = page["next"]


def nested(depth: int) -> Any:
    return [nested(depth - 1)] if depth else 1


def newest(workspace: Workspace, action: str) -> AuditEntry:
    return next(one for one in workspace.audit.entries() if one.action == action)


def test_every_list_has_the_same_rows_by_whatever_pages(workspace: Workspace, api: Asking) -> None:
    for role in (Role.TRANSCRIBE, Role.REVIEW):
        token(workspace, role)
    workspace.tokens.create("third", Role.REVIEW, actor="ann")
    api = Asking(client_of(workspace, token(workspace, Role.ADMINISTER)))
    workspace.deployments.roll_back(actor="ann", reason="a drill")
    # When a token was used is noted beside the request, and listed from then on.
    api.get("/tokens")
    until(lambda: any(one.last_used_at for one in workspace.tokens.listed()))
    for path in LISTS:
        at_once = api.get(path, limit=MOST_AT_ONCE)
        assert at_once["next"] is None and at_once["items"], path
        for limit in (1, 2):
            assert api.whole(path, limit) == at_once["items"], path


@pytest.mark.parametrize("path", LISTS)
def test_no_list_goes_on_after_what_is_not_there(looking: Asking, path: str) -> None:
    counted = path in ("/corrections", "/triggers/evaluations", "/deployments", "/audit")
    if counted:
        assert looking.get(path, before=1)["items"] == []
    else:
        assert looking.get(path, 404, before="x-1")["status"] == 404
    assert looking.get(path, 422, limit=MOST_AT_ONCE + 1)["status"] == 422


def test_a_transcript_is_found_and_its_recording_is_a_download(
    looked_at: Workspace, looking: Asking
) -> None:
    one = looked_at.inferences.recent(limit=1)[0]
    shown = looking.get(f"/inferences/{one.id}")
    assert shown["text"] == "press pound" and shown["created_at"].endswith("Z")
    answer = looking.client.get(f"/api/v1/inferences/{one.id}/audio")
    assert answer.content == looked_at.recording(one.audio_sha256)
    assert answer.headers["content-type"] == "audio/wav"
    assert answer.headers["content-disposition"].startswith("attachment; filename=")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_recording_that_a_browser_would_run_is_no_page(workspace: Workspace, api: Asking) -> None:
    one = workspace.inferences.recent(limit=1)[0]
    key = workspace._blobs.put_bytes(b"<html><script>alert(1)</script>")
    with workspace._engine.begin() as connection:
        connection.exec_driver_sql(
            f"UPDATE inferences SET audio_sha256 = '{key}' WHERE id = '{one.id}'"
        )
    answer = api.client.get(f"/api/v1/inferences/{one.id}/audio")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")


def test_cases_are_filtered_as_on_the_command_line(looked_at: Workspace, looking: Asking) -> None:
    assert len(looking.get("/cases", status="corrected")["items"]) == 4
    (opened,) = looking.get("/cases", status="open", error_type="reported")["items"]
    assert opened["suspicion"] == 0.7 and opened["details"] == {"ticket": 12}
    assert looking.get("/cases", tag="channel=mobile")["items"] == []
    assert "channel=mobile" in looking.get("/cases", 400, tag="channel")["detail"]
    group = opened["speaker_group"]
    assert looking.get("/cases", speaker_group=group)["items"] == [opened]
    assert looking.get("/cases/counts") == {
        "error_cases": 5,
        "corrected": 4,
        "confirmed": 0,
        "open": 1,
    }


def test_a_case_is_opened_and_corrected_with_all_that_was_said(
    workspace: Workspace, api: Asking
) -> None:
    one = workspace.inferences.recent(limit=1)[0]
    opened = api.post("/cases", {"inference_id": one.id, "error_types": ["names"]})
    assert opened["status"] == "open" and opened["error_types"] == ["names"]
    assert api.post("/cases", {"inference_id": one.id})["id"] == opened["id"]
    (entry,) = workspace.audit.entries(subject=one.id)
    assert (entry.actor, entry.action, entry.to_value) == ("local", "open_case", opened["id"])
    said = {"inference_id": one.id, "reference": "press nine", "details": {"line": 3}}
    assert api.post("/corrections", said, 201) == {"inference_id": one.id, "is_error": True}
    right = {"inference_id": one.id, "is_right": True}
    assert api.post("/corrections", right, 201)["is_error"] is False
    story = api.get(f"/cases/{one.id}")
    assert story["case"]["status"] == "confirmed"
    assert [row["reference"] for row in story["corrections"]] == ["press pound", "press nine"]
    assert story["corrections"][1]["details"] == {"line": 3}
    assert newest(workspace, "correct").actor == "local"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"reference": "a", "is_right": True},
        {"reference": "nul \0"},
        {"reference": "half \ud800"},
        {"reference": "a", "details": {"deep": nested(60)}},
        {"reference": "a", "details": {"deep": nested(900)}},
        {"reference": "a", "details": {"long": "x" * 30_000}},
        {"reference": "a", "unknown": 1},
        {"reference": "a", "method": ""},
    ],
)
def test_what_cannot_be_a_correction_is_refused(
    looked_at: Workspace, looking: Asking, body: dict[str, Any]
) -> None:
    one = looked_at.inferences.recent(limit=1)[0]
    text = json.dumps({"inference_id": one.id, **body})
    answer = looking.client.post(
        "/api/v1/corrections", content=text, headers={"content-type": "application/json"}
    )
    assert answer.status_code in (400, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert looked_at.cases.corrections(inference_id=one.id) == []


def test_whatever_was_to_be_remembered_can_be_told(workspace: Workspace, api: Asking) -> None:
    one = workspace.inferences.recent(limit=1)[0]
    details = {"half \ud800": "nul \0", "deep": nested(300), "whole": "\N{EAR}", "n": 10**30}
    workspace.cases.open(one.id, details=details)
    shown = api.get(f"/cases/{one.id}")["case"]["details"]
    assert shown["half \ufffd"] == "nul \0"
    assert (shown["whole"], shown["n"]) == ("\N{EAR}", 10**30)
    assert str(shown["deep"]).startswith("[[[")


@pytest.mark.parametrize("path", ["/v1/feedback", "/api/v1/corrections", "/api/v1/cases"])
def test_no_transcript_is_called_what_a_database_cannot_bear(looking: Asking, path: str) -> None:
    field = "id" if path == "/v1/feedback" else "inference_id"
    for said in ({"right": False}, {"text": "a"}, {"reference": "a"}, {"error_types": ["a\0"]}):
        answer = looking.client.post(path, json={field: "a\0", **said})
        assert answer.status_code in (400, 422), answer.text


def test_an_error_that_is_quoted_names_no_place(workspace: Workspace, api: Asking) -> None:
    told, secret = "'{}' is no directory.", f"{workspace.root}/jobs/a b"
    (proposed,) = workspace.cycles.listed(state=CycleState.PROPOSED)
    with writing(workspace._engine) as connection:
        values = {"error": told.format(secret), "detail": told.format(secret)}
        connection.execute(update(cycles).where(cycles.c.id == proposed.id).values(**values))
    state = ServerState(
        id="server-1",
        started_at=now(),
        seen_at=now(),
        address="",
        slot="production",
        version_id="",
        deployment_number=0,
        staging_number=0,
        loaded=(),
        failed={"v-1": told.format(secret)},
    )
    workspace.fleet.tell(state)
    shown = api.get(f"/cycles/{proposed.id}")["cycle"]
    assert shown["error"] == shown["detail"] == told.format("…")
    assert api.get("/servers")["items"][0]["failed"] == {"v-1": told.format("…")}


def test_the_queue_is_answered_and_an_audit_counts_as_one(
    workspace: Workspace, api: Asking
) -> None:
    queue = api.get("/review", stream="audit", limit=1)
    (item,) = queue["items"]
    assert item["suspicion"] is None and queue["waiting"]["audit"]["count"] >= 1
    before = api.get("/monitoring/audited")["labelled"]
    answer = {"stream": "audit", "reference": "press nine"}
    assert api.post(f"/review/{item['inference_id']}", answer, 201)["is_error"]
    assert api.get("/monitoring/audited")["labelled"] == before + 1
    given = workspace.cases.corrections(inference_id=item["inference_id"])[0]
    assert (given.method, given.author) == ("audit", "local")
    assert item["inference_id"] not in str(api.get("/review", limit=200)["items"])
    assert api.get("/review", 400, after="bm9uc2Vuc2U")["status"] == 400
    assert api.get("/monitoring/agreement")["utterances"] in (0, 1)


def test_what_came_just_now_is_in_the_queue(workspace: Workspace, api: Asking) -> None:
    before = api.get("/review")["waiting"]["audit"]["count"]
    tiny.heard(workspace, 3, first=60)
    assert api.get("/review")["waiting"]["audit"]["count"] == before + 3


def test_a_cycle_is_begun_decided_and_told(workspace: Workspace, api: Asking) -> None:
    waiting = api.post("/cycles", {}, 202)
    assert waiting["state"] == "proposed"
    assert "reason" in api.post(f"/cycles/{waiting['id']}/reject", {}, 422)["detail"]
    rejected = api.post(f"/cycles/{waiting['id']}/reject", {"reason": "not now"})
    assert rejected["state"] == "rejected" and newest(workspace, "reject").actor == "local"
    refused = api.post("/cycles", {}, 409)
    assert "/api/v1/triggers" in refused["detail"]
    assert api.get("/triggers", expect=True)["should_trigger"] is False
    begun = api.post("/cycles", {"force": True, "approved": True, "reason": "by hand"}, 202)
    assert begun["state"] == "triggered" and begun["actor"] == "local"
    assert api.post(f"/cycles/{begun['id']}/approve", {}, 409)["status"] == 409
    assert api.post(f"/cycles/{begun['id']}/cancel", {})["state"] == "cancelled"
    assert api.post(f"/cycles/{begun['id']}/retry", {}, 409)["status"] == 409
    story = api.get(f"/cycles/{begun['id']}")
    assert [step["to_state"] for step in story["steps"]] == ["triggered", "cancelled"]
    assert story["next"]["who"] == "nobody"
    assert len(api.get("/cycles", state="rejected")["items"]) == 1


def test_versions_and_validations_say_how_they_stand(looked_at: Workspace, looking: Asking) -> None:
    live, first = looking.get("/versions")["items"]
    assert (live["status"], first["status"]) == ("live", "was live")
    assert looking.get(f"/versions/{live['version']['id']}") == live
    assert first["wer"] is None and live["wer"] == 0.0
    shown = looking.get(f"/validations/{live['validation_id']}")
    assert shown["verdict"]["passed"] and "changed" not in shown["comparison"]
    (one,) = looking.get("/validations", candidate_id=live["version"]["id"])["items"]
    assert one == shown
    assert looking.get("/validations", candidate_id="v-none")["items"] == []
    dataset = looking.get(f"/datasets/{shown['dataset_id']}")
    assert dataset["purpose"] == "evaluation"
    assert looking.get("/suites/benchmark")["name"] == "benchmark"
    (run,) = looking.get("/suites/benchmark/runs")["items"]
    assert run["passed"] and run["candidate_id"] == live["version"]["id"]


def test_it_is_deployed_and_rolled_back_by_who_asked(workspace: Workspace, api: Asking) -> None:
    live = api.get("/deployments/live")
    back = {"reason": "a drill", "expected": live["number"]}
    made = api.post("/deployments/rollback", back, 201)
    assert made["action"] == "rollback" and made["actor"] == "local"
    assert api.post("/deployments/rollback", back, 409)["status"] == 409
    again = {"version_id": live["version_id"], "reason": "once more"}
    assert api.post("/deployments", again, 201)["version_id"] == live["version_id"]
    assert newest(workspace, "deploy").reason == "once more"
    assert api.post("/deployments", {**again, "version_id": "v-none"}, 404)["status"] == 404
    assert api.post("/deployments", {"version_id": live["version_id"]}, 422)["status"] == 422
    assert api.get("/deployments", slot="nowhere")["items"] == []
    assert api.get("/deployments/live", 409, slot="nowhere")["status"] == 409


def test_of_two_who_deploy_by_the_same_sight_one_is_told(workspace: Workspace, api: Asking) -> None:
    live = workspace.deployments.live()
    before = workspace.deployments.ever_live()[1]
    given = {"version_id": before, "reason": "back", "expected": live.number}
    assert api.post("/deployments", given, 201)["version_id"] == before
    other = {"version_id": live.version_id, "reason": "forth", "expected": live.number}
    assert api.post("/deployments", other, 409)["status"] == 409
    assert workspace.deployments.live().version_id == before


def test_a_version_is_tried_and_stopped_or_goes_live(workspace: Workspace, api: Asking) -> None:
    live = workspace.deployments.live()
    before = workspace.deployments.ever_live()[1]
    wanted = {"kind": "canary", "version_id": before, "reason": "again", "shares": [0.1, 0.5]}
    made = api.post("/rollouts", wanted, 201)
    assert (made["state"], made["share"], made["actor"]) == ("running", 0.1, "local")
    assert api.post("/rollouts", wanted, 409)["status"] == 409
    story = api.get(f"/rollouts/{made['id']}")
    assert story["rollout"] == made and "still to come" in story["next"]
    assert story["evidence"]["sessions"] == {"live": 0, "candidate": 0}
    assert {one["ratio"] for one in story["evidence"]["signals"]} == {None}
    stopped = api.post(f"/rollouts/{made['id']}/stop", {"reason": "not now"})
    assert stopped["state"] == "stopped"
    assert api.post(f"/rollouts/{made['id']}/promote", {"reason": "yes"}, 409)["status"] == 409
    shadow = {"kind": "shadow", "version_id": before, "reason": "listen", "shares": [0.1, 0.5]}
    assert "one share" in api.post("/rollouts", shadow, 422)["detail"]
    heard = api.post("/rollouts", {**shadow, "shares": [0.2]}, 201)
    api.post(f"/rollouts/{heard['id']}/stop", {"reason": "heard enough"})
    again = api.post("/rollouts", wanted, 201)
    assert api.post(f"/rollouts/{again['id']}/promote", {"reason": "yes"})["state"] == "promoted"
    assert workspace.deployments.live().version_id == before != live.version_id
    assert [one["kind"] for one in api.whole("/rollouts", 1)] == ["canary", "shadow", "canary"]
    assert api.get("/servers") == {"items": [], "next": None}


def test_monitoring_tells_and_is_silenced(workspace: Workspace, api: Asking) -> None:
    status = api.get("/monitoring/status")
    assert status["live"]["version_id"] == workspace.deployments.live().version_id
    line = api.get("/monitoring/trends/inferences", by="hour", days=1)
    counts = [point["count"] for point in line["points"]]
    # An hour may have begun since they were heard.
    assert len(counts) == 25 and sum(counts) == sum(counts[-2:]) == 12
    assert api.get("/monitoring/trends/suspicion", slice="channel=mobile")["slice"]
    assert api.get("/monitoring/trends/suspicion", 400, slice="channel")["status"] == 400
    assert "points" in api.get("/monitoring/trends/latency", 400, by="hour", days=900)["detail"]
    rules = {one["rule"] for one in api.get("/monitoring/alerts")["items"]}
    assert rules == {"latency", "disk", "no_traffic"}
    assert len(api.get("/monitoring/alerts", open_only=True)["items"]) == 3
    made = api.post("/monitoring/silences", {"hours": 2, "reason": "night"}, 201)
    assert made["rule"] == "" and made["actor"] == "local"
    api.delete(f"/monitoring/silences/{made['number']}")
    api.delete(f"/monitoring/silences/{made['number']}", 404)
    assert api.post("/monitoring/silences", {"hours": "NaN", "reason": "x"}, 422)["status"] == 422


def test_a_person_is_looked_for_and_forgotten(workspace: Workspace, api: Asking) -> None:
    wanted = {"kind": "speaker", "id": "nobody", "reason": "a letter"}
    looked = api.post("/deletions", {**wanted, "dry_run": True})
    assert looked["is_dry_run"] and not looked["is_complete"] and "backups" not in looked
    assert api.post("/deletions", wanted)["is_dry_run"] is False


def test_tokens_are_made_told_once_and_revoked(workspace: Workspace, api: Asking) -> None:
    made = api.post("/tokens", {"name": "ivr", "role": "administer", "days": 3}, 201)
    api = Asking(client_of(workspace, made["secret"]))
    # When it was used is noted beside the request.
    until(lambda: api.get("/tokens")["items"][0]["last_used_at"])
    (listed,) = api.get("/tokens")["items"]
    assert listed == api.get("/tokens")["items"][0] and "secret" not in str(listed)
    assert listed["expires_at"] is not None
    other = api.post("/tokens", {"name": "app", "role": "transcribe"}, 201)["token"]
    answer = api.client.delete(f"/api/v1/tokens/{other['id']}")
    assert answer.json()["revoked_at"] is not None
    assert newest(workspace, "create_token").actor == "ivr"


def test_every_address_of_the_docs_is_there(looked_at: Workspace) -> None:
    paths = create_app(looked_at).openapi()["paths"]
    known = {
        f"{method.upper()} {re.sub(r'{[^}]+}', '*', path.removeprefix('/api/v1'))}"
        for path, operations in paths.items()
        for method in operations
    }
    page = (Path(__file__).parents[2] / "docs" / "http_api.md").read_text(encoding="utf-8")
    told = []
    for addresses, role in re.findall(r"^\| (`[A-Z]+ .*?) \| .* \| (\w+) \|$", page, re.MULTILINE):
        method = ""
        for one in re.findall(r"`([^`]+)`", addresses):
            method, _, path = one.rpartition(" ") if " " in one else (method, "", one)
            told.append(f"{method} {re.sub(r'/[A-Z]+(?=/|$)', '/*', path)}")
        assert role in {str(one) for one in Role}
    assert len(told) > 40 and set(told) <= known


NEEDED = {
    Role.TRANSCRIBE: (),
    Role.REVIEW: (
        ("GET", "/review"),
        ("GET", "/inferences"),
        ("GET", "/cycles"),
        ("GET", "/servers"),
        ("GET", "/rollouts"),
        ("GET", "/monitoring/status"),
        ("POST", "/corrections"),
        ("POST", "/cases"),
    ),
    Role.OPERATE: (
        ("POST", "/cycles"),
        ("POST", "/cycles/cycle-1/approve"),
        ("POST", "/deployments"),
        ("POST", "/deployments/rollback"),
        ("POST", "/rollouts"),
        ("POST", "/rollouts/none/stop"),
        ("POST", "/monitoring/silences"),
        ("DELETE", "/monitoring/silences/9"),
    ),
    Role.ADMINISTER: (
        ("GET", "/audit"),
        ("GET", "/tokens"),
        ("POST", "/tokens"),
        ("DELETE", "/tokens/none"),
        ("POST", "/deletions"),
    ),
}


def test_each_role_may_do_what_it_is_for_and_no_more(workspace: Workspace) -> None:
    clients = {role: client_of(workspace, token(workspace, role)) for role in Role}
    for needed, requests in NEEDED.items():
        for method, path in requests:
            for role, client in clients.items():
                status = client.request(method, f"/api/v1{path}").status_code
                assert (status != 403) == role.may(needed), (role, method, path, status)
    assert client_of(workspace).get("/api/v1/cases").status_code == 401


@pytest.mark.parametrize(
    "given", ["nul\0", "x" * 10_000, "\x1b[2J", "%ed%a0%80", "' OR 1=1 --", "\N{PILE OF POO}" * 60]
)
@pytest.mark.parametrize("path", ["/inferences/{}", "/cases/{}", "/cycles/{}", "/versions/{}"])
def test_no_odd_id_reaches_further_than_it_should(looking: Asking, path: str, given: str) -> None:
    encoded = given if given.startswith("%") else quote(given, safe="")
    answer = looking.client.get(f"/api/v1{path.format(encoded)}")
    assert answer.status_code in (400, 404, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path",
    [
        f"/corrections?before={2**63}",
        f"/audit?before={10**400}",
        "/deployments?before=-1",
        "/cases?speaker_group=%00",
        "/monitoring/trends/latency?days=inf",
        "/monitoring/trends/latency?days=nan",
        "/monitoring/audited?days=1e308",
        "/review?after=%00",
        "/inferences?limit=0",
    ],
)
def test_no_number_or_text_is_beyond_what_a_database_bears(looking: Asking, path: str) -> None:
    assert looking.client.get(f"/api/v1{path}").status_code == 422
