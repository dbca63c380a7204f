"""The loop over HTTP: a file a room, all of them below `/api/v1`."""

from __future__ import annotations

from fastapi import APIRouter

from misheard.server.api import (
    audit,
    cases,
    cycles,
    datasets,
    deletions,
    deployments,
    inferences,
    monitoring,
    review,
    rollouts,
    servers,
    suites,
    tokens,
    triggers,
    validations,
    versions,
)

_ROOMS = (
    inferences,
    cases,
    review,
    triggers,
    cycles,
    datasets,
    versions,
    validations,
    suites,
    deployments,
    servers,
    rollouts,
    monitoring,
    audit,
    tokens,
    deletions,
)


def routers() -> list[APIRouter]:
    """The routes of every room."""
    return [room.router() for room in _ROOMS]
