"""Labels that may be wrong themselves: a wrong one trains the model to be wrong, too.

None of these is a proof: models that were trained alike mishear alike. They are for a second look.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, select

from misheard.cases.agreement import Label, newest_labels
from misheard.database.schema import corrections, error_cases, hypotheses, inferences, versions
from misheard.scoring.normalize import Normalizer

LOOKED_AT_MOST = 5_000
_AT_ONCE = 250
_VERSIONS = 20
"""What older versions heard is not asked: there may be hundreds."""
_SECOND = "second"
"""The name of a model that has none."""


class Doubt(StrEnum):
    """Why a label is doubtful."""

    MODELS = "models"
    """Every model that heard the recording says the same, and something else than the label."""
    FORMATTING = "formatting"
    """Reported as an error, and after normalisation the label says what was heard."""
    PEOPLE = "people"
    """Another person said something else."""


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """The newest label of an utterance, and what speaks against it."""

    number: int
    """Counts corrections."""
    inference_id: str
    created_at: datetime
    author: str
    reference: str
    heard: str
    """The transcript that it labels."""
    audio_sha256: str
    source: str
    doubts: tuple[Doubt, ...]
    models: Mapping[str, str]
    """Which model heard what, where models contradict; "second" is one that has no name."""
    others: Mapping[str, str]
    """Who said what, where people contradict."""


@dataclass(frozen=True, kw_only=True)
class Suspects:
    """Doubtful labels, the newest first."""

    found: tuple[Suspect, ...]
    looked_at: int
    """Corrections that were looked at for it."""
    before: int | None
    """The number to go on from; None where all were looked at."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that is known of an utterance beside its label."""

    heard: str
    was_reported: bool
    """There is an error case."""
    models: Mapping[str, Sequence[str]]
    """Model → its texts of this recording; more than one where it was asked with other options."""
    labels: Sequence[Label]
    """The newest of each person, the newest of all last: the one that is judged."""


def doubts(evidence: Evidence, normalizer: Normalizer) -> tuple[Doubt, ...]:
    """What speaks against the newest label. Pure."""
    label = evidence.labels[-1]
    said = normalizer(label.reference)
    found = []
    texts = {normalizer(text) for known in evidence.models.values() for text in known}
    if len(evidence.models) >= 2 and len(texts) == 1 and said not in texts:
        found.append(Doubt.MODELS)
    same = normalizer(evidence.heard) == said
    if evidence.was_reported and same and evidence.heard != label.reference:
        found.append(Doubt.FORMATTING)
    if any(normalizer(one.reference) != said for one in evidence.labels[:-1]):
        found.append(Doubt.PEOPLE)
    return tuple(found)


def suspect_labels(
    connection: Connection, *, normalizer: Normalizer, limit: int = 20, before: int | None = None
) -> Suspects:
    """The newest `limit` doubtful labels that came before the correction with that number.

    At most 5,000 corrections are looked at, so that a question costs the same after years.
    """
    found: list[Suspect] = []
    looked_at = 0
    while looked_at < LOOKED_AT_MOST:
        query = select(corrections.c.number, corrections.c.inference_id, corrections.c.created_at)
        if before is not None:
            query = query.where(corrections.c.number < before)
        rows = connection.execute(query.order_by(corrections.c.number.desc()).limit(_AT_ONCE)).all()
        suspects = _among(connection, rows, normalizer)
        for row in rows:
            looked_at += 1
            before = row.number
            if row.number in suspects:
                found.append(suspects[row.number])
                if len(found) == limit:
                    return Suspects(found=tuple(found), looked_at=looked_at, before=before)
        if len(rows) < _AT_ONCE:
            return Suspects(found=tuple(found), looked_at=looked_at, before=None)
    return Suspects(found=tuple(found), looked_at=looked_at, before=before)


def _among(
    connection: Connection, rows: Sequence[Any], normalizer: Normalizer
) -> dict[int, Suspect]:
    """Number → suspect, of those of `rows` that are still the newest of their utterance."""
    ids = list({row.inference_id for row in rows})
    labels = newest_labels(connection, ids)
    heard = _heard(connection, ids)
    models = _models(connection, heard)
    made = {}
    for row in rows:
        known, one = labels[row.inference_id], heard[row.inference_id]
        if known[-1].number != row.number:
            continue
        evidence = Evidence(
            heard=one.text,
            was_reported=one.case_id is not None,
            models=models[row.inference_id],
            labels=known,
        )
        if why := doubts(evidence, normalizer):
            made[row.number] = _suspect(row.created_at, one, evidence, why)
    return made


def _suspect(
    created_at: datetime, heard: Any, evidence: Evidence, why: tuple[Doubt, ...]
) -> Suspect:
    label = evidence.labels[-1]
    by_models, by_people = Doubt.MODELS in why, Doubt.PEOPLE in why
    return Suspect(
        number=label.number,
        inference_id=label.inference_id,
        created_at=created_at,
        author=label.author,
        reference=label.reference,
        heard=evidence.heard,
        audio_sha256=heard.audio_sha256,
        source=heard.source,
        doubts=why,
        models={name: texts[0] for name, texts in evidence.models.items()} if by_models else {},
        others={one.author: one.reference for one in evidence.labels[:-1]} if by_people else {},
    )


def _heard(connection: Connection, ids: Sequence[str]) -> dict[str, Any]:
    column = inferences.c
    query = (
        select(
            column.id,
            column.text,
            column.second_text,
            column.version_id,
            column.audio_sha256,
            column.source,
            error_cases.c.id.label("case_id"),
        )
        .outerjoin(error_cases, error_cases.c.inference_id == column.id)
        .where(column.id.in_(ids))
    )
    return {row.id: row for row in connection.execute(query)}


def _models(connection: Connection, heard: Mapping[str, Any]) -> dict[str, dict[str, list[str]]]:
    """Of each inference, what which model heard in its recording."""
    by_audio: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    hashes = sorted({one.audio_sha256 for one in heard.values()} - {""})
    # The key begins with the version, so they are named: then it leads to each row.
    newest = select(versions.c.id).order_by(versions.c.created_at.desc()).limit(_VERSIONS)
    known = list(connection.execute(newest).scalars())
    gated = select(hypotheses.c.audio_sha256, hypotheses.c.version_id, hypotheses.c.text).where(
        hypotheses.c.version_id.in_(known), hypotheses.c.audio_sha256.in_(hashes)
    )
    for row in connection.execute(gated):
        by_audio[row.audio_sha256][row.version_id].append(row.text)
    made: dict[str, dict[str, list[str]]] = {}
    for key, one in heard.items():
        texts = {name: list(known) for name, known in by_audio[one.audio_sha256].items()}
        texts.setdefault(one.version_id, []).append(one.text)
        if one.second_text is not None:
            texts.setdefault(_SECOND, []).append(one.second_text)
        made[key] = texts
    return made
