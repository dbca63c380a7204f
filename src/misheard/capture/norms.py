"""How fast each speaker speaks, and everybody, as a workspace keeps it."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from misheard.capture.signals import Norm
from misheard.database.discarded import portions
from misheard.database.schema import inferences, speaker_norms


def norms_of(connection: Connection, speakers: set[str]) -> dict[str, Norm]:
    """Of these speakers, as far as they are known, and of everybody, under ""."""
    found = {}
    for some in portions(sorted(speakers | {""})):
        for row in connection.execute(
            select(speaker_norms).where(speaker_norms.c.speaker.in_(some))
        ):
            found[row.speaker] = Norm(row.utterances, row.mean, row.squared_distance)
    return found


def keep_norms(connection: Connection, norms: dict[str, Norm]) -> None:
    """In the transaction of a digest."""
    rows = [
        {
            "speaker": speaker,
            "utterances": norm.utterances,
            "mean": norm.mean,
            "squared_distance": norm.squared_distance,
        }
        for speaker, norm in sorted(norms.items())
        if norm.utterances
    ]
    if not rows:
        return
    made = (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(speaker_norms)
    # Only one digest at a time writes them, so what it made of them replaces what was there.
    more = {name: made.excluded[name] for name in ("utterances", "mean", "squared_distance")}
    connection.execute(made.on_conflict_do_update(index_elements=["speaker"], set_=more), rows)


def drop_norms(connection: Connection, speakers: Collection[str]) -> None:
    """Forget how fast these speak, unless a transcript of theirs is left."""
    named = select(inferences.c.id).where(inferences.c.speaker == speaker_norms.c.speaker)
    for some in portions(sorted(set(speakers) - {""})):
        these = speaker_norms.c.speaker.in_(some)
        connection.execute(delete(speaker_norms).where(these, ~named.exists()))
