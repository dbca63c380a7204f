"""The report on one validation: a single HTML page that opens anywhere, offline."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from misheard.gates.comparison import Comparison
from misheard.gates.pairing import MOST
from misheard.gates.validation import Validation
from misheard.reports import charts, confused, drawings, figures
from misheard.reports.audio_clips import data_uri
from misheard.reports.clips import Clip, clip, on_page
from misheard.reports.evidence import by_kind, evidence, measures
from misheard.reports.headline import chance, of_validation
from misheard.reports.page import drawn, render, script
from misheard.workspace import Workspace

_KINDS = (
    ("substituted", "Confused", "Heard as another word"),
    ("deleted", "Missed", "Spoken and not heard"),
    ("inserted", "Made up", "Heard and not spoken"),
)
"""What `ErrorsByType` calls its lists, and what the page does."""
_WIDEST_RISE = 0.05
"""The bars of the slices show at least so much to either side, so that little looks little."""


def validation_page(workspace: Workspace, validation_id: str, *, every: bool = False) -> str:
    """The page on a validation; raises `UnknownIdError` where there is none.

    `every` puts all clips and recordings on it, however large it gets: see `clips.on_page`.
    """
    validation = workspace.validations.get(validation_id)
    comparison = validation.comparison
    changed = list(_changed(workspace, validation))

    def sound(one: Clip) -> str:
        return data_uri(workspace.recording(one.audio_sha256))

    return render(
        "verdict.html.j2",
        headline=of_validation(validation),
        validation=validation,
        comparison=comparison,
        criteria=[evidence(one) for one in validation.verdict.criteria],
        files=workspace.infrastructure.latest_of(validation.candidate_id),
        measures=measures(comparison),
        general_measures=measures(validation.general) if validation.general else (),
        chance=chance,
        wer=_rates(comparison),
        reduction=drawings.reduction(comparison),
        general=drawings.reduction(validation.general) if validation.general else "",
        slices=by_kind(comparison.slices),
        swing=_swing(comparison),
        clips=on_page(changed, sound, every=every),
        every=every,
        mistakes=_mistakes(comparison),
        most=MOST,
        settings=workspace.settings,
        script=script("verdict.js"),
    )


def _changed(workspace: Workspace, validation: Validation) -> Iterable[Clip]:
    rows = validation.comparison.changed
    kept = [
        one
        for one in workspace.validations.utterances(validation)
        if one["baseline_errors"] != one["candidate_errors"]
    ]
    if len(kept) == len(rows):
        return map(clip, rows, kept)
    # A validation of revision 0001 kept no list of its own, so its dataset says who spoke.
    known = _details(workspace, validation)
    return (clip(row, known.get((row["audio_sha256"], row["reference"]), {})) for row in rows)


def _details(
    workspace: Workspace, validation: Validation
) -> Mapping[tuple[str, str], Mapping[str, Any]]:
    dataset = workspace.datasets.get(validation.dataset_id)
    return {
        (row.audio_sha256, row.reference): {
            "speaker_group": row.speaker_group,
            "duration_s": row.duration_s,
            "tags": dict(row.tags),
        }
        for row in workspace.datasets.rows(dataset)
    }


def _rates(comparison: Comparison) -> Any:
    sides = [("Live", comparison.baseline, False), ("Candidate", comparison.candidate, True)]
    return drawings.rates(sides)


def _swing(comparison: Comparison) -> Any:
    """A function that draws the rise of a slice, all on one scale."""
    tested = [one for one in comparison.slices if one.p_value is not None]
    widest = max((abs(one.rise) for one in tested), default=0.0)
    reach = max(_WIDEST_RISE, widest)

    def draw(rise: float) -> Any:
        if not math.isfinite(rise):
            return ""
        return drawn(charts.swing(rise / reach, label=figures.signed_percent(rise)))

    return draw


def _mistakes(comparison: Comparison) -> list[tuple[str, str, tuple[confused.Mistake, ...]]]:
    before, after = comparison.baseline.confusions, comparison.candidate.confusions
    found = [
        (title, told, confused.mistakes(before, after, kind, kept=MOST))
        for kind, title, told in _KINDS
    ]
    return [one for one in found if one[2]]
