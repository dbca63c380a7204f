"""Model versions, and how each stands: live, was live, pruned, or by what the first gate said."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from misheard.deployment import PRODUCTION
from misheard.gates.validation import Validation
from misheard.gates.verdict import Answer
from misheard.registry import ModelVersion
from misheard.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A version, and how it stands."""

    version: ModelVersion
    status: str
    """live, "live in" and the names of other slots, was live, pruned (its files are gone), refused,
    inconclusive, candidate."""
    validation_id: str | None
    """The newest verdict of the first gate on it."""
    wer: float
    """By that verdict; NaN where there is none."""


def standings(
    workspace: Workspace, *, limit: int | None = None, before: str | None = None
) -> list[Standing]:
    """Versions, newest first; those after the one with the id `before`."""
    return _standings(workspace, workspace.registry.listed(limit=limit, before=before))


def standing(workspace: Workspace, version_id: str) -> Standing:
    """One version; raises `UnknownIdError` where there is none."""
    return _standings(workspace, [workspace.registry.get(version_id)])[0]


def _standings(workspace: Workspace, versions: list[ModelVersion]) -> list[Standing]:
    live = workspace.deployments.live_by_slot()
    once = set(workspace.deployments.ever_live(slot=None))
    found = []
    for one in versions:
        validation = workspace.validations.latest_of(one.id)
        found.append(
            Standing(
                version=one,
                status=_status(one, live, once, validation),
                validation_id=validation.id if validation else None,
                wer=validation.comparison.candidate.wer if validation else math.nan,
            )
        )
    return found


def _status(
    version: ModelVersion,
    live: Mapping[str, str],
    once: Collection[str],
    validation: Validation | None,
) -> str:
    slots = [slot for slot, version_id in live.items() if version_id == version.id]
    if slots:
        return "live" if PRODUCTION in slots else f"live in {', '.join(slots)}"
    if version.pruned_at is not None:
        return "pruned"
    if version.id in once:
        return "was live"
    judged = {Answer.FAIL: "refused", Answer.INCONCLUSIVE: "inconclusive"}
    answer = validation.verdict.answer if validation is not None else Answer.PASS
    return judged.get(answer, "candidate")
