"""What OpenAI's API has for transcription, as its clients ask for it.

https://developers.openai.com/api/reference/resources/audio
"""

from __future__ import annotations

from typing import NoReturn

from fastapi import APIRouter, Depends, Request
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, PlainTextResponse, Response

from misheard.access.roles import Role
from misheard.errors import BadInputError, UnknownIdError
from misheard.server import formats
from misheard.server.openai_models import TRANSCRIBED, Model, Models
from misheard.server.security import caller_may
from misheard.server.streaming import Gone, streamed, unless_gone
from misheard.server.transcription_form import (
    WHISPER,
    TranscriptionFields,
    body_document,
    form_of,
    read_form,
)
from misheard.serving.service import Service
from misheard.serving.utterance import Answer, Utterance
from misheard.workspace import Workspace

TRANSCRIPTIONS = "/v1/audio/transcriptions"
_MOST_NAME_CHARACTERS = 200


def router() -> APIRouter:
    """The routes of OpenAI's API."""
    made = APIRouter(tags=["transcription"], dependencies=[Depends(caller_may(Role.TRANSCRIBE))])

    @made.post(
        TRANSCRIPTIONS,
        summary="Transcribe a recording",
        response_model=None,
        responses={200: TRANSCRIBED},
        openapi_extra={"requestBody": body_document()},
    )
    async def transcribe(request: Request) -> Response:
        """What is said in a recording, in the format that is asked for.

        It is captured for the loop unless `store` is off; then the header `x-misheard-id` and, in
        JSON, the member `id` are what feedback refers to it by.
        """
        service: Service = request.app.state.service
        service.require_room()
        # Not by FastAPI: who may not ask, or comes when it is full, is told before it is read.
        try:
            async with form_of(request) as form:
                upload, fields = read_form(form.multi_items())
                data = await upload.read()
        except ClientDisconnect:
            return Response(status_code=Gone.STATUS)
        utterance = _utterance(service, data, upload.filename or "", fields)
        if fields.stream:
            return await streamed(request, service, utterance)
        try:
            answer = await unless_gone(request, service.hear(utterance))
        except Gone:
            return Response(status_code=Gone.STATUS)
        return _answered(answer, fields)

    @made.post("/v1/audio/translations", include_in_schema=False, response_model=None)
    async def translate() -> NoReturn:
        raise BadInputError(
            "Nothing is translated here: versions are trained and judged on what was said. Ask for "
            f"{TRANSCRIPTIONS}, and translate its text."
        )

    @made.get("/v1/models", summary="List the models")
    def models(request: Request) -> Models:
        """What can be asked for: the names of what is live, and every version that is loaded."""
        return Models(data=_models(request))

    @made.get("/v1/models/{model}", summary="Show a model")
    def model(model: str, request: Request) -> Model:
        """One model by its name."""
        for one in _models(request):
            if one.id == model:
                return one
        raise _unknown(model)

    return made


def _models(request: Request) -> list[Model]:
    workspace: Workspace = request.app.state.workspace
    service: Service = request.app.state.service
    state = service.engines.state
    made = {
        version_id: int(workspace.registry.get(version_id).created_at.timestamp())
        for version_id in (state.version_id, *state.loaded)
        if version_id
    }
    live = [Model(id=name, created=made[state.version_id]) for name in (WHISPER, service.slot)]
    return live + [Model(id=version_id, created=at) for version_id, at in made.items()]


def _unknown(model: str) -> UnknownIdError:
    return UnknownIdError(
        f"No model '{model[:_MOST_NAME_CHARACTERS]}' is loaded; GET /v1/models lists what is."
    )


def _utterance(service: Service, data: bytes, name: str, fields: TranscriptionFields) -> Utterance:
    version_id = None if fields.model in (WHISPER, service.slot) else fields.model
    if version_id is not None and version_id not in service.engines.state.loaded:
        raise _unknown(version_id)
    return Utterance(
        data=data,
        name=_plain_name(name),
        options=fields.options(service.temperatures),
        version_id=version_id,
        client_id=fields.client_id,
        speaker=fields.speaker,
        session=fields.session,
        speaker_group=fields.speaker_group,
        tags=fields.tags,
        store=fields.store,
    )


def _plain_name(name: str) -> str:
    r"""A file's name without its folders: what is kept can never be taken for a path of ours.

    >>> _plain_name("../../srv/calls.wav"), _plain_name("C:\\calls\\a.wav"), _plain_name("/srv/")
    ('calls.wav', 'a.wav', 'audio')
    """
    last = name.replace("\\", "/").rpartition("/")[2][-_MOST_NAME_CHARACTERS:]
    return "".join(one if one.isprintable() else "\ufffd" for one in last) or "audio"


def _answered(answer: Answer, fields: TranscriptionFields) -> Response:
    heard, headers = answer.transcript, formats.headers_of(answer)
    match fields.response_format:
        case "text":
            return PlainTextResponse(formats.text_of(heard), headers=headers)
        case "srt":
            return PlainTextResponse(formats.srt(heard), headers=headers, media_type=formats.SRT)
        case "vtt":
            return PlainTextResponse(formats.vtt(heard), headers=headers, media_type=formats.VTT)
        case "verbose_json":
            body = formats.verbose(
                heard,
                answer.duration_s,
                segments=fields.wants_segments,
                words=fields.wants_words,
            )
        case "json":
            body = formats.plain(heard, answer.duration_s)
    if answer.inference_id is not None:
        body["id"] = answer.inference_id
    return JSONResponse(body, headers=headers)
