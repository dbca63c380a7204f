"""What OpenAI's API answers with, for the document; `formats.py` makes it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from misheard.serving.utterance import Capture

_ID = Field(None, description="What feedback refers to it by, where it was captured.")


class Usage(BaseModel):
    """How much was transcribed."""

    type: Literal["duration"]
    seconds: float


class Transcription(BaseModel):
    """`json`."""

    text: str
    usage: Usage
    id: str | None = _ID


class TranscriptionWord(BaseModel):
    """A word, and when it was said."""

    word: str
    start: float = Field(description="Seconds from the beginning, as all times here.")
    end: float


class TranscriptionSegment(BaseModel):
    """A phrase or sentence; from `temperature` on it says what is known of its window."""

    id: int
    seek: int = Field(description="Where its window begins, in hundredths of a second.")
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float


class VerboseTranscription(BaseModel):
    """`verbose_json`."""

    task: Literal["transcribe"]
    language: str = Field(description="Its English name.", examples=["english"])
    duration: float
    text: str
    usage: Usage
    segments: list[TranscriptionSegment] | None = None
    words: list[TranscriptionWord] | None = None
    id: str | None = _ID


class Model(BaseModel):
    """A model that can be asked for."""

    id: str = Field(examples=["whisper-1"])
    object: Literal["model"] = "model"
    created: int = Field(description="Seconds since 1970.")
    owned_by: str = "misheard"


class Models(BaseModel):
    """All models that can be asked for."""

    object: Literal["list"] = "list"
    data: list[Model]


_TEXT = {"schema": {"type": "string"}}
TRANSCRIBED: dict[str, Any] = {
    "model": Transcription | VerboseTranscription,
    "description": "What was heard.",
    "headers": {
        "x-misheard-id": {
            "description": "What feedback refers to it by, where it was captured.",
            "schema": {"type": "string"},
        },
        "x-misheard-version": {
            "description": "Who heard it.",
            "schema": {"type": "string"},
        },
        "x-misheard-capture": {
            "description": "Whether it was captured; what failed is told to whoever runs it.",
            "schema": {"type": "string", "enum": [str(one) for one in Capture]},
        },
    },
    "content": {
        "text/plain": _TEXT,
        "application/x-subrip": _TEXT,
        "text/vtt": _TEXT,
        "text/event-stream": _TEXT,
    },
}
"""The answer of a transcription."""
