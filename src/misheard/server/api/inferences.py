"""`/api/v1/inferences`: what was heard."""

from __future__ import annotations

from fastapi import APIRouter, Response

from misheard.capture.inferences import Inference
from misheard.errors import UnknownIdError
from misheard.server.api.callers import REVIEW
from misheard.server.api.models import Page, model_of, page, page_of
from misheard.server.api.parameters import PAGE, Before, IdInPath, InWorkspace, Limit
from misheard.server.api.recordings import media_type_of


def router() -> APIRouter:
    """Routes for transcripts and their recordings."""
    made = APIRouter(prefix="/inferences", tags=["inferences"], dependencies=[REVIEW])

    @made.get("", response_model=page_of(Inference), summary="What was heard, newest first")
    def listed(
        workspace: InWorkspace, limit: Limit = PAGE, before: Before = None
    ) -> Page[Inference]:
        return page(workspace.inferences.recent(limit=limit + 1, before=before), limit)

    @made.get("/{inference_id}", response_model=model_of(Inference), summary="One transcript")
    def show(workspace: InWorkspace, inference_id: IdInPath) -> Inference:
        return workspace.inferences.get(inference_id)

    @made.get(
        "/{inference_id}/audio",
        response_class=Response,
        responses={
            200: {
                "description": "The recording, as its sender encoded it.",
                "content": {
                    "audio/*": {"schema": {"type": "string", "format": "binary"}},
                    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
                },
            }
        },
        summary="The recording, to be saved",
    )
    def audio(workspace: InWorkspace, inference_id: IdInPath) -> Response:
        inference = workspace.inferences.get(inference_id)
        if not inference.audio_sha256:
            raise UnknownIdError(f"The recording of '{inference_id}' is not kept here.")
        data = workspace.recording(inference.audio_sha256)
        media_type, suffix = media_type_of(data)
        # Its own name is its sender's word, and a browser would believe it.
        name = f"{inference.audio_sha256[:16]}{suffix}"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(data, media_type=media_type, headers=headers)

    return made
