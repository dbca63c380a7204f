"""Transcripts that another program wrote down: JSON lines, CSV, Parquet; the file streams."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from misheard.capture.captured import FIELDS, LIMITS, Captured
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
    idle: Callable[[], object] | None = None,
    **defaults: Any,
) -> Iterator[Captured]:
    """The transcripts in a file, one after the other.

    `columns` maps names of `Captured` to what the file calls them; `ignored` are names of the file
    that are not needed ("*" for all that are unknown), and `defaults` stand for what it lacks.
    `idle` is called about once a second while more is read from the standard input, and before
    more is waited for.

    Raises `InvalidManifestError` or `BadInputError`, with the line or row.
    """
    kind = format_name or ("jsonl" if path == STANDARD_INPUT else _kind(path))
    names = _Names(columns or {}, ignored)
    for what, record in _records(path, kind, names, idle):
        given = {name: value for name, value in record.items() if value not in (None, "")}
        # An empty transcript says that nobody spoke; an empty cell of anything else, nothing.
        if record.get("text") == "":
            given["text"] = ""
        yield Captured.from_record({**defaults, **given}, what=what)


class _Names:
    """What the columns of a file are to us."""

    def __init__(self, columns: Mapping[str, str], ignored: Sequence[str]) -> None:
        self._renamed = {theirs: ours for ours, theirs in columns.items()}
        self._ignored = frozenset(ignored)
        if unknown := sorted(columns.keys() - FIELDS):
            raise BadInputError(
                f"There is no column '{unknown[0]}'. Known: {', '.join(sorted(FIELDS))}."
            )
        if len(self._renamed) < len(columns):
            raise BadInputError("One column of the file cannot be two of ours.")

    def ours(self, theirs: Iterable[str], *, what: str) -> dict[str, str]:
        """Our name → theirs, of columns that are needed and have a name; each of ours once."""
        found: dict[str, str] = {}
        for name in theirs:
            ours = self._renamed.get(name) or ("" if self._is_ignored(name) else name)
            if ours and ours in found:
                raise InvalidManifestError(_twice(found[ours], name, ours, what))
            if ours:
                found[ours] = name
        return found

    def _is_ignored(self, name: str) -> bool:
        is_taken = name in self._renamed.values()
        return name in self._ignored or ("*" in self._ignored and (is_taken or name not in FIELDS))


def _twice(first: str, second: str, ours: str, what: str) -> str:
    if first == second:
        return f"{what} has '{first}' twice. Give each column a name of its own."
    other = first if second != ours else ours
    return (
        f"{what} has '{first}' and '{second}', and both would be '{ours}'. Leave one out: "
        f"--ignore {other}"
    )


def _kind(path: str) -> str:
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise InvalidManifestError(
            f"'{path}' ends in none of {', '.join(SUFFIXES)}. Say what it is: --format csv"
        )
    return SUFFIXES[suffix]


_Record = tuple[str, dict[str, Any]]
"""Where it stands, and its values by our names."""


def _records(
    path: str, kind: str, names: _Names, idle: Callable[[], object] | None
) -> Iterator[_Record]:
    if kind == "parquet":
        yield from _parquet(path, names)
        return
    lines = TranscriptFile(path=path, format=Format.TEXT).lines(idle=idle)
    yield from (
        _json_lines(lines, names)
        if kind == "jsonl"
        else _csv(lines, names, "," if kind == "csv" else "\t")
    )


def _json_lines(lines: Iterator[tuple[str, str]], names: _Names) -> Iterator[_Record]:
    for what, line in lines:
        if not line.strip():
            continue
        try:
            record = json.loads(line, object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            raise InvalidManifestError(f"{what}: {error}.") from error
        if not isinstance(record, dict):
            raise InvalidManifestError(f"{what}: a JSON object is wanted, with names and values.")
        each = names.ours(record, what=what)
        yield what, {ours: record[theirs] for ours, theirs in each.items()}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a name stands twice in it")
    return made


def _csv(lines: Iterator[tuple[str, str]], names: _Names, delimiter: str) -> Iterator[_Record]:
    place = ["the file"]

    def texts() -> Iterator[str]:
        for what, line in lines:
            place[0] = what
            yield line + "\n"

    reader = csv.reader(texts(), delimiter=delimiter, strict=True)
    try:
        header = next(reader, None)
        if not header:
            raise InvalidManifestError(f"{place[0]} has no line with the names of its columns.")
        wanted = {
            ours: header.index(one) for ours, one in names.ours(header, what=place[0]).items()
        }
        for values in reader:
            if not values:
                continue
            if len(values) != len(header):
                raise InvalidManifestError(
                    f"{place[0]} has {len(values)} values where there are {len(header)} columns."
                )
            record = {ours: values[column] for ours, column in wanted.items()}
            yield place[0], _typed(record, place[0])
    except csv.Error as error:
        raise InvalidManifestError(f"{place[0]}: {error}.") from error


def _typed(record: dict[str, str], what: str) -> dict[str, Any]:
    """CSV knows texts only."""
    typed: dict[str, Any] = dict(record)
    for name, value in record.items():
        try:
            if name in LIMITS and value:
                typed[name] = float(value)
            elif name == "tags" and value:
                typed[name] = json.loads(value)
        except ValueError as error:
            raise BadInputError(f"{what}: {name} = {value!r} cannot be read.") from error
    return typed


def _parquet(path: str, names: _Names) -> Iterator[_Record]:
    try:
        import pyarrow  # noqa: PLC0415 - an extra
        import pyarrow.parquet  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtraError("Parquet needs: pip install 'misheard[parquet]'") from error
    try:
        source = path if path != STANDARD_INPUT else io.BytesIO(_standard_input())
        file = pyarrow.parquet.ParquetFile(source)
        wanted = names.ours(file.schema_arrow.names, what=f"'{path}'")
        number = 0
        for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE):
            for values in batch.to_pylist():
                number += 1
                record = {ours: values[theirs] for ours, theirs in wanted.items()}
                if isinstance(record.get("tags"), list):
                    record["tags"] = dict(record["tags"])
                yield f"'{path}', row {number}", record
    except FileNotFoundError as error:
        raise InvalidManifestError(f"There is no file '{path}'.") from error
    except (OSError, pyarrow.ArrowException) as error:
        raise InvalidManifestError(f"'{path}' cannot be read as Parquet: {error}") from error


def _standard_input() -> bytes:
    return sys.stdin.buffer.read()
