"""Pages for browsers: how the loop stands, at `/`, and the reports that it links to."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Response
from fastapi.responses import HTMLResponse

from misheard.access.roles import Role
from misheard.errors import UnknownIdError
from misheard.reports.cycle_report import cycle_report
from misheard.reports.loop_pages import as_html
from misheard.reports.loop_reports import REPORTS
from misheard.reports.overview_page import overview_page
from misheard.reports.validation_page import validation_page
from misheard.server.api.parameters import IdInPath, InWorkspace
from misheard.server.security import caller_may

# What a page may run and load it says itself, by the hash of its script.
_HEADERS = {
    "Content-Security-Policy": "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}


def router() -> APIRouter:
    """Routes of the pages; a browser may log in by HTTP Basic, with a token as the password."""
    made = APIRouter(
        tags=["pages"],
        dependencies=[Depends(caller_may(Role.REVIEW, page=True))],
        default_response_class=HTMLResponse,
    )

    @made.get("/", summary="How the loop stands")
    def overview(workspace: InWorkspace) -> Response:
        return _page(overview_page(workspace))

    @made.get("/reports/cycle/{cycle_id}", summary="The report on one cycle")
    def on_cycle(workspace: InWorkspace, cycle_id: IdInPath) -> Response:
        return _page(cycle_report(workspace, cycle_id))

    @made.get("/reports/validation/{validation_id}", summary="The report on one validation")
    def on_validation(workspace: InWorkspace, validation_id: IdInPath) -> Response:
        return _page(validation_page(workspace, validation_id))

    @made.get("/reports/{name}", summary="A report on the whole loop")
    def on_loop(workspace: InWorkspace, name: IdInPath) -> Response:
        if name not in REPORTS:
            raise UnknownIdError(f"There is no report '{name}'. Known: {', '.join(REPORTS)}.")
        return _page(as_html(name, workspace))

    return made


def _page(html: str) -> Response:
    return HTMLResponse(html, headers=_HEADERS)
