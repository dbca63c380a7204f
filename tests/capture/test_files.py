"""Logs of other programs: JSON lines, CSV, Parquet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from misheard.capture.captured import Captured
from misheard.capture.files import read_captured
from misheard.errors import BadInputError, InvalidManifestError

AT = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
ROWS: list[dict[str, Any]] = [
    {
        "audio": "a.wav",
        "text": "hold, please",
        "heard_at": "2026-01-31T09:30:00Z",
        "latency_s": 0.5,
    },
    {"audio": "b.wav", "text": "", "heard_at": "2026-01-31T09:30:00Z", "latency_s": None},
]
WANTED = [
    Captured(audio="a.wav", text="hold, please", heard_at=AT, latency_s=0.5),
    Captured(audio="b.wav", text="", heard_at=AT),
]


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        mark = "," if path.suffix == ".csv" else "\t"
        lines = [mark.join(rows[0])]
        lines += [
            mark.join(
                "" if v is None else f'"{v}"' if "," in str(v) else str(v) for v in r.values()
            )
            for r in rows
        ]
        path.write_text("\n".join(lines), encoding="utf-8-sig")
    return path


@pytest.mark.parametrize("name", ["log.jsonl", "log.csv", "log.tsv", "log.parquet"])
def test_every_format_says_the_same(tmp_path: Path, name: str) -> None:
    assert list(read_captured(str(write(tmp_path / name, ROWS)))) == WANTED


@pytest.mark.parametrize("name", ["log.jsonl", "log.csv", "log.parquet"])
def test_columns_may_be_called_otherwise(tmp_path: Path, name: str) -> None:
    theirs = [{"url": r["audio"], "hyp": r["text"], "ts": r["heard_at"], "no": "1"} for r in ROWS]
    path = str(write(tmp_path / name, theirs))
    columns = {"audio": "url", "text": "hyp", "heard_at": "ts"}
    found = list(read_captured(path, columns=columns, ignored=["no"], recogniser="vendor"))
    assert [(one.text, one.recogniser) for one in found] == [
        ("hold, please", "vendor"),
        ("", "vendor"),
    ]
    assert len(list(read_captured(path, columns=columns, ignored=["*"]))) == 2
    with pytest.raises(BadInputError, match=r"line 1|line 2|row 1"):
        list(read_captured(path, columns=columns))
    with pytest.raises(BadInputError, match="no column 'words'"):
        list(read_captured(path, columns={"words": "hyp"}))


def test_csv_knows_numbers_tags_and_times(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(
        'audio,text,heard_at,duration_s,tags\na,b,1769851800,2.5,"{""channel"": ""desk""}"\n',
        encoding="utf-8",
    )
    (found,) = read_captured(str(path))
    assert (found.heard_at, found.duration_s, found.tags) == (AT, 2.5, {"channel": "desk"})


@pytest.mark.parametrize(
    ("name", "data", "complaint"),
    [
        ("log.jsonl", b'{"audio": "a"\n', "line 1"),
        ("log.jsonl", b"[1]\n", "object"),
        ("log.jsonl", b"\xff\xfe\n", "line 1"),
        ("log.csv", b"audio,text,heard_at\na,b\n", "line 2 has 2 values where there are 3"),
        ("log.csv", b"", "no line with the names"),
        ("log.csv", b"audio,text,heard_at,latency_s\na,b,2026-01-31,fast\n", "latency_s = 'fast'"),
        ("log.parquet", b"PAR1 nonsense", "Parquet"),
        ("log.parquet", b"", "Parquet"),
        ("log.xlsx", b"", "--format"),
    ],
)
def test_what_cannot_be_read_is_named(
    tmp_path: Path, name: str, data: bytes, complaint: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(BadInputError, match=complaint):
        list(read_captured(str(path)))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for name in ("log.jsonl", "log.csv", "log.parquet"):
        with pytest.raises(InvalidManifestError, match=f"There is no file '.*{name}'"):
            list(read_captured(str(tmp_path / name)))
