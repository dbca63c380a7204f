from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misheard.datasets.manifest import Row, dataset_id, from_jsonl, to_jsonl
from misheard.datasets.split import Split
from misheard.errors import InvalidManifestError

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
rows = st.builds(
    Row,
    audio_sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
    reference=texts,
    split=st.sampled_from(Split),
    kind=st.sampled_from(["error", "replay", "evaluation"]),
    speaker_group=texts,
    duration_s=st.floats(0, 100),
    weight=st.floats(1, 3),
)


@given(st.lists(rows, max_size=8))
def test_a_manifest_comes_back_as_it_was_written(given_rows: list[Row]) -> None:
    assert from_jsonl(to_jsonl(given_rows)) == sorted(given_rows)


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x1c", "\r", "\n"])
def test_a_reference_may_hold_any_line_separator(separator: str) -> None:
    row = Row(
        audio_sha256="0" * 64,
        reference=f"one{separator}two",
        split=Split.TRAIN,
        kind="error",
        speaker_group="g",
        duration_s=1.0,
    )
    assert from_jsonl(to_jsonl([row])) == [row]


@given(
    st.lists(rows, min_size=1, max_size=8).flatmap(
        lambda r: st.tuples(st.just(r), st.permutations(r))
    )
)
def test_the_id_does_not_depend_on_the_order(pair: tuple[list[Row], list[Row]]) -> None:
    one, other = pair
    assert dataset_id(to_jsonl(one)) == dataset_id(to_jsonl(other))


def test_a_manifest_from_before_there_were_weights_has_weights_of_one() -> None:
    old = (
        b'{"audio_sha256": "a", "duration_s": 1.0, "kind": "error", "reference": "x", '
        b'"speaker_group": "g", "split": "train"}\n'
    )
    assert [row.weight for row in from_jsonl(old)] == [1.0]


@given(rows, texts)
def test_the_id_depends_on_every_reference(row: Row, reference: str) -> None:
    from dataclasses import replace  # noqa: PLC0415

    changed = replace(row, reference=reference)
    same = dataset_id(to_jsonl([row])) == dataset_id(to_jsonl([changed]))
    assert same == (row == changed)


@pytest.mark.parametrize(
    "data",
    [b"no json\n", b"[]\n", b"{}\n", b'{"split": "nowhere"}\n', b"\xff\n", b'{"split": "train"}\n'],
)
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidManifestError):
        from_jsonl(data)
