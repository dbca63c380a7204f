"""The section `[scoring]`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from misheard.settings.section import Section


class ScoringSettings(Section):
    """How transcripts are compared."""

    normalizer: str = "whisper-english"
    """none, basic, unicode or whisper-english; or `package.module:function`, one of yours."""
    equivalents: tuple[Annotated[tuple[str, ...], Field(min_length=2)], ...] = ()
    """Groups of spellings that count as the same, the first of each stands for it; beyond those
    that the normaliser knows: [["pbx", "p b x"], ["voicemail", "voice mail"]]."""
    replicates: int = Field(default=10_000, ge=100)
    """Bootstrap replicates behind each interval."""
