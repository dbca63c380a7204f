"""Who asks, and whether they may: tokens, and what a browser must not be made to do.

A request carries a token: `Authorization: Bearer mh_…`, or, to look at pages in a browser, HTTP
Basic with the token as the password. As long as the workspace never had a token, whoever is on this
machine may do everything, under the name `local`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import ipaddress
import logging
import math
import socket
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from fastapi import HTTPException, Request, Security
from fastapi.security import HTTPBearer
from starlette.requests import HTTPConnection

from misheard.access.rates import Rates
from misheard.access.roles import Role
from misheard.access.tokens import LOCAL, Token, Tokens
from misheard.access.uses import Uses
from misheard.errors import BadInputError, NotAllowedError, UnsafeAddressError
from misheard.server.problems import PROBLEMS

T = TypeVar("T")
READING = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""
_CALLER = "misheard.caller"
_REMEMBERED_S = 1.0
"""A token that was good a moment ago is not looked up again; so long it outlives its revocation."""
_MANY = 1_000
_LOOKERS = 4
"""Look-ups at once."""
_PROXY_HEADERS = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
_BEARER = HTTPBearer(
    scheme_name="token",
    bearerFormat="mh_…",
    description="Made by `misheard token create NAME --role ROLE`. Not needed on the machine "
    "itself as long as the workspace never had one.",
    auto_error=False,
)
REFUSALS: dict[int | str, dict[str, Any]] = {
    kind: {"description": told, "content": PROBLEMS["4XX"]["content"]}
    for kind, told in {
        401: "No token, or none that is good.",
        403: "The role of the token does not allow this, or a page of another site asks.",
        408: "The body came too slowly.",
        413: "The body is too large.",
        429: "Too many requests; come back after `Retry-After` seconds.",
    }.items()
}
"""For `APIRouter(responses=…)`, so that the OpenAPI document has what `caller_may` answers."""


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who asks."""

    name: str
    """Of the token; `local` where none is needed."""
    role: Role

    @property
    def actor(self) -> str:
        """As the audit log names them."""
        return self.name


def caller_may(role: Role, *, page: bool = False) -> Callable[..., Awaitable[Caller]]:
    """A dependency that gives the caller, whose role must allow what needs `role`.

    For a `page`, which only shows something, a browser may send the token by HTTP Basic: it asks
    for it. Needs a `Guard` as `app.state.guard`. Every answer is an `HTTPException`: 401, 403, 429.
    """

    async def caller(request: Request, _: Annotated[Any, Security(_BEARER)]) -> Caller:
        guard: Guard = request.app.state.guard
        known = await guard.caller(request, page=page)
        if not known.role.may(role):
            raise HTTPException(
                403,
                f"The token '{known.name}' may {known.role}, and this needs one that may {role}: "
                f"misheard token create NAME --role {role}",
                headers={"WWW-Authenticate": _challenge("insufficient_scope")},
            )
        return known

    return caller


class Guard:
    """Knows callers by their tokens and counts their requests; one a process, on its event loop."""

    def __init__(self, tokens: Tokens, *, requests_per_minute: int = 0) -> None:
        """`requests_per_minute` is for tokens that say nothing else; 0: no limit."""
        self._tokens = tokens
        self._uses = Uses(tokens)
        # Endpoints that wait for the database fill the threads that all share; who asks is known
        # all the same.
        self._looking = ThreadPoolExecutor(_LOOKERS, thread_name_prefix="misheard-who")
        self._requests_per_minute = requests_per_minute
        self._rates = Rates()
        self._are_required = False
        self._looked_at = -math.inf
        # SHA-256 of a secret → its token, and until when it is not looked up again.
        self._remembered: dict[bytes, tuple[Token, float]] = {}

    async def stop(self) -> None:
        """Return when it is noted which tokens were used."""
        await asyncio.to_thread(self._uses.drain)

    async def caller(self, connection: HTTPConnection, *, page: bool = False) -> Caller:
        """Who asks; `HTTPException` where that is not known, or they ask too often.

        A request is counted once, however often this is asked about it.
        """
        known = connection.scope.get(_CALLER)
        if not isinstance(known, Caller):
            known = connection.scope[_CALLER] = await self._known(connection, page)
        return known

    async def _known(self, connection: HTTPConnection, page: bool) -> Caller:
        reading = connection.scope["method"] in READING
        if not reading and _is_from_another_site(connection):
            # Browsers say so. With it goes what they send by themselves: a login by HTTP Basic, and
            # where no token is needed, being on this machine.
            raise HTTPException(
                403,
                "A page of another site sent this. If a proxy stands before the server, let it "
                "pass the header Host on as it came.",
            )
        if not await self._is_token_required():
            _require_local(connection)
            return Caller(name=LOCAL, role=Role.ADMINISTER)
        token = await self._token(connection, page=page and reading)
        limit = token.rate_per_minute
        limit = self._requests_per_minute if limit is None else limit
        wait_s = self._rates.take(token.id, per_minute=limit, at=time.monotonic())
        if wait_s:
            raise HTTPException(
                429,
                f"The token '{token.name}' has {limit:,} requests a minute. Come back in "
                f"{math.ceil(wait_s)} s.",
                headers={"Retry-After": str(math.ceil(wait_s))},
            )
        return Caller(name=token.name, role=token.role)

    async def _is_token_required(self) -> bool:
        if not self._are_required and time.monotonic() - self._looked_at >= _REMEMBERED_S:
            self._are_required = await self._looked_up(self._tokens.any)
            self._looked_at = time.monotonic()
        return self._are_required

    async def _token(self, connection: HTTPConnection, *, page: bool) -> Token:
        scheme, _, value = connection.headers.get("authorization", "").partition(" ")
        value = value.strip()
        if scheme.lower() == "bearer" and value:
            secret = value
        elif scheme.lower() == "basic" and page:
            secret = _password(value)
        else:
            detail = "Send a token: 'Authorization: Bearer mh_…'."
            if scheme.lower() == "basic":
                detail = f"HTTP Basic is for looking at pages only. {detail}"
            make = "Make one: misheard token create NAME --role ROLE"
            raise HTTPException(
                401, f"{detail} {make}", headers={"WWW-Authenticate": _challenge(page=page)}
            )
        try:
            return await self._checked(secret)
        except NotAllowedError as error:
            where = connection.client.host if connection.client else "somewhere"
            logging.getLogger("misheard").warning("A request from %s: %s", where, error)
            challenge = _challenge("invalid_token", page=page)
            raise HTTPException(401, str(error), headers={"WWW-Authenticate": challenge}) from error

    async def _checked(self, secret: str) -> Token:
        key, at = hashlib.sha256(secret.encode()).digest(), time.monotonic()
        token, until = self._remembered.get(key, (None, at))
        if token is not None and at < until:
            return token
        # Only good ones are kept, so this is as large as there are tokens in use.
        self._remembered.pop(key, None)
        token = await self._looked_up(lambda: self._tokens.check(secret))
        if len(self._remembered) >= _MANY:
            self._remembered.clear()
        self._remembered[key] = (token, at + _REMEMBERED_S)
        self._uses.note(token)
        return token

    async def _looked_up(self, look: Callable[[], T]) -> T:
        """What `look` finds in the database; 503 where that cannot be read."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._looking, look)
        except NotAllowedError:
            raise
        except Exception as error:
            # Not left to others to answer: what is raised while a body is read is taken for a fault
            # of the body.
            logging.getLogger("misheard").exception("Tokens could not be looked up.")
            raise HTTPException(
                503,
                "Who asks cannot be looked up at this moment. Come back in a few seconds.",
                headers={"Retry-After": "2"},
            ) from error


def require_safe_address(host: str, tokens: Tokens) -> None:
    """Raise `UnsafeAddressError` where others could reach a server on `host` that has no token.

    `host` is a name or an address; `BadInputError` for one that is unknown.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise BadInputError(f"'{host}' is no address of this machine: {error}.") from error
    reachable = [str(one[4][0]) for one in found if not _is_loopback(str(one[4][0]))]
    if reachable and not tokens.any():
        raise UnsafeAddressError(
            f"'{host}' is {', '.join(dict.fromkeys(reachable))}. Make one: misheard token create "
            "NAME --role transcribe. Or listen on this machine only: --host 127.0.0.1"
        )


def _require_local(connection: HTTPConnection) -> None:
    """Refuse whoever is not at this machine, and browsers that were led here by another name."""
    is_here = connection.client is not None and _is_loopback(connection.client.host)
    if not is_here or any(name in connection.headers for name in _PROXY_HEADERS):
        raise HTTPException(
            403,
            "Without a token the server answers on its own machine only, and through no proxy. "
            "Make one there: misheard token create NAME --role ROLE",
        )
    # A page whose name is made to point at this machine (DNS rebinding) is of one site with us, but
    # the browser tells the name.
    name = _host_name(connection.headers.get("host", ""))
    if name != "localhost" and not _is_loopback(name):
        raise HTTPException(
            403,
            "Without a token the server answers as localhost or 127.0.0.1 only. For another name "
            "make one: misheard token create NAME --role ROLE",
        )


def _is_from_another_site(connection: HTTPConnection) -> bool:
    origin = connection.headers.get("origin")
    if origin is None:
        return False
    # "null" has no host. The scheme is not looked at: TLS may end before us.
    try:
        there = urlsplit(origin).netloc.lower()
    except ValueError:
        return True
    return not there or there != connection.headers.get("host", "").lower()


def _host_name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _is_loopback(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)


def _password(basic: str) -> str:
    """The password of HTTP Basic; empty where there is none, which is no token."""
    try:
        return base64.b64decode(basic, validate=True).decode("ascii").partition(":")[2]
    except (binascii.Error, ValueError):
        return ""


def _challenge(error: str = "", *, page: bool = False) -> str:
    """What `WWW-Authenticate` asks for (RFC 6750, RFC 7617)."""
    if page:
        return 'Basic realm="misheard", charset="UTF-8"'
    return f'Bearer realm="misheard", error="{error}"' if error else 'Bearer realm="misheard"'
