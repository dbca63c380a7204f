"""`/api/v1/tokens`: who may ask a server for what."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field, Strict

from misheard.access.roles import Role
from misheard.access.tokens import MAX_RATE_PER_MINUTE, Token
from misheard.database.engine import now
from misheard.server.api.callers import ADMINISTER, Administrator
from misheard.server.api.models import Page, model_of, page_of, page_of_few
from misheard.server.api.parameters import (
    PAGE,
    Before,
    Given,
    IdInPath,
    InWorkspace,
    Limit,
    Name,
)


class Making(Given):
    """A token that is to be made."""

    name: Name
    """Unique for ever: it stands as the actor in the audit log."""
    role: Role
    rate_per_minute: Annotated[int, Strict(), Field(ge=0, le=MAX_RATE_PER_MINUTE)] | None = None
    """Requests a minute; 0: no limit; null: as the settings have it."""
    days: Annotated[float, Strict(), Field(gt=0.01, le=36_500.0, allow_inf_nan=False)] | None = None
    """It is good for so long; null: until it is revoked."""


@dataclass(frozen=True, kw_only=True)
class MadeToken:
    """A new token."""

    token: Token
    secret: str
    """What is sent with requests; it is told this once, and kept nowhere."""


def router() -> APIRouter:
    """Routes for tokens."""
    made = APIRouter(prefix="/tokens", tags=["tokens"], dependencies=[ADMINISTER])

    @made.get("", response_model=page_of(Token), summary="All that were ever made, newest first")
    def listed(workspace: InWorkspace, limit: Limit = PAGE, before: Before = None) -> Page[Token]:
        return page_of_few(workspace.tokens.listed(), limit, before)

    @made.post("", status_code=201, response_model=model_of(MadeToken), summary="Make a token")
    def create(workspace: InWorkspace, caller: Administrator, given: Making) -> MadeToken:
        token, secret = workspace.tokens.create(
            given.name,
            given.role,
            actor=caller.actor,
            rate_per_minute=given.rate_per_minute,
            expires_at=None if given.days is None else now() + timedelta(days=given.days),
        )
        return MadeToken(token=token, secret=secret)

    @made.delete(
        "/{name_or_id}",
        response_model=model_of(Token),
        summary="Revoke a token, for ever",
    )
    def revoke(workspace: InWorkspace, caller: Administrator, name_or_id: IdInPath) -> Token:
        return workspace.tokens.revoke(name_or_id, actor=caller.actor)

    return made
