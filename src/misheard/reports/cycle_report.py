"""The report on one cycle: a single HTML page that opens anywhere, offline."""

from __future__ import annotations

from dataclasses import dataclass

from misheard.finetune.recipe import Recipe
from misheard.gates.comparison import Comparison
from misheard.reports import drawings
from misheard.reports.changes import changes
from misheard.reports.facts import Facts, gather
from misheard.reports.headline import chance, headline
from misheard.reports.page import render
from misheard.reports.training import Training, training
from misheard.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Drawings:
    """Every chart of a comparison as SVG; empty where there is nothing to draw."""

    wer: str = ""
    reduction: str = ""
    kinds: str = ""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One line of the recipe."""

    name: str
    value: str
    default: str
    """As shipped; the same as `value` where nobody changed it."""


def cycle_report(workspace: Workspace, cycle_id: str) -> str:
    """The page on a cycle, in whatever state it is; raises `UnknownIdError` where there is none."""
    facts = gather(workspace, cycle_id)
    better, worse = changes(facts.comparison) if facts.comparison else (None, None)
    return render(
        "cycle.html.j2",
        facts=facts,
        cycle=facts.cycle,
        comparison=facts.comparison,
        headline=headline(facts),
        chance=chance,
        drawings=_drawings(facts.comparison),
        training=_training(facts),
        better=better,
        worse=worse,
        settings=_settings(facts.job.recipe) if facts.job else [],
    )


def _drawings(comparison: Comparison | None) -> Drawings:
    if comparison is None:
        return Drawings()
    sides = [("Live", comparison.baseline, False), ("Candidate", comparison.candidate, True)]
    return Drawings(
        wer=drawings.rates(sides),
        reduction=drawings.reduction(comparison),
        kinds=drawings.kinds(comparison),
    )


def _training(facts: Facts) -> Training | None:
    if facts.job is None:
        return None
    return training(facts.job, facts.events, margin=facts.general_margin)


def _settings(recipe: Recipe) -> list[Setting]:
    shipped = Recipe().to_dict()
    return [
        Setting(name=name, value=_typed(value), default=_typed(shipped[name]))
        for name, value in recipe.to_dict().items()
    ]


def _typed(value: object) -> str:
    """A setting as it stands in the settings file."""
    return str(value).lower() if isinstance(value, bool) else str(value)
