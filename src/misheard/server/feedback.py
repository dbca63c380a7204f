"""What people say of a transcript that they were given."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator

from misheard.access.roles import Role
from misheard.cases.records import Correction
from misheard.server.api.parameters import Id
from misheard.server.security import Caller, caller_may
from misheard.workspace import Workspace

_METHOD = "feedback"
"""It answers no audit: those who come are not drawn by chance."""


class Feedback(BaseModel):
    """A correction of a transcript, or that it is right."""

    model_config = ConfigDict(extra="forbid")

    id: Id = Field(description="Of the transcript: `x-misheard-id`, or `id`.")
    text: str | None = Field(
        None,
        max_length=100_000,
        description="What was really said; empty where nobody spoke.",
        examples=["Press one for sales."],
    )
    right: bool | None = Field(
        None, description="In place of the text: the transcript is right, or it is not."
    )

    @model_validator(mode="after")
    def _says_one_thing(self) -> Feedback:
        if (self.text is None) == (self.right is None):
            raise ValueError("say either text, what was said, or right, whether it was heard right")
        return self


class FeedbackTaken(BaseModel):
    """It is kept, whatever happens next."""

    id: str = Field(description="Of the transcript.")
    wrong: bool = Field(description="Whether the transcript is an error: formatting alone is none.")
    created_at: datetime | None = Field(
        description="When it was first said; null for what is only said to be wrong."
    )


def router() -> APIRouter:
    """The route of feedback."""
    made = APIRouter(tags=["feedback"])

    @made.post("/v1/feedback", summary="Correct a transcript, or confirm it")
    def give(
        feedback: Feedback,
        request: Request,
        caller: Annotated[Caller, Depends(caller_may(Role.TRANSCRIBE))],
    ) -> FeedbackTaken:
        """Takes what was really said, or whether the transcript is right.

        Once it is answered it is kept. It may be sent again: what the same caller said last of the
        same transcript counts once.
        """
        workspace: Workspace = request.app.state.workspace
        if feedback.right is False:
            workspace.cases.open(
                feedback.id,
                actor=caller.actor,
                details={"method": _METHOD, "reported_by": caller.actor},
            )
            return FeedbackTaken(id=feedback.id, wrong=True, created_at=None)
        text = feedback.text
        if text is None:
            text = workspace.inferences.get(feedback.id).text
        given = workspace.cases.correct_once(
            Correction(
                inference_id=feedback.id, reference=text, author=caller.actor, method=_METHOD
            )
        )
        return FeedbackTaken(id=feedback.id, wrong=given.is_error, created_at=given.created_at)

    return made
