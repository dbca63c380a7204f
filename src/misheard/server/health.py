"""Whether the server lives, and whether it is ready."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel


class Health(BaseModel):
    """The process answers."""

    status: str = "ok"


def router() -> APIRouter:
    """Routes for whoever watches the server."""
    made = APIRouter(tags=["health"])

    @made.get("/healthz", summary="Does the process live?")
    async def healthz() -> Health:
        return Health()

    return made
