"""Answers that end with their callers, and text as it is heard (`stream=true`)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import aclosing
from typing import Any, ClassVar, TypeVar

from fastapi import Request
from starlette.responses import Response, StreamingResponse

from misheard.errors import MisheardError
from misheard.server import formats
from misheard.server.problems import problem_of, unexpected
from misheard.serving.service import Service
from misheard.serving.utterance import Utterance
from misheard.speech.transcriber import Transcript

_HEARTBEAT_S = 10.0
"""Proxies give up what says nothing for a minute or so."""
_HEARTBEAT = b": waiting\n\n"
_T = TypeVar("_T")


class Gone(Exception):
    """Whoever asked is not there any more."""

    STATUS: ClassVar[int] = 499
    """Nginx's; nobody reads it."""


async def unless_gone(request: Request, work: Awaitable[_T]) -> _T:
    """What `work` gives; it is cancelled, and `Gone` raised, when its caller goes.

    The body of `request` has been read.
    """
    doing = asyncio.ensure_future(work)
    going = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({doing, going}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise Gone
        return doing.result()
    finally:
        going.cancel()
        doing.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def streamed(request: Request, service: Service, utterance: Utterance) -> Response:
    """Events of text as it is heard, as OpenAI's API has them.

    What goes wrong before there is any is answered by its own status; later it is an event.
    """
    events = _events(service, utterance)
    try:
        first = await unless_gone(request, anext(events))
    except Gone:
        return Response(status_code=Gone.STATUS)

    async def all_events() -> AsyncIterator[bytes]:
        async with aclosing(events):
            yield first
            async for event in events:
                yield event

    # Nginx would keep it until it is complete.
    return StreamingResponse(
        all_events(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
    )


async def _events(service: Service, utterance: Utterance) -> AsyncGenerator[bytes, None]:
    loop = asyncio.get_running_loop()
    parts: asyncio.Queue[Transcript | None] = asyncio.Queue()

    def tell(part: Transcript) -> None:
        # From whichever thread decodes.
        loop.call_soon_threadsafe(parts.put_nowait, part)

    work = asyncio.ensure_future(service.hear(utterance, parts=tell))
    work.add_done_callback(lambda _: parts.put_nowait(None))
    told, has_begun = "", False
    try:
        while True:
            try:
                part = await asyncio.wait_for(parts.get(), _HEARTBEAT_S)
            except TimeoutError:
                yield _HEARTBEAT
            else:
                if part is None:
                    break
                if not part.text:
                    continue
                delta = f" {part.text}" if told else part.text
                told += delta
                yield _event(formats.delta(delta))
            has_begun = True
        answer = work.result()
        if not told and answer.transcript.text:
            yield _event(formats.delta(answer.transcript.text))
        yield _event(formats.done(answer))
    except MisheardError as error:
        if not has_begun:
            raise
        yield _data(bytes(problem_of(error).body))
    except Exception:
        if not has_begun:
            raise
        yield _data(bytes(unexpected("a stream").body))
    finally:
        work.cancel()


def _event(told: dict[str, Any]) -> bytes:
    return _data(json.dumps(told, ensure_ascii=False).encode())


def _data(body: bytes) -> bytes:
    return b"data: " + body + b"\n\n"
