"""The form that a transcription is asked for with: OpenAI's fields, and ours."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from typing import Annotated, Any, Literal

from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

WHISPER = "whisper-1"
"""What clients call OpenAI's own Whisper; here it is another name for what is live."""
_MOST_NAME_CHARACTERS = 200
_MOST_FIELDS = 100
_MULTIPART = "multipart/form-data"
_TAG = re.compile(r"tags\[(.*)\]", re.DOTALL)
_NOT_OFFERED = {
    "include[]": "log-probabilities of tokens are not offered; verbose_json has avg_logprob of "
    "each segment",
    "known_speaker_names[]": "speakers are not told apart here; name yours in the field speaker",
    "known_speaker_references[]": "speakers are not told apart here",
    "keywords[]": "not offered; put the words into the prompt",
    "languages[]": "not offered; send one language, or auto",
}
_Id = Annotated[str, Field(max_length=500)]


class TranscriptionFields(BaseModel):
    """What is asked for beside the file."""

    model_config = ConfigDict(extra="forbid", title="Transcription")

    model: str = Field(
        WHISPER, max_length=500, description="Who hears it, see GET /v1/models.", examples=[WHISPER]
    )
    language: str | None = Field(
        None, description="Code of the spoken language, or `auto` to find out.", examples=["en"]
    )
    prompt: str = Field(
        "", max_length=10_000, description="What was said before, or how text is to be written."
    )
    response_format: Literal["json", "text", "srt", "vtt", "verbose_json"] = Field(
        "json", description="What is answered."
    )
    temperature: float = Field(
        0.0, ge=0.0, le=1.0, description="Above 0, text is drawn at random; 0: as it is set here."
    )
    timestamp_granularities: tuple[Literal["word", "segment"], ...] = Field(
        ("segment",),
        alias="timestamp_granularities[]",
        description="What `verbose_json` tells the times of.",
    )
    stream: bool = Field(False, description="Send text as it is heard, as server-sent events.")
    chunking_strategy: Literal["auto"] = Field(
        "auto", description="Long audio is always cut at silences."
    )
    session: _Id | None = Field(
        None, description="Which call or visit it is of: a canary keeps to it, forgetting finds it."
    )
    speaker: _Id | None = Field(None, description="Who speaks, by your own id.")
    speaker_group: _Id = Field("", description="What moves together in statistics.")
    client_id: _Id | None = Field(
        None, description="Your own id for it: sent twice, it is captured once."
    )
    tags: dict[str, str] = Field(
        default_factory=dict,
        description="What figures are told apart by: JSON, or a field `tags[name]` for each.",
        examples=['{"channel": "mobile"}'],
    )
    store: bool = Field(True, description="Off: it is not captured, and can get no feedback.")

    @model_validator(mode="after")
    def _fits(self) -> TranscriptionFields:
        asked = "timestamp_granularities" in self.model_fields_set
        if asked and self.response_format != "verbose_json":
            raise ValueError("timestamp_granularities[] needs response_format=verbose_json")
        if self.stream and self.response_format not in ("json", "text"):
            raise ValueError("stream needs response_format=json or text")
        return self

    @property
    def wants_segments(self) -> bool:
        """Whether times of segments are answered."""
        if self.response_format == "verbose_json":
            return "segment" in self.timestamp_granularities
        return self.response_format in ("srt", "vtt")

    @property
    def wants_words(self) -> bool:
        """Whether times of words are answered."""
        return self.response_format == "verbose_json" and "word" in self.timestamp_granularities

    def options(self, temperatures: tuple[float, ...]) -> dict[str, Any]:
        """What stands in for options of `[speech]`; `temperatures` are those set there."""
        made: dict[str, Any] = {}
        if self.language:
            made["language"] = self.language.lower()
        if self.prompt.strip():
            made["prompt"] = self.prompt
        if self.temperature:
            made["temperatures"] = (self.temperature,)
        elif "temperature" in self.model_fields_set:
            # OpenAI's 0 is where it begins; what has failed is tried again higher up.
            made["temperatures"] = (0.0, *(one for one in temperatures if one > 0))
        if self.wants_segments:
            made["timestamps"] = True
        if self.wants_words:
            made["word_timestamps"] = True
        return made


class _InMemory(MultiPartParser):
    """No disk has a part in an answer: bodies are bounded, and so is what all of them hold."""

    spool_max_size = sys.maxsize


@asynccontextmanager
async def form_of(request: Request) -> AsyncIterator[FormData]:
    """The form that a request brings; empty where it brings something else.

    Raises `HTTPException` (400) for one that is damaged.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    form = FormData()
    if kind == _MULTIPART:
        try:
            async with aclosing(request.stream()) as stream:
                parser = _InMemory(request.headers, stream, max_files=1, max_fields=_MOST_FIELDS)
                form = await parser.parse()
        except MultiPartException as error:
            raise HTTPException(400, error.message) from error
        except (UnicodeError, LookupError) as error:
            raise HTTPException(400, f"The form is not in its charset: {error}.") from error
    try:
        yield form
    finally:
        await form.close()


def read_form(
    items: Iterable[tuple[str, str | UploadFile]],
) -> tuple[UploadFile, TranscriptionFields]:
    """The file and the fields of a form; `RequestValidationError` says what is wrong with them."""
    upload: UploadFile | None = None
    given: dict[str, Any] = {}
    tags: dict[str, str] = {}
    for name, value in items:
        key = f"{name}[]" if f"{name}[]" in _LISTS else name
        if isinstance(value, UploadFile):
            if key != "file":
                raise _wrong(key, "the file of a recording is called file")
            upload = value
        elif key == "file":
            raise _wrong(key, "send it as a file, with a name: curl -F file=@call.wav")
        elif key in _LISTS:
            given.setdefault(key, []).append(value)
        elif named := _TAG.fullmatch(key):
            tags[named[1]] = value
        elif key == "tags":
            tags |= _tags(value)
        else:
            given[key] = value
    if tags:
        given["tags"] = tags
    fields = _validated(given)
    if upload is None:
        raise _wrong("file", "there is none; send the recording as multipart/form-data")
    return upload, fields


def body_document() -> dict[str, Any]:
    """The form for the OpenAPI document."""
    schema = TranscriptionFields.model_json_schema()
    schema["properties"]["tags"] = {
        "type": "string",
        **{key: schema["properties"]["tags"][key] for key in ("description", "examples")},
    }
    file = {"type": "string", "format": "binary", "description": "The recording, in any format."}
    schema["properties"] = {"file": file, **schema["properties"]}
    schema["required"] = ["file"]
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}


_KNOWN = {
    field.alias or name: field.annotation
    for name, field in TranscriptionFields.model_fields.items()
}
_LISTS = {name for name in (*_KNOWN, *_NOT_OFFERED) if name.endswith("[]")}


def _validated(given: dict[str, Any]) -> TranscriptionFields:
    for name in given:
        if name in _NOT_OFFERED:
            raise _wrong(name, _NOT_OFFERED[name])
        if name not in _KNOWN:
            raise _wrong(name, f"there is no such field; known are file, {', '.join(_KNOWN)}")
    try:
        return TranscriptionFields.model_validate(given)
    except ValidationError as error:
        flaws = error.errors(include_url=False, include_context=False, include_input=False)
        raise RequestValidationError(
            [{**flaw, "loc": ("body", *(flaw["loc"] or ("fields",)))} for flaw in flaws]
        ) from error


def _tags(text: str) -> dict[str, str]:
    try:
        made = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _wrong("tags", 'no JSON; write {"channel": "mobile"}') from error
    if not isinstance(made, dict):
        raise _wrong("tags", 'no names and values; write {"channel": "mobile"}')
    return made


def _wrong(name: str, what: str) -> RequestValidationError:
    shown = name[:_MOST_NAME_CHARACTERS]
    return RequestValidationError([{"loc": ("body", shown), "msg": what, "type": "value_error"}])
