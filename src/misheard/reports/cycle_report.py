"""The report on one cycle: a single HTML page that opens anywhere, offline."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import misheard
from misheard.database.engine import now
from misheard.finetune.events import TrainingEvent
from misheard.finetune.recipe import Recipe
from misheard.gates.comparison import Comparison
from misheard.reports import charts, figures
from misheard.reports.changes import changes
from misheard.reports.facts import Facts, gather
from misheard.reports.headline import chance, headline
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
    return (
        _environment()
        .get_template("cycle.html.j2")
        .render(
            facts=facts,
            cycle=facts.cycle,
            comparison=facts.comparison,
            headline=headline(facts),
            drawings=_drawings(facts),
            better=better,
            worse=worse,
            settings=_settings(facts.job.recipe) if facts.job else [],
            style=_style(),
            made_at=now(),
            version=misheard.__version__,
        )
    )


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("misheard", "reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        name: getattr(figures, name)
        for name in (
            "percent", "times", "p_value", "count", "number", "minutes", "duration",
            "when", "plural",
        )
    }  # fmt: skip
    made.globals["chance"] = chance
    return made


def _style() -> Markup:
    # The style sheet is our own file; nothing in it comes from a workspace.
    return Markup((files("misheard.reports") / "report.css").read_text(encoding="utf-8"))


def _drawings(facts: Facts) -> Drawings:
    found = _training(facts.events)
    comparison = facts.comparison
    return Drawings(**found | (_compared(comparison) if comparison else {}))


def _compared(comparison: Comparison) -> dict[str, Markup]:
    before, after = comparison.baseline, comparison.candidate
    estimates = [
        charts.Estimate(
            name=name,
            value=side.wer,
            low=side.wer_interval[0],
            high=side.wer_interval[1],
            role=role,
        )
        for name, side, role in (("Live", before, "baseline"), ("Candidate", after, "candidate"))
    ]
    gain = charts.Estimate(
        name="Live − candidate",
        value=before.wer - after.wer,
        low=comparison.reduction_interval[0],
        high=comparison.reduction_interval[1],
        role="candidate",
    )
    kinds = [
        (
            name.capitalize(),
            [
                charts.Bar(name="live", value=getattr(before, name), role="baseline"),
                charts.Bar(name="candidate", value=getattr(after, name), role="candidate"),
            ],
        )
        for name in ("substitutions", "deletions", "insertions")
    ]
    return {
        "wer": _drawn(
            charts.interval_plot(
                estimates,
                label="Word error rate with 95% intervals: "
                f"live {figures.percent(before.wer)}, candidate {figures.percent(after.wer)}",
                as_text=figures.percent,
                tick_text=figures.tick_percent,
            )
        ),
        "reduction": _drawn(
            charts.interval_plot(
                [gain],
                label="Live word error rate minus the candidate's, with its 95% interval: "
                f"{figures.signed_percent(gain.value)}",
                as_text=figures.signed_percent,
                tick_text=figures.signed_tick_percent,
                zero=True,
                sides=("candidate is worse", "candidate is better"),
            )
        ),
        "kinds": _drawn(
            charts.bars(kinds, label="Word errors by kind, live version and candidate")
        ),
    }


def _training(events: tuple[TrainingEvent, ...]) -> dict[str, Markup]:
    losses = [(event.epoch, event.loss) for event in events if event.loss is not None]
    rates = [
        (event.epoch, event.validation_wer) for event in events if event.validation_wer is not None
    ]
    return {
        "loss": _drawn(
            charts.line_chart(
                losses,
                label=_course("Training loss", losses, figures.number),
                as_text=figures.number,
                tick_text=figures.number,
                x_name="epoch",
            )
        ),
        "validation_wer": _drawn(
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


def _drawn(svg: str) -> Markup:
    # `charts` escapes every text that it is given.
    return Markup(svg)


def _settings(recipe: Recipe) -> list[Setting]:
    shipped = Recipe().to_dict()
    return [
        Setting(name=name, value=str(value), default=str(shipped[name]))
        for name, value in recipe.to_dict().items()
    ]
