"""Files with one utterance a line: plain text, NIST's `.trn`, Kaldi's `text`, JSON lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from misheard.errors import InvalidManifestError
from misheard.scoring.normalize import require_text
from misheard.transcripts.stream import Idle, as_they_come

STANDARD_INPUT = "-"

IDS = ("id", "utt_id", "utterance_id", "audio_filepath", "audio_path", "audio", "file")
GROUPS = ("group", "speaker_group", "speaker", "speaker_id", "session", "call")
REFERENCES = ("reference", "ref", "text", "transcript", "transcription", "sentence")
HYPOTHESES = ("hypothesis", "hyp", "pred_text", "prediction", "pred", *REFERENCES[2:])


class Format(StrEnum):
    """How a file is written."""

    TEXT = "text"
    """An utterance a line, and nothing else; an empty line is silence."""
    TRN = "trn"
    """`words (speaker-utterance)`."""
    KALDI = "kaldi"
    """`utterance words`."""
    JSONL = "jsonl"
    """A JSON object a line, such as NeMo's manifests; see `IDS` and its neighbours for the keys."""
    STM = "stm"
    """`file channel speaker begin end <labels> words`, NIST's segment time marks."""
    CTM = "ctm"
    """`file channel begin duration word`, NIST's words with their times; only against `stm`."""


_SUFFIXES = {
    ".trn": Format.TRN,
    ".stm": Format.STM,
    ".ctm": Format.CTM,
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".json": Format.JSONL,
}


class Side(StrEnum):
    """What a file is read for."""

    REFERENCE = "reference"
    HYPOTHESIS = "hypothesis"


@dataclass(frozen=True, kw_only=True, slots=True)
class Utterance:
    """A line of a file."""

    id: str
    """Empty where the file gives none."""
    text: str
    group: str
    """What moves together in statistics, a speaker most often; empty where the file says none."""


@dataclass(frozen=True, kw_only=True)
class TranscriptFile:
    """A file and how it is to be read."""

    path: str
    """`-` is the standard input."""
    format: Format
    key: str = ""
    """JSON lines: where the text stands, if not under one of the usual keys."""
    group_key: str = ""
    """JSON lines: where the group stands, if not under one of the usual keys."""

    @property
    def name(self) -> str:
        """As messages call it."""
        return "the standard input" if self.path == STANDARD_INPUT else f"'{self.path}'"

    def lines(self, *, idle: Idle | None = None) -> Iterator[tuple[str, str]]:
        """Each line without its end, and where it stands, for messages; the file streams.

        `idle` is called about once a second while the standard input is read, and where nothing
        more has come for a second.
        """
        try:
            with _opened(self.path, idle) as file:
                for number, data in enumerate(file, 1):
                    where = f"{self.name}, line {number}"
                    yield where, _decoded(data, where, is_first=number == 1)
        except FileNotFoundError as error:
            raise InvalidManifestError(f"There is no file {self.name}.") from error
        except OSError as error:
            raise InvalidManifestError(f"{self.name}: {error.strerror}.") from error

    def utterances(self, side: Side) -> Iterator[Utterance]:
        """The utterances of any format but `stm` and `ctm`, which `timed` reads."""
        for where, line in self.lines():
            if self.format is Format.TEXT:
                yield Utterance(id="", text=line, group="")
            elif not line.strip() or (self.format is Format.TRN and line.startswith(";;")):
                continue
            elif self.format is Format.JSONL:
                yield _from_json(line, where, side, self)
            elif self.format is Format.TRN:
                yield _from_trn(line, where)
            else:
                id_, *text = line.split(maxsplit=1)
                yield Utterance(id=id_, text="".join(text).rstrip(), group=_speaker(id_))


def transcript_file(
    path: str, format_name: str = "", *, key: str = "", group_key: str = ""
) -> TranscriptFile:
    """The file at `path`, in the format of that name or of the path's ending, else plain text.

    >>> transcript_file("ref.trn").format, transcript_file("text", "kaldi").format
    (<Format.TRN: 'trn'>, <Format.KALDI: 'kaldi'>)
    """
    known = ", ".join(Format)
    if format_name and format_name not in set(Format):
        raise InvalidManifestError(f"There is no format '{format_name}'. Known: {known}.")
    by_suffix = _SUFFIXES.get(Path(path).suffix.lower(), Format.TEXT)
    chosen = Format(format_name) if format_name else by_suffix
    if key and chosen is not Format.JSONL:
        raise InvalidManifestError(f"'{path}' is read as {chosen}, which has no key '{key}'.")
    return TranscriptFile(
        path=path,
        format=chosen,
        key=key,
        group_key=group_key if chosen is Format.JSONL else "",
    )


def _opened(path: str, idle: Idle | None) -> AbstractContextManager[Iterable[bytes]]:
    if path != STANDARD_INPUT:
        return Path(path).open("rb")
    return nullcontext(sys.stdin.buffer if idle is None else as_they_come(sys.stdin.buffer, idle))


def _decoded(data: bytes, where: str, *, is_first: bool) -> str:
    try:
        text = data.decode("utf-8-sig" if is_first else "utf-8")
    except UnicodeDecodeError as error:
        raise InvalidManifestError(
            f"{where}: byte {error.start + 1} (0x{data[error.start]:02x}) is no UTF-8. "
            "Convert the file to UTF-8 first."
        ) from error
    return require_text(text.rstrip("\r\n"), what=where)


def _from_trn(line: str, where: str) -> Utterance:
    text, bracket, id_ = line.rstrip().rpartition("(")
    if not bracket or not id_.endswith(")") or not id_[:-1].strip():
        raise InvalidManifestError(
            f"{where}: a line of .trn ends with its id, as in 'hello there (speaker-1)'."
        )
    id_ = id_[:-1].strip()
    return Utterance(id=id_, text=text.strip(), group=_speaker(id_))


def _speaker(id_: str) -> str:
    """Of `speaker-utterance`; nothing where the id has no such parts."""
    speaker, hyphen, _ = id_.partition("-")
    return speaker if hyphen else ""


def _from_json(line: str, where: str, side: Side, file: TranscriptFile) -> Utterance:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InvalidManifestError(f"{where}: {error}. Expected a JSON object a line.") from error
    if not isinstance(row, dict):
        raise InvalidManifestError(f"{where}: expected a JSON object, got {type(row).__name__}.")
    usual = REFERENCES if side is Side.REFERENCE else HYPOTHESES
    key = file.key or next((key for key in usual if key in row), "")
    if key not in row:
        raise InvalidManifestError(
            f"{where}: no {side} under {_either((file.key,) if file.key else usual)}. "
            f"It has {_either(tuple(map(str, row)))}."
        )
    return Utterance(
        id=_id(row, where),
        text=require_text(row[key], what=f"{where}, '{key}'"),
        group=_group(row, where, file.group_key),
    )


def _id(row: dict[str, Any], where: str) -> str:
    key = next((key for key in IDS if row.get(key) not in (None, "")), "")
    if not key:
        return ""
    # Several utterances of one recording, in manifests that name the recording only.
    offset = f"@{row['offset']}" if "offset" in row and "audio" in key else ""
    return _label(row[key], where, key) + offset


def _group(row: dict[str, Any], where: str, wanted: str) -> str:
    if wanted and wanted not in row:
        raise InvalidManifestError(f"{where}: no '{wanted}' to group by.")
    key = wanted or next((key for key in GROUPS if row.get(key) not in (None, "")), "")
    return _label(row[key], where, key) if key else ""


def _label(value: object, where: str, key: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return require_text(value, what=f"{where}, '{key}'")


def _either(keys: tuple[str, ...]) -> str:
    return ", ".join(f"'{key}'" for key in keys) or "no key"
