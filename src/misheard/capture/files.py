"""Transcripts that another program wrote down: JSON lines, CSV, Parquet; the file streams."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from misheard.capture.captured import FIELDS, Captured
from misheard.errors import BadInputError, InvalidManifestError, MissingExtraError
from misheard.transcripts.files import STANDARD_INPUT, Format, TranscriptFile

SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
"""What a file is by its ending; the standard input is JSON lines unless it is said otherwise."""
_ROWS_AT_ONCE = 4_096


def read_captured(
    path: str,
    *,
    format_name: str = "",
    columns: Mapping[str, str] | None = None,
    ignored: Sequence[str] = (),
    **defaults: Any,
) -> Iterator[Captured]:
    """The transcripts in a file, one after the other.

    `columns` maps names of `Captured` to what the file calls them; `ignored` are names of the file
    that are not needed ("*" for all that are unknown), and `defaults` stand for what it lacks.

    Raises `InvalidManifestError` or `BadInputError`, with the line or row.
    """
    kind = format_name or ("jsonl" if path == STANDARD_INPUT else _kind(path))
    renamed = {theirs: ours for ours, theirs in (columns or {}).items()}
    if unknown := sorted(set(renamed.values()) - FIELDS):
        raise BadInputError(
            f"There is no column '{unknown[0]}'. Known: {', '.join(sorted(FIELDS))}."
        )
    for what, record in _records(path, kind):
        named = {renamed.get(name, name): value for name, value in record.items()}
        kept = {
            name: value
            for name, value in named.items()
            if name in FIELDS or not (name in ignored or "*" in ignored)
        }
        given = {name: value for name, value in kept.items() if value not in (None, "")}
        # An empty transcript says that nobody spoke; an empty cell of anything else, nothing.
        if "text" in kept and kept["text"] == "":
            given["text"] = ""
        yield Captured.from_record({**defaults, **given}, what=what)


def _kind(path: str) -> str:
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise InvalidManifestError(
            f"'{path}' ends in none of {', '.join(SUFFIXES)}. Say what it is: --format csv"
        )
    return SUFFIXES[suffix]


def _records(path: str, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if kind == "parquet":
        yield from _parquet(path)
        return
    lines = TranscriptFile(path=path, format=Format.TEXT).lines()
    yield from (
        _json_lines(lines) if kind == "jsonl" else _csv(lines, "," if kind == "csv" else "\t")
    )


def _json_lines(lines: Iterator[tuple[str, str]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for what, line in lines:
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InvalidManifestError(f"{what}: {error}.") from error
        if not isinstance(record, dict):
            raise InvalidManifestError(f"{what}: a JSON object is wanted, with names and values.")
        yield what, record


def _csv(lines: Iterator[tuple[str, str]], delimiter: str) -> Iterator[tuple[str, dict[str, Any]]]:
    place = ["the file"]

    def texts() -> Iterator[str]:
        for what, line in lines:
            place[0] = what
            yield line + "\n"

    reader = csv.reader(texts(), delimiter=delimiter, strict=True)
    try:
        names = next(reader, None)
        if not names:
            raise InvalidManifestError(f"{place[0]} has no line with the names of its columns.")
        for values in reader:
            if not values:
                continue
            if len(values) != len(names):
                raise InvalidManifestError(
                    f"{place[0]} has {len(values)} values where there are {len(names)} columns."
                )
            yield place[0], _typed(dict(zip(names, values, strict=True)), place[0])
    except csv.Error as error:
        raise InvalidManifestError(f"{place[0]}: {error}.") from error


_NUMBERS = frozenset(
    {
        "duration_s",
        "avg_logprob",
        "no_speech_prob",
        "compression_ratio",
        "latency_s",
        "compute_s",
    }
)


def _typed(record: dict[str, str], what: str) -> dict[str, Any]:
    """CSV knows texts only."""
    typed: dict[str, Any] = dict(record)
    for name, value in record.items():
        try:
            if name in _NUMBERS and value:
                typed[name] = float(value)
            elif name == "tags" and value:
                typed[name] = json.loads(value)
            elif name == "heard_at" and value.replace(".", "", 1).isdigit():
                typed[name] = float(value)
        except ValueError as error:
            raise BadInputError(f"{what}: {name} = {value!r} cannot be read.") from error
    return typed


def _parquet(path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        import pyarrow  # noqa: PLC0415 - an extra
        import pyarrow.parquet  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtraError("Parquet needs: pip install 'misheard[parquet]'") from error
    try:
        source = path if path != STANDARD_INPUT else io.BytesIO(_standard_input())
        file = pyarrow.parquet.ParquetFile(source)
        number = 0
        for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE):
            for record in batch.to_pylist():
                number += 1
                if isinstance(record.get("tags"), list):
                    record["tags"] = dict(record["tags"])
                yield f"'{path}', row {number}", record
    except FileNotFoundError as error:
        raise InvalidManifestError(f"There is no file '{path}'.") from error
    except (OSError, pyarrow.ArrowException) as error:
        raise InvalidManifestError(f"'{path}' cannot be read as Parquet: {error}") from error


def _standard_input() -> bytes:
    return sys.stdin.buffer.read()
