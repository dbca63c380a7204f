"""The pages of a server in Chromium: whole, alone, for who may see them, and as things are now."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from misheard.access.roles import Role
from misheard.database.engine import now
from misheard.fleet import ServerState
from misheard.reports.overview_page import overview_page
from misheard.rollouts.counting import Observed
from misheard.rollouts.signals import Signal
from misheard.rollouts.states import Arm
from misheard.server.app import create_app
from misheard.workspace import Workspace
from tests import tiny
from tests.reports.browsing import SCHEMES, WIDTHS, Opened, needs_browser
from tests.server.guarded import served
from tests.server.loop import client_of, furnished_on_sqlite, looked_at, token, workspace
from tests.serving.letters import PATIENCE_S

__all__ = ["furnished_on_sqlite", "looked_at", "workspace"]
QUOTES = "<script>document.title='taken'</script> \"'&"


@pytest.fixture
def busy(workspace: Workspace) -> Workspace:
    """With servers, one of them behind, a canary, and words that are no part of a page."""
    workspace.deployments.roll_back(actor="ann", reason=QUOTES)
    live, moment = workspace.deployments.live(), now()
    before = workspace.deployments.ever_live()[1]
    # No server is asked to load it, since none is there yet.
    made = workspace.begin_canary(before, actor="ann", reason="again", force=True)
    for address, number in (("10.0.0.4:8000", live.number), ("10.0.0.5:8000", live.number - 1)):
        state = ServerState(
            id=f"server-{address}",
            started_at=moment - timedelta(hours=5),
            seen_at=moment,
            address=address,
            slot=live.slot,
            version_id=live.version_id,
            deployment_number=number,
            staging_number=0,
            loaded=(live.version_id,),
            failed={} if number == live.number else {before: QUOTES},
        )
        workspace.fleet.tell(state)
    wrong = frozenset({Signal.EMPTY})
    workspace.rollouts.note(
        [
            Observed(rollout_id=made.id, step=0, arm=arm, session=f"{arm}-{n}", wrong=wrong)
            for arm in Arm
            for n in range(3)
        ]
    )
    return workspace


@pytest.fixture
def empty(tmp_path: Path) -> Workspace:
    first = tiny.model(tmp_path / "first")
    return Workspace.create(tmp_path / "new", model=str(first), actor="ann")


@pytest.fixture
def url(busy: Workspace) -> Iterator[str]:
    with served(create_app(busy)) as port:
        yield f"http://127.0.0.1:{port}"


@needs_browser
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["busy", "empty"])
def test_it_fits_the_screen_without_a_complaint_or_a_request(
    browser: Any, tmp_path: Path, request: pytest.FixtureRequest, name: str, width: int, scheme: str
) -> None:
    file = tmp_path / "page.html"
    file.write_text(overview_page(request.getfixturevalue(name)), encoding="utf-8")
    opened = Opened(browser, file, viewport={"width": width, "height": 844}, color_scheme=scheme)
    opened.assert_it_fits(width, scheme)
    shown = opened.page.locator("main").inner_text()
    assert opened.page.title() != "taken"
    if name == "busy":
        charts = opened.page.locator("svg.chart")
        assert charts.count() == 2 and all(one.is_visible() for one in charts.all())
        assert "10.0.0.5:8000" in shown and "behind" in shown and "up to date" in shown
        assert QUOTES in shown
    else:
        assert "Nothing was heard" in shown and "None answers now" in shown
    opened.context.close()
    assert opened.complaints == [] and opened.asked_elsewhere(file) == []


@needs_browser
def test_its_links_lead_to_whole_reports(browser: Any, url: str) -> None:
    page = browser.new_page()
    page.set_default_timeout(1_000 * PATIENCE_S)
    statuses, complaints = {}, []
    page.on("response", lambda one: statuses.update({one.url: one.status}))
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(url)
    links = page.eval_on_selector_all("main a[href]", "all => all.map((one) => one.href)")
    assert len(links) >= 7 and all(one.startswith(url) for one in links)
    for link in links:
        page.goto(link)
    page.close()
    assert {statuses[link] for link in links} == {200} and complaints == []


@needs_browser
def test_what_changes_is_taken_over_where_one_reads(
    browser: Any, busy: Workspace, url: str
) -> None:
    page = browser.new_page(viewport={"width": 800, "height": 500})
    page.set_default_timeout(1_000 * PATIENCE_S)
    page.goto(url)
    page.locator("#deployments").scroll_into_view_if_needed()
    link = page.locator("a[href^='/reports/cycle/']").first
    link.focus()
    where = link.bounding_box()["y"]
    assert page.evaluate("scrollY") > 0
    busy.deployments.deploy(busy.deployments.ever_live()[1], actor="bob", reason="while you looked")
    refresh = "document.dispatchEvent(new Event('visibilitychange'))"
    page.evaluate(refresh)
    page.get_by_text("while you looked").first.wait_for()
    # What stands above it may be higher by now.
    assert link.bounding_box()["y"] == pytest.approx(where, abs=1)
    assert page.evaluate("document.activeElement.matches('a[href^=\"/reports/cycle/\"]')")
    assert page.locator("#lost").is_hidden()
    page.route("**", lambda route: route.abort())
    page.evaluate(refresh)
    page.locator("#lost").wait_for()
    page.unroute_all()
    page.evaluate(refresh)
    page.locator("#lost").wait_for(state="hidden")
    page.close()


def test_only_who_may_look_sees_a_page(busy: Workspace) -> None:
    cycle, validation = busy.cycles.latest(), busy.validations.listed(limit=1)[0]
    assert cycle is not None
    reviewer, other = token(busy, Role.REVIEW), token(busy, Role.TRANSCRIBE)
    client = client_of(busy)
    paths = ("/", f"/reports/cycle/{cycle.id}", f"/reports/validation/{validation.id}")
    for path in (*paths, "/reports/performance"):
        asked = client.get(path)
        assert asked.status_code == 401 and asked.headers["www-authenticate"].startswith("Basic ")
        for secret, status in ((reviewer, 200), (other, 403)):
            login = base64.b64encode(f"ann:{secret}".encode()).decode()
            answer = client.get(path, headers={"Authorization": f"Basic {login}"})
            assert answer.status_code == status
            assert client_of(busy, secret).get(path).status_code == status


def test_a_page_runs_only_its_own_script_and_is_framed_by_nobody(busy: Workspace) -> None:
    answer = client_of(busy).get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', answer.text)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'") and "script-src 'sha256-" in policy[1]
    assert "'unsafe-inline'" not in policy[1].split("script-src")[1]


@pytest.mark.parametrize("path", ["/reports/cycle/none", "/reports/validation/x", "/reports/none"])
def test_a_report_that_is_not_there_is_a_problem(looked_at: Workspace, path: str) -> None:
    answer = client_of(looked_at).get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
