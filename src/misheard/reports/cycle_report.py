"""The report on one cycle: a single HTML page that opens anywhere, offline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from misheard.finetune.events import TrainingEvent
from misheard.finetune.recipe import Recipe
from misheard.gates.comparison import Comparison
from misheard.reports import charts, drawings, figures
from misheard.reports.changes import changes
from misheard.reports.facts import Facts, gather
from misheard.reports.headline import chance, headline
from misheard.reports.page import drawn, render
from misheard.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Drawings:
    """Every chart of the page as SVG; empty where there is nothing to draw."""

    wer: str = ""
    reduction: str = ""
    kinds: str = ""
    loss: str = ""
    validation_wer: str = ""


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
        drawings=_drawings(facts),
        better=better,
        worse=worse,
        settings=_settings(facts.job.recipe) if facts.job else [],
    )


def _drawings(facts: Facts) -> Drawings:
    found = _training(facts.events)
    comparison = facts.comparison
    return Drawings(**found | (_compared(comparison) if comparison else {}))


def _compared(comparison: Comparison) -> dict[str, Markup]:
    sides = [("Live", comparison.baseline, False), ("Candidate", comparison.candidate, True)]
    return {
        "wer": drawings.rates(sides),
        "reduction": drawings.reduction(comparison),
        "kinds": drawings.kinds(comparison),
    }


def _training(events: tuple[TrainingEvent, ...]) -> dict[str, Markup]:
    losses = [(event.epoch, event.loss) for event in events if event.loss is not None]
    rates = [
        (event.epoch, event.validation_wer) for event in events if event.validation_wer is not None
    ]
    return {
        "loss": drawn(
            charts.line_chart(
                losses,
                label=_course("Training loss", losses, figures.number),
                as_text=figures.number,
                tick_text=figures.number,
                x_name="epoch",
            )
        ),
        "validation_wer": drawn(
            charts.line_chart(
                rates,
                label=_course("Validation word error rate", rates, figures.percent),
                as_text=figures.percent,
                tick_text=figures.tick_percent,
                x_name="epoch",
                dots=True,
            )
        ),
    }


def _course(name: str, points: list[tuple[float, float]], as_text: Any) -> str:
    if not points:
        return name
    return f"{name}, from {as_text(points[0][1])} to {as_text(points[-1][1])}"


def _settings(recipe: Recipe) -> list[Setting]:
    shipped = Recipe().to_dict()
    return [
        Setting(name=name, value=str(value), default=str(shipped[name]))
        for name, value in recipe.to_dict().items()
    ]
