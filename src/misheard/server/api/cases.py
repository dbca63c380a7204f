"""`/api/v1/cases` and `/api/v1/corrections`: what was misheard, and what was really said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Self

from fastapi import APIRouter, Query
from pydantic import Field, Strict, model_validator

from misheard.cases.records import CaseStandings, CaseStatus, Correction, ErrorCase, GivenCorrection
from misheard.errors import BadInputError
from misheard.server.api.callers import REVIEW, Reviewer
from misheard.server.api.models import Page, model_of, page, page_of
from misheard.server.api.parameters import (
    PAGE,
    Before,
    BeforeNumber,
    Details,
    Flag,
    Given,
    Id,
    IdInPath,
    InWorkspace,
    Limit,
    Name,
    Words,
)
from misheard.workspace import Workspace

MOST_TAGS = 10


class Opening(Given):
    """A transcript that somebody believes to be wrong."""

    inference_id: Id
    error_types: Annotated[tuple[Name, ...], Field(max_length=50)] = ()
    suspicion: Annotated[float, Strict(), Field(ge=0.0, le=1.0, allow_inf_nan=False)] | None = None
    """The chance that it is wrong; null where nobody says."""
    details: Details = Field(default_factory=dict)


class Answer(Given):
    """What a person says of a transcript: the words that were spoken, or that it is right."""

    reference: Words | None = None
    """What was really said; empty where nobody spoke."""
    is_right: Flag = False
    """The transcript is right as it is; given in place of `reference`."""

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.reference is None) != self.is_right:
            raise ValueError("give either the reference, or is_right")
        return self


class CorrectionGiven(Answer):
    """What a person says of one transcript."""

    inference_id: Id
    method: Name = "manual"
    """How it came about: manual, audit, feedback, import, …; "audit" answers what was drawn at
    random."""
    details: Details = Field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CaseStory:
    """A case with all that was said of its transcript."""

    case: ErrorCase
    corrections: list[GivenCorrection]
    """Newest first; the newest counts."""


@dataclass(frozen=True, kw_only=True)
class Corrected:
    """What a correction came to."""

    inference_id: str
    is_error: bool
    """False: it confirms what was heard, formatting aside."""


def corrected(
    workspace: Workspace,
    inference_id: str,
    answer: Answer,
    *,
    author: str,
    method: str,
    details: Details | None = None,
) -> Corrected:
    """Keep what a person says of a transcript."""
    heard = workspace.inferences.get(inference_id).text
    correction = Correction(
        inference_id=inference_id,
        reference=heard if answer.reference is None else answer.reference,
        author=author,
        method=method,
        details=details or {},
    )
    (is_error,) = workspace.cases.correct([correction])
    return Corrected(inference_id=inference_id, is_error=is_error)


def router() -> APIRouter:
    """Routes for error cases and corrections."""
    made = APIRouter(tags=["cases"], dependencies=[REVIEW])

    @made.get("/cases", response_model=page_of(ErrorCase), summary="Error cases, newest first")
    def listed(
        workspace: InWorkspace,
        status: CaseStatus | None = None,
        error_type: Annotated[Name | None, Query(description="Of this type of error.")] = None,
        speaker_group: Annotated[Name | None, Query(description="Of these speakers.")] = None,
        tag: Annotated[
            list[Name],
            Query(
                max_length=MOST_TAGS,
                description="Of transcripts so tagged: channel=mobile. Of several, all must hold.",
            ),
        ] = [],  # noqa: B006 - FastAPI copies it
        limit: Limit = PAGE,
        before: Before = None,
    ) -> Page[ErrorCase]:
        found = workspace.cases.listed(
            status=status,
            error_type=error_type,
            speaker_group=speaker_group,
            tags=_tags(tag),
            limit=limit + 1,
            before=before,
        )
        return page(found, limit)

    @made.get(
        "/cases/counts", response_model=model_of(CaseStandings), summary="How many cases stand how"
    )
    def counts(workspace: InWorkspace) -> CaseStandings:
        return workspace.cases.standings()

    @made.post(
        "/cases",
        response_model=model_of(ErrorCase),
        summary="Say that a transcript is believed to be wrong; its case may be there already",
    )
    def open_(workspace: InWorkspace, caller: Reviewer, given: Opening) -> ErrorCase:
        case_id = workspace.cases.open(
            given.inference_id,
            given.error_types,
            actor=caller.actor,
            suspicion=given.suspicion,
            details=given.details,
        )
        return workspace.cases.get(case_id)

    @made.get(
        "/cases/{case_id}",
        response_model=model_of(CaseStory),
        summary="One case, by its id or that of its transcript, with all that was said of it",
    )
    def show(workspace: InWorkspace, case_id: IdInPath) -> CaseStory:
        case = workspace.cases.get(case_id)
        said = workspace.cases.corrections(inference_id=case.inference_id, limit=1_000)
        return CaseStory(case=case, corrections=said)

    @made.get(
        "/corrections",
        response_model=page_of(GivenCorrection),
        summary="Corrections and confirmations, newest first",
    )
    def corrections(
        workspace: InWorkspace,
        inference_id: Annotated[Id | None, Query(description="Of this transcript.")] = None,
        limit: Limit = PAGE,
        before: BeforeNumber = None,
    ) -> Page[GivenCorrection]:
        found = workspace.cases.corrections(
            inference_id=inference_id, limit=limit + 1, before=before
        )
        return page(found, limit, by="number")

    @made.post(
        "/corrections",
        status_code=201,
        response_model=model_of(Corrected),
        summary="Say what was really spoken, or that a transcript is right",
    )
    def correct(workspace: InWorkspace, caller: Reviewer, given: CorrectionGiven) -> Corrected:
        return corrected(
            workspace,
            given.inference_id,
            given,
            author=caller.actor,
            method=given.method,
            details=given.details,
        )

    return made


def _tags(given: list[str]) -> dict[str, str]:
    pairs = [one.partition("=") for one in given]
    for name, sign, _ in pairs:
        if not (name and sign):
            raise BadInputError(f"'{name}' is no tag with its value. Write channel=mobile.")
    return {name: value for name, _, value in pairs}
