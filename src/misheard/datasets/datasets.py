"""Dataset versions: kept for ever, found by id or by name, exported for a training job."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, insert, select, update

from misheard import audio
from misheard.blobs.store import BlobStore
from misheard.blobs.together import put_missing, written_to
from misheard.blobs.transfers import fetch_all
from misheard.database.discarded import discard, portions, put_announced
from misheard.database.engine import now, writing
from misheard.database.paging import older_than
from misheard.database.schema import datasets, forgotten
from misheard.datasets.manifest import (
    PERMANENT,
    Row,
    dataset_id,
    from_jsonl,
    recordings_in,
    to_jsonl,
)
from misheard.datasets.quality import Quality
from misheard.datasets.samples import Sample
from misheard.datasets.split import Split
from misheard.errors import BlobNotFoundError, EmptyDatasetError, UnknownIdError
from misheard.scoring.normalize import require_text
from misheard.tags import tagged


class Purpose(StrEnum):
    """What a dataset version is for."""

    TRAINING = "training"
    EVALUATION = "evaluation"
    """Held out: none of its recordings or sentences is ever trained on."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """An immutable dataset version."""

    id: str
    created_at: datetime
    name: str
    purpose: Purpose
    manifest_sha256: str
    counts: dict[str, int]
    """Utterances by split and by kind."""
    duration_s: float
    quality: dict[str, Any]
    """`score`, the share of sound utterances, and `flaws`: how many have which. Empty for an
    evaluation set."""
    withdrawn: int = 0
    """Utterances that are no longer in it, or never were, since somebody had them deleted."""


class Datasets:
    """Keeps dataset versions."""

    def __init__(self, engine: Engine, blobs: BlobStore) -> None:
        self._engine = engine
        self._blobs = blobs
        self._read: set[str] = set()
        self._named: set[str] = set()

    def add(
        self,
        name: str,
        purpose: Purpose,
        rows: Iterable[Row],
        *,
        quality: Quality | None = None,
    ) -> Dataset:
        """Keep a version; the same rows give the version that is there already.

        Recordings that somebody had deleted are left out; `withdrawn` says how many.
        """
        given = list(rows)
        while True:
            chosen = self._without_forgotten(given)
            made = self._made(name, purpose, chosen, quality, len(given) - len(chosen))
            with writing(self._engine) as connection:
                if _forgotten(connection, [row.audio_sha256 for row in chosen]):
                    # Just now. Its manifest is a blob that no row names.
                    discard(connection, [made.manifest_sha256])
                    continue
                query = select(datasets).where(datasets.c.id == made.id)
                known = connection.execute(query).mappings().one_or_none()
                if known is not None:
                    return _dataset(dict(known))
                if made.manifest_sha256 not in written_to(self._blobs):
                    self._blobs.put_bytes(to_jsonl(chosen))
                connection.execute(insert(datasets).values(**vars(made)))
            return made

    def _made(
        self,
        name: str,
        purpose: Purpose,
        chosen: list[Row],
        quality: Quality | None,
        withdrawn: int,
    ) -> Dataset:
        if not chosen:
            raise EmptyDatasetError(f"'{name}' would hold no utterance.")
        manifest = to_jsonl(chosen)
        return Dataset(
            id=dataset_id(manifest),
            created_at=now(),
            name=name,
            purpose=purpose,
            manifest_sha256=self._blobs.put_bytes(manifest),
            **figures_of(chosen),
            quality=quality.to_dict() if quality else {},
            withdrawn=withdrawn,
        )

    def add_evaluation(
        self,
        name: str,
        samples: Sequence[Sample],
        *,
        split: Callable[[Sample], Split] = lambda _: Split.TEST,
    ) -> Dataset:
        """Keep recordings with their references as a held-out set; all are checked first.

        `split` says which of them only judge (test) and which help to choose (validation); none is
        ever trained on.
        """
        rows = []
        for sample in samples:
            clip = audio.decode(sample.data, name=sample.name)
            rows.append(
                Row(
                    audio_sha256=clip.sha256,
                    reference=require_text(sample.reference, what=f"reference of '{sample.name}'"),
                    split=split(sample),
                    kind="evaluation",
                    speaker_group=sample.speaker_group or clip.sha256,
                    duration_s=round(clip.duration_s, 3),
                    tags=tuple(sorted(tagged(clip, sample.tags).items())),
                )
            )
        wanted = {row.audio_sha256 for row in self._without_forgotten(rows)}
        data = {row.audio_sha256: one.data for row, one in zip(rows, samples, strict=True)}
        put = {key: partial(data.__getitem__, key) for key in sorted(wanted)}
        put_missing(self._blobs, put)
        made = self.add(name, Purpose.EVALUATION, rows)
        # What another row named as well may have been deleted before this one named it.
        put_missing(self._blobs, put)
        return made

    def get(self, wanted: str) -> Dataset:
        """A version by its id."""
        with self._engine.connect() as connection:
            query = select(datasets).where(datasets.c.id == wanted)
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            raise UnknownIdError(f"There is no dataset '{wanted}'. See: misheard dataset list")
        return _dataset(dict(row))

    def latest(self, name: str) -> Dataset | None:
        """The newest version that was kept under `name`."""
        query = select(datasets).where(datasets.c.name == name)
        with self._engine.connect() as connection:
            query = query.order_by(datasets.c.created_at.desc()).limit(1)
            row = connection.execute(query).mappings().one_or_none()
        return _dataset(dict(row)) if row is not None else None

    def listed(
        self,
        *,
        purpose: Purpose | None = None,
        limit: int | None = None,
        before: str | None = None,
    ) -> list[Dataset]:
        """Versions, newest first; all of them without a `limit`.

        With `before`, those after the one with that id.
        """
        query = select(datasets).order_by(datasets.c.created_at.desc(), datasets.c.id.desc())
        if purpose is not None:
            query = query.where(datasets.c.purpose == purpose)
        with self._engine.connect() as connection:
            if before is not None:
                query = query.where(older_than(connection, datasets, before))
            rows = connection.execute(query.limit(limit)).mappings()
            return [_dataset(dict(row)) for row in rows]

    def rows(self, dataset: Dataset) -> list[Row]:
        """The utterances of a version, less those that somebody had deleted."""
        return self._without_forgotten(from_jsonl(self._manifest(dataset)))

    def in_use(self, connection: Connection, keys: Collection[str]) -> set[str]:
        """Which of these recordings a dataset names; each manifest is read once."""
        query = select(datasets.c.manifest_sha256)
        for manifest in set(connection.scalars(query)) - self._read:
            self._named.update(recordings_in(self._blobs.get_bytes(manifest)))
            self._read.add(manifest)
        named = self._named.intersection(keys)
        return named - _forgotten(connection, list(named))

    def naming(self, keys: Collection[str]) -> dict[str, list[Row]]:
        """The id of each dataset that names one of these recordings, with the rows that do."""
        found = {}
        for one in self.listed():
            manifest = self._manifest(one)
            if not recordings_in(manifest).isdisjoint(keys):
                found[one.id] = [row for row in from_jsonl(manifest) if row.audio_sha256 in keys]
        return found

    def withdraw(self, keys: Collection[str]) -> dict[str, int]:
        """Take recordings out of every dataset that names them, for good; rows by id of dataset.

        The id stays what it was, though it no longer is the hash of what is left: `withdrawn` says
        so. The manifest before is discarded.
        """
        done: dict[str, int] = {}
        for named in self.naming(keys):
            done[named] = self._withdraw(named, keys)
        return done

    def _withdraw(self, wanted: str, keys: Collection[str]) -> int:
        while True:
            before = self.get(wanted)
            rows = from_jsonl(self._manifest(before))
            kept = [row for row in rows if row.audio_sha256 not in keys]
            gone = len(rows) - len(kept)
            if not gone:
                return 0
            manifest = to_jsonl(kept)
            new = audio.sha256_of(manifest)
            # It still has the words of others, so it must not be left behind either.
            put_announced(self._engine, [new], partial(self._blobs.put_bytes, manifest))
            values = {
                "manifest_sha256": new,
                "withdrawn": before.withdrawn + gone,
                **figures_of(kept),
            }
            this = (datasets.c.id == wanted) & (
                datasets.c.manifest_sha256 == before.manifest_sha256
            )
            with writing(self._engine) as connection:
                if connection.execute(update(datasets).where(this).values(**values)).rowcount:
                    discard(connection, [before.manifest_sha256])
                    if new not in written_to(self._blobs):
                        self._blobs.put_bytes(manifest)
                    return gone
                # Somebody else has withdrawn from it just now.

    def test_rows(self, dataset: Dataset) -> list[Row]:
        """The utterances of a version that no training ever sees: all of an evaluation set."""
        return [row for row in self.rows(dataset) if row.split is Split.TEST]

    def held_out_rows(self) -> list[Row]:
        """The utterances of every evaluation set, but for a suite's permanent cases.

        Those are never trained on either: `build` keeps them in the test split, where they count.
        """
        return [
            row
            for one in self.listed(purpose=Purpose.EVALUATION)
            if one.counts.get(PERMANENT) != one.counts.get(Split.TEST)
            for row in self.rows(one)
            if row.kind != PERMANENT
        ]

    def _manifest(self, dataset: Dataset) -> bytes:
        """What is there now: a version that was withdrawn from has another than before."""
        try:
            return self._blobs.get_bytes(dataset.manifest_sha256)
        except BlobNotFoundError:
            return self._blobs.get_bytes(self.get(dataset.id).manifest_sha256)

    def _without_forgotten(self, rows: list[Row]) -> list[Row]:
        with self._engine.connect() as connection:
            gone = _forgotten(connection, [row.audio_sha256 for row in rows])
        return [row for row in rows if row.audio_sha256 not in gone] if gone else rows

    def export(self, dataset: Dataset, target: Path) -> None:
        """Write `<split>.jsonl` for each split, and `audio/`, into the new directory `target`.

        A line has `audio_path` (relative to `target`), `reference`, `kind`, `speaker_group` and
        `weight`.
        """
        (target / "audio").mkdir(parents=True)
        lines: dict[Split, list[str]] = {split: [] for split in Split}
        rows = self.rows(dataset)
        keys = {row.audio_sha256 for row in rows}
        wanted = {target / "audio" / key: key for key in sorted(keys)}
        fetch_all(self._blobs, wanted, threads=self._blobs.at_once)
        for row in rows:
            line = {
                "audio_path": f"audio/{row.audio_sha256}",
                "reference": row.reference,
                "kind": row.kind,
                "speaker_group": row.speaker_group,
                "weight": row.weight,
            }
            lines[row.split].append(json.dumps(line, ensure_ascii=False) + "\n")
        for split, texts in lines.items():
            (target / f"{split}.jsonl").write_text("".join(texts), encoding="utf-8")


def _forgotten(connection: Connection, keys: list[str]) -> set[str]:
    if connection.execute(select(forgotten.c.audio_sha256).limit(1)).first() is None:
        return set()
    found: set[str] = set()
    for some in portions(keys):
        query = select(forgotten.c.audio_sha256).where(forgotten.c.audio_sha256.in_(some))
        found.update(connection.scalars(query))
    return found


def figures_of(rows: Sequence[Row]) -> dict[str, Any]:
    """What the row of a dataset says of its utterances: `counts` and `duration_s`."""
    return {
        "counts": dict(sorted(Counter(_labels(rows)).items())),
        "duration_s": round(sum(row.duration_s for row in rows), 3),
    }


def _labels(rows: Iterable[Row]) -> Iterable[str]:
    for row in rows:
        yield row.split.value
        if row.kind != "evaluation":
            yield row.kind


def _dataset(row: dict[str, Any]) -> Dataset:
    return Dataset(**row | {"purpose": Purpose(row["purpose"])})
