"""Utterances that are withdrawn from datasets; the rest is as it was."""

from __future__ import annotations

from functools import partial

from sqlalchemy import Engine, insert, select

from misheard.blobs.directory import DirectoryBlobs
from misheard.blobs.together import delete_all
from misheard.database.discarded import delete_discarded, discard
from misheard.database.engine import now, writing
from misheard.database.schema import discarded, forgotten
from misheard.datasets.datasets import Dataset, Datasets, Purpose
from misheard.datasets.manifest import Row, dataset_id, to_jsonl
from misheard.datasets.samples import Sample
from misheard.datasets.split import Split
from tests.conftest import make_wav

ON_BOTH_DATABASES = True


def three(datasets: Datasets) -> Dataset:
    samples = [Sample(data=make_wav(hertz=300 + n), reference=f"n {n}") for n in range(3)]
    return datasets.add_evaluation("three", samples)


def clean_up(engine: Engine, blobs: DirectoryBlobs, datasets: Datasets) -> int:
    return delete_discarded(engine, partial(delete_all, blobs), datasets.in_use)


def test_a_withdrawn_utterance_is_gone_and_the_id_stays(
    datasets: Datasets, engine: Engine, blobs: DirectoryBlobs
) -> None:
    made = three(datasets)
    rows = datasets.rows(made)
    gone = rows[0].audio_sha256
    assert datasets.naming([gone]) == {made.id: [rows[0]]}
    assert datasets.withdraw([gone]) == {made.id: 1}
    left = datasets.get(made.id)
    assert (left.withdrawn, left.counts, left.duration_s) == (1, {"test": 2}, 0.2)
    assert datasets.rows(left) == rows[1:]
    # Its manifest is as any other: named by its hash, which the id no longer is.
    assert dataset_id(blobs.get_bytes(left.manifest_sha256)) != left.id
    assert clean_up(engine, blobs, datasets) == 1
    assert made.manifest_sha256 not in blobs
    # Somebody who has had it in hand since before reads what it is now.
    assert datasets.rows(made) == rows[1:]
    assert datasets.withdraw([gone]) == {}


def test_a_manifest_that_another_dataset_has_stays(
    datasets: Datasets, engine: Engine, blobs: DirectoryBlobs
) -> None:
    made = three(datasets)
    rows = datasets.rows(made)
    other = datasets.add("two", Purpose.EVALUATION, rows[1:])
    datasets.withdraw([rows[0].audio_sha256])
    clean_up(engine, blobs, datasets)
    assert datasets.get(made.id).manifest_sha256 == other.manifest_sha256
    datasets.withdraw([rows[1].audio_sha256])
    clean_up(engine, blobs, datasets)
    assert datasets.rows(datasets.get(made.id)) == datasets.rows(datasets.get(other.id)) == rows[2:]


def test_what_is_forgotten_is_in_no_dataset_even_before_it_is_withdrawn(
    datasets: Datasets, engine: Engine
) -> None:
    made = three(datasets)
    rows = datasets.rows(made)
    mark = {"audio_sha256": rows[0].audio_sha256, "created_at": now(), "audit_number": 1}
    with writing(engine) as connection:
        connection.execute(insert(forgotten).values(**mark))
    assert datasets.rows(made) == rows[1:]
    again = datasets.add("again", Purpose.EVALUATION, rows)
    assert (again.withdrawn, again.counts) == (1, {"test": 2})
    with engine.connect() as connection:
        keys = [row.audio_sha256 for row in rows]
        assert datasets.in_use(connection, keys) == set(keys[1:])


def test_a_recording_that_a_dataset_names_is_not_deleted(
    datasets: Datasets, engine: Engine, blobs: DirectoryBlobs
) -> None:
    made = three(datasets)
    key, free = datasets.rows(made)[0].audio_sha256, blobs.put_bytes(b"free")
    with writing(engine) as connection:
        discard(connection, [key, free, key, ""])
        discard(connection, [free])
    assert clean_up(engine, blobs, datasets) == 1
    assert (key in blobs, free in blobs) == (True, False)
    with engine.connect() as connection:
        assert connection.execute(select(discarded)).all() == []


def test_text_that_looks_like_a_name_of_a_recording_is_none(datasets: Datasets) -> None:
    fake = f'"audio_sha256": "{"a" * 64}"'
    row = Row(
        audio_sha256="b" * 64,
        reference=fake,
        split=Split.TEST,
        kind="evaluation",
        speaker_group="g",
        duration_s=0.1,
    )
    datasets.add("odd", Purpose.EVALUATION, [row])
    assert to_jsonl([row])
    assert datasets.naming(["a" * 64]) == {}
