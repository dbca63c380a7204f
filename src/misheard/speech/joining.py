"""One transcript for a clip that was heard in several pieces."""

from __future__ import annotations

from collections.abc import Sequence

from misheard.speech.search import compression_ratio
from misheard.speech.transcriber import Transcript


def joined(parts: Sequence[Transcript]) -> Transcript:
    """One transcript for a clip from those of its stretches in order, worst signals kept.

    Of no stretches at all, for a long clip in which nobody speaks, it is empty.
    """
    if len(parts) == 1:
        return parts[0]
    text = " ".join(part.text for part in parts if part.text)
    logprobs = [part.avg_logprob for part in parts if part.avg_logprob is not None]
    silence = [part.no_speech_prob for part in parts if part.no_speech_prob is not None]
    return Transcript(
        text=text,
        avg_logprob=min(logprobs, default=None),
        no_speech_prob=max(silence, default=None),
        compression_ratio=compression_ratio(text),
        latency_s=sum(part.latency_s for part in parts),
        compute_s=sum(part.compute_s for part in parts),
        language=next((part.language for part in parts), None),
        segments=tuple(segment for part in parts for segment in part.segments),
        words=tuple(word for part in parts for word in part.words),
    )
