"""A server in a thread of this process, as uvicorn runs it, and clients of it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import openai
import uvicorn
from fastapi import FastAPI

from misheard.server.app import create_app
from misheard.server.connections import BoundedConnection
from misheard.serving.service import Service
from misheard.workspace import Workspace
from tests.serving.letters import PATIENCE_S

TRANSCRIPTIONS = "/v1/audio/transcriptions"


@dataclass(frozen=True)
class Site:
    """A server that listens on this machine."""

    workspace: Workspace
    app: FastAPI
    url: str

    @property
    def service(self) -> Service:
        made: Service = self.app.state.service
        return made

    def client(self, **given: Any) -> openai.OpenAI:
        """OpenAI's own; it tries nothing twice unless told to."""
        return openai.OpenAI(**self._arguments(given))

    def async_client(self, **given: Any) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(**self._arguments(given))

    def http(self, **given: Any) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, timeout=PATIENCE_S, **given)

    def hear(self, data: bytes, name: str = "call.wav", **fields: Any) -> Any:
        """Transcribe, as OpenAI's client does it."""
        with self.client() as client:
            return client.audio.transcriptions.create(
                file=(name, data), model="whisper-1", **fields
            )

    def _arguments(self, given: dict[str, Any]) -> dict[str, Any]:
        usual = {"api_key": "none", "max_retries": 0, "timeout": PATIENCE_S}
        return {"base_url": f"{self.url}/v1", **usual, **given}


@contextmanager
def site(workspace: Workspace, **given: Any) -> Iterator[Site]:
    """Serve while the block runs."""
    app = create_app(workspace, **given)
    config = uvicorn.Config(
        app,
        http=BoundedConnection,
        ws="none",
        lifespan="on",
        log_config=None,
        timeout_graceful_shutdown=10,
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not server.started:
                assert thread.is_alive(), "it did not start"
                assert time.monotonic() < deadline, "it does not start"
                time.sleep(0.01)
            yield Site(workspace, app, f"http://127.0.0.1:{listening.getsockname()[1]}")
        finally:
            server.should_exit = True
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
