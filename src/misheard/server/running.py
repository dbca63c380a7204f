"""A server process: listens, says when it is ready, and ends what is under way before it stops."""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI

from misheard.deployment import PRODUCTION
from misheard.errors import AddressTakenError, BadInputError
from misheard.server.app import create_app
from misheard.server.connections import BoundedConnection
from misheard.server.security import require_safe_address
from misheard.speech.cuda import CPU
from misheard.workspace import Workspace

_BACKLOG = 2_048
_STOP_S = 30.0
"""Requests that take longer when it is told to stop are given up."""
_IDLE_S = 75
"""A connection that waits for its next request is closed; proxies keep one for 60 s."""

Ready = Callable[[str], object]
"""Is told what is live, once it answers."""


@dataclass(frozen=True, kw_only=True)
class ServerPlan:
    """How a workspace is served."""

    root: Path
    """Of the workspace."""
    host: str = "127.0.0.1"
    port: int = 8_000
    """0: any that is free."""
    slot: str = PRODUCTION
    processes: int = 1
    access_log: bool = False


def listen(workspace: Workspace, plan: ServerPlan) -> socket.socket:
    """A socket at the address that is meant, for every process of the server.

    Raises `UnsafeAddressError` where others could reach it and there is no token, and
    `AddressTakenError` or `BadInputError` where it cannot be had.
    """
    require_safe_address(plan.host, workspace.tokens)
    where = (plan.host, plan.port)
    try:
        (family, *_), *_ = socket.getaddrinfo(*where, type=socket.SOCK_STREAM)
        return socket.create_server(where, family=family, backlog=_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AddressTakenError(
                f"{plan.host}:{plan.port}. Stop it, or name another: --port {plan.port + 1}"
            ) from error
        raise BadInputError(
            f"{plan.host}:{plan.port} cannot be listened at: {error.strerror}."
        ) from error


def address_of(listening: socket.socket) -> str:
    """Where it can be reached, as HTTP writes it."""
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def serve(plan: ServerPlan, listening: socket.socket, *, ready: Ready) -> None:
    """Serve in this process until it is told to stop (SIGTERM, SIGINT).

    Raises what keeps it from starting, such as `NothingDeployedError`.
    """
    workspace = _with_its_share(Workspace.open(plan.root), plan.processes)
    app = create_app(workspace, slot=plan.slot, address=address_of(listening))
    config = uvicorn.Config(
        app,
        http=BoundedConnection,
        ws="none",
        lifespan="off",  # see `_Server`
        log_config=None,
        access_log=plan.access_log,
        server_header=False,
        timeout_keep_alive=_IDLE_S,
        timeout_graceful_shutdown=int(_STOP_S),
    )
    if plan.access_log:
        logging.getLogger("uvicorn.access").setLevel(logging.INFO)
    with _surviving_signals():
        _Server(config, app, ready).run(sockets=[listening])


class _Server(uvicorn.Server):
    """Uvicorn's, whose start fails by the error that kept the application from starting."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, ready: Ready) -> None:
        super().__init__(config)
        self._app = app
        self._ready = ready
        self._lifespan = AsyncExitStack()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self._lifespan.enter_async_context(self._app.router.lifespan_context(self._app))
        await super().startup(sockets)
        self._ready(self._app.state.service.engines.state.version_id)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        await self._lifespan.aclose()


@contextmanager
def _surviving_signals() -> Iterator[None]:
    """Uvicorn sends itself those that have stopped it once more, when it has stopped."""
    before = {one: signal.signal(one, _ignore) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _ignore(_number: int, _: FrameType | None) -> None:
    """Not `SIG_IGN`, which the processes that decode audio would inherit."""


def _with_its_share(workspace: Workspace, processes: int) -> Workspace:
    """The same with what one of several processes may take of the machine, unless that is set."""
    if processes == 1:
        return workspace
    sections: dict[str, dict[str, int]] = {
        "serving": {"decoders": max(1, workspace.settings.serving.decoders // processes)}
    }
    speech = workspace.settings.speech
    if speech.device == CPU and not speech.threads:
        cores = len(os.sched_getaffinity(0))
        sections["speech"] = {"threads": max(1, cores // processes)}
    return workspace.configured(sections)
