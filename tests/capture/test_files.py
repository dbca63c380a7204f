"""Logs of other programs: JSON lines, CSV, Parquet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
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


def test_a_csv_under_other_names_has_its_numbers_and_dates(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("audio,text,ts,dur\na,b,20260131,2.5\n", encoding="utf-8")
    (found,) = read_captured(str(path), columns={"heard_at": "ts", "duration_s": "dur"})
    assert (found.heard_at, found.duration_s) == (datetime(2026, 1, 31, tzinfo=UTC), 2.5)


@pytest.mark.parametrize("name", ["log.jsonl", "log.csv", "log.parquet"])
def test_two_columns_that_would_be_one_are_refused_until_one_is_left_out(
    tmp_path: Path, name: str
) -> None:
    rows = [{"transcript": "theirs", "text": "other", "audio": "a", "heard_at": "2026-01-31"}]
    path = str(write(tmp_path / name, rows))
    columns = {"text": "transcript"}
    with pytest.raises(InvalidManifestError, match=r"'transcript' and 'text', .* --ignore text"):
        list(read_captured(path, columns=columns))
    for ignored in ("text", "*"):
        (found,) = read_captured(path, columns=columns, ignored=[ignored])
        assert found.text == "theirs"
    with pytest.raises(BadInputError, match="cannot be two of ours"):
        list(read_captured(path, columns={"text": "transcript", "audio": "transcript"}))


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["a"])] * 3, names=["audio", "text", "text"])
    pq.write_table(table, tmp_path / "log.parquet")
    (tmp_path / "log.csv").write_text("audio,text,text,heard_at\na,b,c,2026-01-31\n")
    (tmp_path / "log.jsonl").write_text(
        '{"audio": "a", "text": "b", "text": "c", "heard_at": "2026-01-31"}\n'
    )
    for name in ("log.parquet", "log.csv", "log.jsonl"):
        with pytest.raises(InvalidManifestError, match="twice"):
            list(read_captured(str(tmp_path / name)))
    # What is not needed may be called as it likes.
    (tmp_path / "log.csv").write_text("audio,text,x,x,,,heard_at\na,b,1,2,,,2026-01-31\n")
    assert len(list(read_captured(str(tmp_path / "log.csv"), ignored=["*"]))) == 1


def test_parquet_has_types_of_its_own(tmp_path: Path) -> None:
    rows = [
        {
            "audio": 17,
            "text": "b",
            "heard_at": AT,
            "client_id": 7,
            "duration_s": Decimal("2.50"),
            "tags": tags,
        }
        # In a struct every row has all names.
        for tags in ({"channel": "desk"}, {"noise": "low"}, None)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "log.parquet")
    found = list(read_captured(str(tmp_path / "log.parquet")))
    assert [one.tags for one in found] == [{"channel": "desk"}, {"noise": "low"}, {}]
    assert (found[0].audio, found[0].client_id, found[0].duration_s) == ("17", "7", 2.5)


def test_what_is_in_the_future_is_named_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path / "log.jsonl", [ROWS[0], ROWS[0] | {"heard_at": "2999-01-01"}])
    with pytest.raises(BadInputError, match=r"line 2: heard_at = 2999.* in the future"):
        list(read_captured(str(path)))
