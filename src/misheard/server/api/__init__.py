"""The loop over HTTP: a file a room, all of them below `/api/v1`."""

from __future__ import annotations

from fastapi import APIRouter


def routers() -> list[APIRouter]:
    """The routes of every room."""
    return []
