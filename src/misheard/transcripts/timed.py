"""NIST's files with times: segments (`.stm`) and words (`.ctm`) that are dealt out to them."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from misheard.errors import InvalidManifestError
from misheard.transcripts.files import TranscriptFile, Utterance

_IGNORED = "IGNORE_TIME_SEGMENT_IN_SCORING"


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A line of an `.stm`."""

    recording: str
    """The file and its channel."""
    begin_s: float
    end_s: float
    utterance: Utterance
    is_ignored: bool
    """Nothing that was said or heard in it counts."""


def segments(file: TranscriptFile) -> Iterator[Segment]:
    """Every segment of an `.stm`, in the file's order."""
    for where, line in file.lines():
        if line.strip() and not line.startswith(";;"):
            yield _segment(line, where)


def _segment(line: str, where: str) -> Segment:
    fields = line.split(maxsplit=5)
    if len(fields) < 5:
        raise InvalidManifestError(
            f"{where}: a line of .stm is 'file channel speaker begin end words'."
        )
    name, channel, speaker, begin, end = fields[:5]
    text = fields[5] if len(fields) > 5 else ""
    begin_s, end_s = _seconds(begin, where), _seconds(end, where)
    if end_s < begin_s:
        raise InvalidManifestError(f"{where}: it ends at {end} s, before it begins at {begin} s.")
    text = re.sub(r"^<[^>]*>\s*", "", text).strip()
    id_ = f"{name} {channel} {begin_s:.3f}-{end_s:.3f}"
    return Segment(
        recording=f"{name} {channel}",
        begin_s=begin_s,
        end_s=end_s,
        utterance=Utterance(id=id_, text=text, group=speaker),
        is_ignored=text.upper() == _IGNORED,
    )


def dealt_out(file: TranscriptFile, among: list[Segment]) -> tuple[list[Utterance], int]:
    """What a `.ctm` says in each segment that counts, and the words of recordings without any.

    As NIST's `sclite` does it, a word belongs to the first segment that ends after the word's
    middle, and what comes after the last segment to the last.
    """
    words = _words(file)
    by_recording: dict[str, list[Segment]] = defaultdict(list)
    for segment in sorted(among, key=lambda one: (one.begin_s, one.end_s)):
        by_recording[segment.recording].append(segment)
    heard: dict[str, list[str]] = defaultdict(list)
    for recording, own in by_recording.items():
        index = 0
        for middle_s, word in sorted(words.pop(recording, [])):
            while index < len(own) - 1 and own[index].end_s <= middle_s:
                index += 1
            heard[own[index].utterance.id].append(word)
    made = [
        Utterance(id=one.utterance.id, text=" ".join(heard[one.utterance.id]), group="")
        for one in among
        if not one.is_ignored
    ]
    return made, sum(map(len, words.values()))


def _words(file: TranscriptFile) -> dict[str, list[tuple[float, str]]]:
    """Each recording's words with their middles in seconds."""
    words: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for where, line in file.lines():
        if not line.strip() or line.startswith(";;"):
            continue
        fields = line.split()
        if len(fields) < 5:
            raise InvalidManifestError(
                f"{where}: a line of .ctm is 'file channel begin duration word'."
            )
        name, channel, begin, duration, word = fields[:5]
        if word.startswith("<ALT"):
            raise InvalidManifestError(f"{where}: alternatives of a hypothesis are not understood.")
        middle_s = _seconds(begin, where) + _seconds(duration, where) / 2
        words[f"{name} {channel}"].append((middle_s, word))
    return words


def _seconds(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise InvalidManifestError(f"{where}: '{text}' is no time in seconds.")
    return value
