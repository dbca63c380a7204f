"""Whether the server lives, whether it is ready, and its figures."""

from __future__ import annotations

import logging

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, PlainTextResponse, Response

from misheard.access.roles import Role
from misheard.errors import MisheardError
from misheard.monitoring.metrics import CONTENT_TYPE, exposed
from misheard.server.problems import problem_response
from misheard.server.security import caller_may
from misheard.serving.service import Service
from misheard.workspace import Workspace

_log = logging.getLogger("misheard.server")


class Health(BaseModel):
    """The process answers."""

    status: str = "ok"


class Readiness(BaseModel):
    """It transcribes."""

    status: str = "ready"
    version: str = Field(description="What it answers with.")


def router() -> APIRouter:
    """Routes for whoever watches the server."""
    made = APIRouter(tags=["health"])

    @made.get("/healthz", summary="Does the process live?")
    async def healthz() -> Health:
        """Always the same, as long as it answers at all; needs no token."""
        return Health()

    @made.get("/readyz", summary="Can it transcribe?", response_model=Readiness)
    def readyz(request: Request) -> Readiness | JSONResponse:
        """Whether a version is loaded and the database answers, or 503; needs no token."""
        workspace: Workspace = request.app.state.workspace
        service: Service = request.app.state.service
        version_id = service.engines.state.version_id
        reasons = []
        if not version_id:
            reasons.append("No version is loaded yet.")
        try:
            workspace.deployments.live(service.slot)
        except MisheardError as error:
            reasons.append(str(type(error)()))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not ready
            _log.warning("What is live cannot be looked up: %s", error)
            reasons.append("What is live cannot be looked up in the database.")
        if reasons:
            return problem_response(
                503, "Not ready.", " ".join(reasons), {"Retry-After": "2"}, code="not_ready"
            )
        return Readiness(version=version_id)

    @made.get(
        "/metrics",
        summary="Figures for Prometheus",
        response_class=PlainTextResponse,
        dependencies=[Depends(caller_may(Role.TRANSCRIBE))],
    )
    def metrics(request: Request) -> Response:
        """The figures of the workspace, and of this process: those have a label `server`."""
        workspace: Workspace = request.app.state.workspace
        service: Service = request.app.state.service
        text = exposed([*workspace.metrics.families(), *service.families()])
        return Response(text, media_type=CONTENT_TYPE)

    return made
