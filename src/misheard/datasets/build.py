"""Build a dataset version from what people corrected and confirmed. Pure."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from misheard.cases.records import Labelled
from misheard.datasets.balance import balanced_weights
from misheard.datasets.manifest import Row
from misheard.datasets.quality import Quality, assess, flaws_of
from misheard.datasets.split import Split, SplitShares, split_of
from misheard.scoring.normalize import Normalize
from misheard.tags import of_recording


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """What no training row may be: the recordings and sentences of the evaluation sets."""

    audio: frozenset[str]
    sentences: frozenset[str]
    """Normalised; the empty one is never in it, since silence may be learnt and tested."""


@dataclass(frozen=True, kw_only=True)
class Built:
    """The rows of a new version and what was left out of it."""

    rows: list[Row]
    duplicates: int
    held_out: int
    """Left out because a test already uses the recording or the sentence."""
    surplus_replay: int
    """Confirmed utterances beyond the replay ratio."""
    quality: Quality


_NOTHING = HeldOut(audio=frozenset(), sentences=frozenset())


def held_out_from(rows: Iterable[Row], normalize: Normalize) -> HeldOut:
    """What the rows of evaluation sets forbid."""
    rows = list(rows)
    return HeldOut(
        audio=frozenset(row.audio_sha256 for row in rows),
        sentences=frozenset(normalize(row.reference) for row in rows) - {""},
    )


def build(
    labelled: Iterable[Labelled],
    *,
    shares: SplitShares,
    replay_per_error: float,
    held_out: HeldOut,
    normalize: Normalize,
    balance_error_types: bool = False,
    permanent: HeldOut = _NOTHING,
) -> Built:
    """One row for each distinct recording; the newest label of a recording counts.

    What is in `permanent` stays in the test split, whatever its words are now.
    """
    labels: dict[str, list[Labelled]] = defaultdict(list)
    for utterance in labelled:
        labels[utterance.audio_sha256].append(utterance)
    newest = [same[-1] for same in labels.values()]
    allowed = [u for u in newest if not _is_held_out(u, held_out, normalize)]
    errors = [u for u in allowed if u.is_error]
    replay = _chosen([u for u in allowed if not u.is_error], round(replay_per_error * len(errors)))
    chosen = [*errors, *replay]
    weights = [1.0] * len(chosen)
    if balance_error_types:
        weights = balanced_weights([u.error_types if u.is_error else () for u in chosen])
    pinned = _pinned(chosen, permanent, normalize)
    rows = [
        _row(u, shares, normalize, weight, pinned)
        for u, weight in zip(chosen, weights, strict=True)
    ]
    older = ([same.reference for same in labels[u.audio_sha256][:-1]] for u in chosen)
    return Built(
        rows=sorted(rows),
        duplicates=sum(map(len, labels.values())) - len(newest),
        held_out=len(newest) - len(allowed),
        surplus_replay=len(allowed) - len(rows),
        quality=assess(
            flaws_of(u, normalize=normalize, same_recording=references)
            for u, references in zip(chosen, older, strict=True)
        ),
    )


def _is_held_out(utterance: Labelled, held_out: HeldOut, normalize: Normalize) -> bool:
    return (
        utterance.audio_sha256 in held_out.audio
        or normalize(utterance.reference) in held_out.sentences
    )


def _pinned(chosen: Iterable[Labelled], permanent: HeldOut, normalize: Normalize) -> HeldOut:
    """`permanent`, and what its recordings are said to hold now: no sentence is in two splits."""
    newer = {normalize(u.reference) for u in chosen if u.audio_sha256 in permanent.audio} - {""}
    return HeldOut(audio=permanent.audio, sentences=permanent.sentences | newer)


def _chosen(replay: Sequence[Labelled], most: int) -> list[Labelled]:
    """A sample that depends on the recordings alone, so that a rebuild gives the same rows."""
    keyed = sorted(replay, key=lambda u: hashlib.sha256(u.audio_sha256.encode()).digest())
    return keyed[:most]


def _row(
    utterance: Labelled, shares: SplitShares, normalize: Normalize, weight: float, pinned: HeldOut
) -> Row:
    split: Split = split_of(normalize(utterance.reference), shares, fallback=utterance.audio_sha256)
    if _is_held_out(utterance, pinned, normalize):
        split = Split.TEST
    return Row(
        audio_sha256=utterance.audio_sha256,
        reference=utterance.reference,
        split=split,
        kind="error" if utterance.is_error else "replay",
        speaker_group=utterance.speaker_group,
        duration_s=round(utterance.duration_s, 3),
        weight=weight,
        tags=tuple(sorted(of_recording(utterance.tags).items())),
    )
