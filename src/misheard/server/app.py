"""The application: a thin factory over a workspace."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from misheard import __version__
from misheard.deployment import PRODUCTION
from misheard.server import feedback, health, openai, pages
from misheard.server.api import routers
from misheard.server.headers import SecurityHeaders
from misheard.server.limits import protect
from misheard.server.places import never_tell
from misheard.server.problems import PROBLEMS, Incidents, Problem, add_problems
from misheard.server.security import REFUSALS
from misheard.serving.service import Service
from misheard.workspace import Workspace

_REFERENCES = "#/components/schemas/{model}"


def create_app(workspace: Workspace, *, slot: str = PRODUCTION, address: str = "") -> FastAPI:
    """The server of `workspace`, which answers with what is live in `slot`.

    `address` is where it can be reached, for the list of servers.
    """
    service = Service(workspace, slot=slot, address=address)

    @asynccontextmanager
    async def serving(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.stop()
            await app.state.guard.stop()

    app = FastAPI(
        title="misheard",
        version=__version__,
        summary="Transcribes, and learns from what it misheard.",
        lifespan=serving,
        responses=PROBLEMS,
        # Their pages would load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.workspace = workspace
    app.state.service = service
    never_tell(workspace)
    add_problems(app)
    app.include_router(health.router())
    for own in (openai, feedback, pages):
        app.include_router(own.router(), responses=REFUSALS)
    for router in routers():
        app.include_router(router, prefix="/api/v1", responses=REFUSALS)
    protect(app, workspace, uploads=[openai.TRANSCRIPTIONS])
    # The last one added is the outermost.
    app.add_middleware(Incidents)
    app.add_middleware(SecurityHeaders)
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]
    return app


def _document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with what its problems look like."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title, version=app.version, summary=app.summary, routes=app.routes
        )
        schemas = made.setdefault("components", {}).setdefault("schemas", {})
        problem = Problem.model_json_schema(ref_template=_REFERENCES)
        schemas |= problem.pop("$defs")
        schemas["Problem"] = problem
        app.openapi_schema = made
    return app.openapi_schema
