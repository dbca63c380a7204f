"""Dataset versions: kept for ever, found by id or by name, exported for a training job."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, insert, select

from misheard import audio
from misheard.blobs.store import BlobStore
from misheard.database.engine import now, take_turns, writing
from misheard.database.schema import datasets
from misheard.datasets.manifest import PERMANENT, Row, dataset_id, from_jsonl, to_jsonl
from misheard.datasets.quality import Quality
from misheard.datasets.samples import Sample
from misheard.datasets.split import Split
from misheard.errors import EmptyDatasetError, UnknownIdError
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


class Datasets:
    """Keeps dataset versions."""

    def __init__(self, engine: Engine, blobs: BlobStore) -> None:
        self._engine = engine
        self._blobs = blobs

    def add(
        self,
        name: str,
        purpose: Purpose,
        rows: Iterable[Row],
        *,
        quality: Quality | None = None,
    ) -> Dataset:
        """Keep a version; the same rows give the version that is there already."""
        chosen = list(rows)
        if not chosen:
            raise EmptyDatasetError(f"'{name}' would hold no utterance.")
        manifest = to_jsonl(chosen)
        made = Dataset(
            id=dataset_id(manifest),
            created_at=now(),
            name=name,
            purpose=purpose,
            manifest_sha256=self._blobs.put_bytes(manifest),
            counts=dict(sorted(Counter(_labels(chosen)).items())),
            duration_s=round(sum(row.duration_s for row in chosen), 3),
            quality=quality.to_dict() if quality else {},
        )
        with writing(self._engine) as connection:
            take_turns(connection)
            query = select(datasets).where(datasets.c.id == made.id)
            known = connection.execute(query).mappings().one_or_none()
            if known is not None:
                return _dataset(dict(known))
            connection.execute(insert(datasets).values(**vars(made)))
        return made

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
        for sample in samples:
            self._blobs.put_bytes(sample.data)
        return self.add(name, Purpose.EVALUATION, rows)

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

    def listed(self, *, purpose: Purpose | None = None) -> list[Dataset]:
        """All versions, newest first."""
        query = select(datasets).order_by(datasets.c.created_at.desc())
        if purpose is not None:
            query = query.where(datasets.c.purpose == purpose)
        with self._engine.connect() as connection:
            return [_dataset(dict(row)) for row in connection.execute(query).mappings()]

    def rows(self, dataset: Dataset) -> list[Row]:
        """The utterances of a version."""
        return from_jsonl(self._blobs.get_bytes(dataset.manifest_sha256))

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

    def export(self, dataset: Dataset, target: Path) -> None:
        """Write `<split>.jsonl` for each split, and `audio/`, into the new directory `target`.

        A line has `audio_path` (relative to `target`), `reference`, `kind`, `speaker_group` and
        `weight`.
        """
        (target / "audio").mkdir(parents=True)
        lines: dict[Split, list[str]] = {split: [] for split in Split}
        for row in self.rows(dataset):
            path = Path("audio") / row.audio_sha256
            if not (target / path).exists():
                self._blobs.fetch(row.audio_sha256, target / path)
            line = {
                "audio_path": str(path),
                "reference": row.reference,
                "kind": row.kind,
                "speaker_group": row.speaker_group,
                "weight": row.weight,
            }
            lines[row.split].append(json.dumps(line, ensure_ascii=False) + "\n")
        for split, texts in lines.items():
            (target / f"{split}.jsonl").write_text("".join(texts), encoding="utf-8")


def _labels(rows: Iterable[Row]) -> Iterable[str]:
    for row in rows:
        yield row.split.value
        if row.kind != "evaluation":
            yield row.kind


def _dataset(row: dict[str, Any]) -> Dataset:
    return Dataset(**row | {"purpose": Purpose(row["purpose"])})
