"""`/api/v1/review`: what a person should listen to next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query

from misheard.cases.records import AUDIT_METHOD
from misheard.cases.review import QueueItem, Stream, Waiting
from misheard.server.api.callers import REVIEW, Reviewer
from misheard.server.api.cases import Answer, Corrected, corrected
from misheard.server.api.models import model_of
from misheard.server.api.parameters import IdInPath, InWorkspace, Limit

QUEUE = 20
_QUICKLY_COUNTED = 20_000
"""Transcripts that are counted while somebody waits; more are left to the worker."""
Place = Annotated[
    str,
    Query(
        max_length=2_000,
        pattern=r"^[A-Za-z0-9_-]*$",
        description="The `after` of the page before; nothing for the first page.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Queue:
    """The next of the review queue."""

    items: tuple[QueueItem, ...]
    after: str
    """What to ask for the next page with; empty where this was the last."""
    waiting: dict[Stream, Waiting]
    """How many of each stream wait."""


class Judgement(Answer):
    """What a person says of a transcript of the queue."""

    stream: Stream
    """The stream that it was found in: an audit is answered only by who was asked for it."""


def router() -> APIRouter:
    """Routes for the review queue."""
    made = APIRouter(prefix="/review", tags=["review"], dependencies=[REVIEW])

    @made.get("", response_model=model_of(Queue), summary="The next of the queue")
    def next_(
        workspace: InWorkspace,
        stream: Annotated[
            Stream | None, Query(description="Only of this one; else of all in turn.")
        ] = None,
        limit: Limit = QUEUE,
        after: Place = "",
    ) -> Queue:
        if workspace.digest.behind() < _QUICKLY_COUNTED:
            workspace.digest.catch_up()
        found = workspace.review.page(stream, limit=limit, after=after)
        waiting = workspace.review.waiting()
        return Queue(items=found.items, after=found.after, waiting=waiting)

    @made.post(
        "/{inference_id}",
        status_code=201,
        response_model=model_of(Corrected),
        summary="Answer a transcript of the queue",
    )
    def answer(
        workspace: InWorkspace, caller: Reviewer, inference_id: IdInPath, given: Judgement
    ) -> Corrected:
        method = AUDIT_METHOD if given.stream is Stream.AUDIT else "manual"
        return corrected(workspace, inference_id, given, author=caller.actor, method=method)

    return made
