"""What somebody wants to be transcribed, and what they are answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from misheard.capture.captured import require_id, require_short_tags
from misheard.errors import BadInputError
from misheard.speech.transcriber import Transcript
from misheard.tags import ROLLOUT


class Capture(StrEnum):
    """What became of a transcript's place in the log."""

    KEPT = "kept"
    OFF = "off"
    """Its caller wanted it so."""
    LATE = "late"
    """The database is busy; it is kept once that has time, and nobody waits for it."""
    REPEATED = "repeated"
    """Its `client_id` is known, with another text: that is kept, and feedback would be of it."""
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """Audio that somebody wants to be transcribed, and how.

    Raises `BadInputError` for ids and tags that could not be kept.
    """

    data: bytes = field(repr=False)
    """Encoded, as it came."""
    name: str = "audio"
    """As its sender calls it; it is never opened."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What stands in for options of `[speech]`, see `DecodingOptions`."""
    version_id: str | None = None
    """Who is to hear it; None: what is live."""
    client_id: str | None = None
    speaker: str | None = None
    session: str | None = None
    speaker_group: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    store: bool = True
    """Whether it is captured."""

    def __post_init__(self) -> None:
        for name in ("client_id", "speaker", "session"):
            if getattr(self, name) == "":  # a form's field that was left blank
                object.__setattr__(self, name, None)
        for name in ("client_id", "speaker", "session", "speaker_group"):
            if value := getattr(self, name):
                require_id(value, what=f"the {name}")
        require_short_tags(self.tags, what="the tags")
        if ROLLOUT in self.tags:
            raise BadInputError(f"The tag '{ROLLOUT}' is set by the server. Name yours otherwise.")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What was heard in an utterance."""

    transcript: Transcript
    duration_s: float
    """Of the audio."""
    version_id: str
    capture: Capture
    inference_id: str | None
    """Under which it is in the log, where it is."""
