"""A small application behind the guard and the limits, and a real server for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Request, UploadFile

from misheard.access.roles import Role
from misheard.access.tokens import Tokens
from misheard.server.limits import BodyLimits, BodyRules
from misheard.server.problems import add_problems
from misheard.server.security import REFUSALS, Caller, Guard, caller_may
from tests.loopback import until
from tests.serving.letters import PATIENCE_S

SMALL = BodyRules(max_upload_bytes=200_000, max_bytes=10_000, uploads={"/upload"})


def guarded(tokens: Tokens, *, requests_per_minute: int = 0, rules: BodyRules = SMALL) -> FastAPI:
    app = FastAPI()
    app.state.guard = Guard(tokens, requests_per_minute=requests_per_minute)
    app.state.read = 0
    add_problems(app)
    app.add_middleware(BodyLimits, rules=rules)
    app.include_router(_routes())
    return app


def _routes() -> APIRouter:
    made = APIRouter(responses=REFUSALS)

    @made.post("/upload")
    async def upload(
        file: UploadFile, caller: Annotated[Caller, Depends(caller_may(Role.TRANSCRIBE))]
    ) -> dict[str, object]:
        return {"bytes": len(await file.read()), "by": caller.actor}

    @made.post("/stream")
    async def stream(
        request: Request, caller: Annotated[Caller, Depends(caller_may(Role.TRANSCRIBE))]
    ) -> int:
        request.app.state.read = 0
        async for chunk in request.stream():
            request.app.state.read += len(chunk)
        return int(request.app.state.read)

    @made.post("/correct")
    def correct(
        body: dict[str, str], caller: Annotated[Caller, Depends(caller_may(Role.REVIEW))]
    ) -> str:
        return caller.actor

    @made.post("/deploy")
    def deploy(caller: Annotated[Caller, Depends(caller_may(Role.OPERATE))]) -> str:
        return caller.actor

    @made.delete("/person")
    def person(caller: Annotated[Caller, Depends(caller_may(Role.ADMINISTER))]) -> str:
        return caller.actor

    @made.get("/heard")
    def heard(caller: Annotated[Caller, Depends(caller_may(Role.TRANSCRIBE))]) -> str:
        return caller.actor

    @made.get("/page")
    def page(caller: Annotated[Caller, Depends(caller_may(Role.REVIEW, page=True))]) -> str:
        return caller.actor

    @made.post("/page")
    def change(caller: Annotated[Caller, Depends(caller_may(Role.REVIEW, page=True))]) -> str:
        return caller.actor

    @made.get("/healthz")
    def healthz() -> str:
        return "ok"

    return made


@contextmanager
def served(app: Any, *, host: str = "127.0.0.1", **options: Any) -> Iterator[int]:
    """The port on which a real server answers."""
    chosen: dict[str, Any] = {"log_level": "error", "lifespan": "off", **options}
    config = uvicorn.Config(app, host=host, port=0, **chosen)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started, seconds=PATIENCE_S)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(timeout=PATIENCE_S)
        assert not thread.is_alive()
