"""Errors as RFC 9457 has them: `application/problem+json` that says what to do.

No trace, no path of this machine and no address of its database is ever told: what is wrong with
the machine is for its log, under the number of the incident.
"""

from __future__ import annotations

import http
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from misheard import errors
from misheard.database.engine import new_id
from misheard.errors import MisheardError
from misheard.server.places import without_places

MEDIA_TYPE = "application/problem+json"
OPENAI = "/v1/"
"""Below it errors are answered as OpenAI's API does: 400 for a request that is not valid."""
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_log = logging.getLogger("misheard.server")
_MOST_FLAWS = 20
_MOST_CHARACTERS = 300


class OpenAIError(BaseModel):
    """The same error, as OpenAI's clients read it."""

    message: str
    type: str = Field(examples=["invalid_request_error", "rate_limit_error", "server_error"])
    param: str | None = Field(description="The field that was wrong, where it was one.")
    code: str | None = Field(description="A name for this kind of error.", examples=["not_audio"])


class Problem(BaseModel):
    """What went wrong, and what to do about it (RFC 9457)."""

    type: str = Field(description="A name for this kind of problem.")
    title: str = Field(examples=["This is no audio that can be decoded."])
    status: int = Field(examples=[400], description="The status of the answer.")
    detail: str = Field(examples=["Convert it to WAV or FLAC first."])
    error: OpenAIError
    incident: str | None = Field(
        default=None, description="What to look for in the server's log, where it is at fault."
    )


PROBLEMS: dict[int | str, dict[str, Any]] = {
    kind: {
        "description": told,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for kind, told in {
        "4XX": "The request cannot be done; the problem says why.",
        "5XX": "The server cannot do it now.",
    }.items()
}
"""The answers of every route that are errors, for the OpenAPI document."""


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """How one kind of error is answered."""

    status: int
    instead: str = ""
    """What is told in place of an error's detail, where that speaks of this machine."""
    retry_after_s: int = 0


_BROKEN = "Something on the server is not as it should be. Tell whoever runs it."
_AGAIN = "Nothing is wrong with the request: send it again in a moment."
_ANSWERS: dict[type[MisheardError], _Answer] = {
    MisheardError: _Answer(status=500, instead=_BROKEN),
    errors.BadInputError: _Answer(status=400),
    errors.UnknownIdError: _Answer(status=404),
    errors.NotAllowedError: _Answer(status=403),
    errors.VersionPrunedError: _Answer(status=410),
    errors.OverloadedError: _Answer(status=429),
    errors.DeploymentConflictError: _Answer(status=409),
    errors.GateRefusedError: _Answer(status=409),
    errors.IllegalTransitionError: _Answer(status=409),
    errors.LeaseLostError: _Answer(status=409),
    errors.NoEarlierVersionError: _Answer(status=409),
    errors.NothingDeployedError: _Answer(status=409),
    errors.RolloutConflictError: _Answer(status=409),
    errors.RolloutStateError: _Answer(status=409),
    errors.StagingFailedError: _Answer(status=409),
    errors.VersionExistsError: _Answer(status=409),
    errors.BucketTakenError: _Answer(status=500, instead=_BROKEN),
    errors.ModelCorruptError: _Answer(status=500, instead=_BROKEN),
    errors.ModelNotFoundError: _Answer(status=500, instead=_BROKEN),
    errors.NewerSchemaError: _Answer(status=500, instead=_BROKEN),
    errors.WorkspaceExistsError: _Answer(status=500, instead=_BROKEN),
    errors.WorkspaceNotFoundError: _Answer(status=500, instead=_BROKEN),
    errors.DecoderUnavailableError: _Answer(status=503, instead=_AGAIN, retry_after_s=2),
    errors.EngineClosedError: _Answer(status=503, instead=_AGAIN, retry_after_s=2),
    errors.NotReadyError: _Answer(status=503, retry_after_s=2),
    errors.BucketUnreachableError: _Answer(status=503, instead=_AGAIN, retry_after_s=5),
    errors.DatabaseInUseError: _Answer(status=503, instead=_AGAIN, retry_after_s=5),
    errors.DatabaseUnreachableError: _Answer(status=503, instead=_AGAIN, retry_after_s=5),
    errors.MemoryFullError: _Answer(status=503, instead=_AGAIN, retry_after_s=5),
    errors.StorageBusyError: _Answer(status=503, instead=_AGAIN, retry_after_s=1),
    errors.MissingExtraError: _Answer(status=501),
    errors.NotFollowedError: _Answer(status=504),
    errors.DiskFullError: _Answer(
        status=507, instead="Nothing was kept. Whoever runs the server has to make room."
    ),
}
"""Kind of error → its answer; one that is not here is answered as the kind that it is of."""


def problem_response(
    status: int,
    title: str,
    detail: str,
    headers: Mapping[str, str] | None = None,
    *,
    code: str | None = None,
    param: str | None = None,
    incident: str | None = None,
) -> JSONResponse:
    """An error's answer: `title` says what kind it is, `detail` what was wrong and what to do.

    `code` is a name for the kind, `param` the field of the request that was wrong.
    """
    body = {
        "type": f"urn:misheard:problem:{code.replace('_', '-')}" if code else "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "error": {
            "message": f"{title} {detail}".strip(),
            "type": _openai_type(status),
            "param": param,
            "code": code,
        },
    }
    if incident is not None:
        body["incident"] = incident
    return JSONResponse(body, status, dict(headers or {}), MEDIA_TYPE)


def problem_of(error: MisheardError, *, param: str | None = None) -> JSONResponse:
    """The answer to an error of ours; one that the server is at fault for is logged."""
    answer = next(_ANSWERS[kind] for kind in type(error).__mro__ if kind in _ANSWERS)
    incident = None
    if answer.status >= 500:
        incident = new_id("incident")
        _log.error("%s: %s", incident, error)
    wait_s = getattr(error, "retry_after_s", None) or answer.retry_after_s
    return problem_response(
        answer.status,
        str(type(error)()),
        answer.instead or without_places(error.detail),
        {"Retry-After": str(max(1, round(wait_s)))} if wait_s else None,
        code=code_of(type(error)),
        param=param,
        incident=incident,
    )


def unexpected(where: str) -> JSONResponse:
    """The answer to the exception that is being handled, which nobody expected; it is logged."""
    incident = new_id("incident")
    _log.exception("%s: %s", incident, where)
    return problem_response(
        500, "The server has failed.", _BROKEN, code="failed", incident=incident
    )


def code_of(kind: type[MisheardError]) -> str:
    """A name for a kind of error.

    >>> code_of(errors.NotAudioError)
    'not_audio'
    """
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__.removesuffix("Error")).lower()


def add_problems(app: FastAPI) -> None:
    """Let every error of `app` be answered by a problem."""
    app.add_exception_handler(MisheardError, _ours)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(HTTPException, _of_http)


class Incidents:
    """Answers what nobody expected with the number under which it is in the log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        has_begun = False

        async def sending(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception:
            answer = unexpected(scope.get("path", scope["type"]))
            if scope["type"] != "http" or has_begun:
                raise
            await answer(scope, receive, send)


async def _ours(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, MisheardError)  # noqa: S101 - for mypy: as it was registered
    return problem_of(error)


async def _not_valid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
    flaws = error.errors()
    told = [
        f"{_where(one['loc'])}: {one['msg'].removeprefix('Value error, ')}"
        for one in flaws[:_MOST_FLAWS]
    ]
    if len(flaws) > _MOST_FLAWS:
        told.append(f"and {len(flaws) - _MOST_FLAWS} more")
    return problem_response(
        400 if request.url.path.startswith(OPENAI) else 422,
        "The request is not valid.",
        "; ".join(one[:_MOST_CHARACTERS] for one in told) + ".",
        code="invalid_request",
        param=_where(flaws[0]["loc"]) if flaws else None,
    )


def _where(location: Sequence[int | str]) -> str:
    """The field's name, without the part of the request that it stands in."""
    inside = location[1:] if len(location) > 1 else location
    return ".".join(map(str, inside))[:_MOST_CHARACTERS]


async def _of_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    phrase = http.HTTPStatus(error.status_code).phrase
    detail = error.detail
    if detail == phrase:
        detail = _PLAIN.get(error.status_code, "")
    headers = error.headers
    if error.status_code == 405:
        headers = {"Allow": ", ".join(_methods_at(request))}
    code = phrase.lower().replace(" ", "_").replace("-", "_")
    return problem_response(error.status_code, f"{phrase}.", detail, headers, code=code)


_PLAIN = {
    404: "Nothing is at this address; /openapi.json lists what there is.",
    405: "This address takes other methods; /openapi.json lists them.",
}


def _methods_at(request: Request) -> list[str]:
    """Those that are taken at this address; Starlette itself names those of its first route."""
    return [
        method
        for method in _METHODS
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.routes
        )
    ]


def _openai_type(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"
