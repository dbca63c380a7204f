"""A transcript in the formats of OpenAI's API. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

from misheard.server.languages import NAMES
from misheard.serving.utterance import Answer
from misheard.speech.transcriber import Segment, Transcript

SRT, VTT = "application/x-subrip", "text/vtt"
_FRAMES_PER_S = 100
"""Of Whisper's spectrogram, in which OpenAI counts where a window begins."""


def headers_of(answer: Answer) -> dict[str, str]:
    """What is told of an answer beside its body, in every format."""
    made = {"x-misheard-version": answer.version_id, "x-misheard-capture": str(answer.capture)}
    if answer.inference_id is not None:
        made["x-misheard-id"] = answer.inference_id
    return made


def text_of(transcript: Transcript) -> str:
    """Nothing but the text, on a line."""
    return f"{transcript.text}\n"


def srt(transcript: Transcript) -> str:
    r"""SubRip subtitles, from the segments.

    >>> one = Segment(start_s=0.5, end_s=3_661.25, text="Hello.")
    >>> srt(Transcript(text="Hello.", latency_s=0.0, compute_s=0.0, segments=(one,)))
    '1\n00:00:00,500 --> 01:01:01,250\nHello.\n\n'
    """
    return "".join(
        f"{number}\n{_clock(one.start_s, ',')} --> {_clock(one.end_s, ',')}\n{_cue(one)}\n\n"
        for number, one in enumerate(transcript.segments, start=1)
    )


def vtt(transcript: Transcript) -> str:
    r"""WebVTT subtitles, from the segments.

    >>> one = Segment(start_s=0.5, end_s=3_661.25, text="Hello.")
    >>> vtt(Transcript(text="Hello.", latency_s=0.0, compute_s=0.0, segments=(one,)))
    'WEBVTT\n\n00:00:00.500 --> 01:01:01.250\nHello.\n\n'
    >>> more = Segment(start_s=0.0, end_s=1.0, text="a <b & c")
    >>> vtt(Transcript(text="a <b & c", latency_s=0.0, compute_s=0.0, segments=(more,)))
    'WEBVTT\n\n00:00:00.000 --> 00:00:01.000\na &lt;b &amp; c\n\n'
    """
    # Where a tag or a character reference could begin, a player would leave words out.
    cues = (
        f"{_clock(one.start_s, '.')} --> {_clock(one.end_s, '.')}\n"
        f"{escape(_cue(one), quote=False)}\n\n"
        for one in transcript.segments
    )
    return "".join(["WEBVTT\n\n", *cues])


def plain(transcript: Transcript, duration_s: float) -> dict[str, Any]:
    """`json`: the text, and how much audio it was."""
    return {"text": transcript.text, "usage": _usage(duration_s)}


def verbose(
    transcript: Transcript, duration_s: float, *, segments: bool, words: bool
) -> dict[str, Any]:
    """`verbose_json`, with those of the two that were asked for."""
    code = transcript.language or ""
    made: dict[str, Any] = {
        "task": "transcribe",
        "language": NAMES.get(code, code),
        "duration": round(duration_s, 3),
        "text": transcript.text,
        "usage": _usage(duration_s),
    }
    if segments:
        made["segments"] = list(_segments(transcript))
    if words:
        made["words"] = [
            {"word": one.text, "start": one.start_s, "end": one.end_s} for one in transcript.words
        ]
    return made


def delta(text: str) -> dict[str, Any]:
    """The event of more text."""
    return {"type": "transcript.text.delta", "delta": text}


def done(answer: Answer) -> dict[str, Any]:
    """The event of all text, with what headers tell of other answers."""
    made: dict[str, Any] = {
        "type": "transcript.text.done",
        "text": answer.transcript.text,
        "version": answer.version_id,
        "capture": str(answer.capture),
    }
    if answer.inference_id is not None:
        made["id"] = answer.inference_id
    return made


def _segments(transcript: Transcript) -> Iterator[dict[str, Any]]:
    for number, one in enumerate(transcript.segments):
        yield {
            "id": number,
            "seek": round(one.window_s * _FRAMES_PER_S),
            "start": one.start_s,
            "end": one.end_s,
            "text": one.text,
            "tokens": list(one.tokens),
            "temperature": one.temperature,
            "avg_logprob": one.avg_logprob,
            "compression_ratio": one.compression_ratio,
            "no_speech_prob": one.no_speech_prob,
        }


def _usage(duration_s: float) -> dict[str, Any]:
    return {"type": "duration", "seconds": round(duration_s, 3)}


def _cue(segment: Segment) -> str:
    """Its text; an arrow would be taken for times, and an empty line for the end."""
    return " ".join(segment.text.replace("-->", "->").split())


def _clock(time_s: float, point: str) -> str:
    whole_ms = round(time_s * 1_000)
    minutes, ms = divmod(whole_ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{ms // 1_000:02}{point}{ms % 1_000:03}"
