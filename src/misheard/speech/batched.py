"""What a transcriber tells whoever gathers its batches, where it has more to tell than one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from misheard.audio import Audio
    from misheard.speech.decoding import DecodingOptions
    from misheard.speech.long_audio import Stretch
    from misheard.speech.transcriber import Transcript


@runtime_checkable
class BatchTranscriber(Protocol):
    """A transcriber whose batches may be gathered outside, from the clips of many callers.

    What it makes of a clip is what its `transcribe` makes of it, whatever it is heard beside.
    """

    @property
    def workers(self) -> int:
        """Batches that are worth hearing at the same time, each on a thread of its own."""
        ...

    @property
    def options(self) -> DecodingOptions:
        """How it searches for text where a call says nothing else."""
        ...

    def window(self, duration_s: float) -> int:
        """What a stretch of `duration_s` is heard in: those with the same make one batch."""
        ...

    def stretches(self, clip: Audio) -> list[Stretch]:
        """The clip itself, or in order the stretches of speech that it is heard in."""
        ...

    def hear(self, stretches: Sequence[Stretch], *, options: DecodingOptions) -> list[Transcript]:
        """Hear those of one batch, on this thread; times are those of their clips.

        Raises as `transcribe` does.
        """
        ...
