"""`misheard suspicion`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from misheard.cli.output import (
    acting,
    actor_option,
    json_option,
    open_workspace,
    out,
    percent,
    print_json,
    table,
    when,
)

if TYPE_CHECKING:
    from misheard.capture.suspicion_figures import FitFigures
    from misheard.capture.suspicion_kept import KeptModel
    from misheard.capture.suspicion_labels import LabelCounts


_LEAST = 0.005


@click.group()
def command() -> None:
    """How suspicious transcripts are found, and learning it from corrections."""


@command.command(
    epilog="""\b
Examples:
  misheard -w calls suspicion show
  misheard -w calls suspicion show --json
"""
)
@json_option
@click.pass_obj
def show(directory: str | None, as_json: bool) -> None:
    """Show what makes a transcript suspicious here, and how well that works."""
    suspicions = open_workspace(directory).suspicions
    current, newest, labels = suspicions.current(), suspicions.newest(), suspicions.labels()
    if as_json:
        print_json(
            {
                "current": _plain(current),
                "newest": _plain(newest) if newest else None,
                "labels": labels,
            }
        )
        return
    _show_inputs(current)
    refused = newest if newest is not None and newest.number != current.number else None
    # Of the defaults it is known how well they do here since something was compared with them.
    judged = current if current.figures is not None else refused
    if judged is not None and judged.figures is not None:
        _show_figures(judged.name, judged.figures)
    if refused is not None and refused.figures is not None:
        out.print(f"{_fitted(refused)}, is not used: {escape(refused.figures.reason)}.")
    _show_labels(labels, newest)


@command.command(
    epilog="""\b
Examples:
  misheard -w calls suspicion fit
  misheard -w calls suspicion fit --json
\b
Needs scikit-learn: pip install 'misheard[suspicion]'. The fit is judged on speaker groups that it
has not seen, and is used only if it surely ranks better than what is in use. A worker does it, too,
whenever a fifth more labels have come.
"""
)
@actor_option
@json_option
@click.pass_obj
def fit(directory: str | None, actor: str | None, as_json: bool) -> None:
    """Learn from this workspace's corrections what is suspicious."""
    made = open_workspace(directory).suspicions.fit(actor=acting(actor))
    if as_json:
        print_json(_plain(made) if made else None)
    elif made is None:
        out.print("No label has come since the newest fit. See: [cyan]misheard suspicion show[/]")
    elif made.figures is not None:
        out.print(f"{made.name.capitalize()}: {escape(made.figures.reason)}.")
        _show_figures(made.name, made.figures)


def _plain(kept: KeptModel) -> dict[str, Any]:
    return {
        "number": kept.number,
        "created_at": kept.created_at,
        **kept.model.to_dict(),
        "figures": kept.figures,
    }


def _fitted(kept: KeptModel) -> str:
    if kept.created_at is None or kept.figures is None:
        return "The default weights"
    return f"Model {kept.number}, of {when(kept.created_at)}, by {kept.figures.labels:,} labels"


def _show_inputs(kept: KeptModel) -> None:
    """The weights, the heaviest first; each for one usual spread of its signal."""
    model = kept.model
    rows = [
        (
            name,
            f"{weight:+.2f}",
            f"{model.means[name]:.2f}" if name in model.means else "",
            f"{model.scales[name]:.2f}" if name in model.scales else "",
        )
        for name, weight in sorted(model.weights.items(), key=lambda one: -abs(one[1]))
        # That a signal is missing mostly tells nothing.
        if name in model.means or abs(weight) >= _LEAST
    ]
    out.print(f"[bold]In use: {_fitted(kept)}[/]")
    out.print(table("", ["signal", "weight ", "usual ", "spread "], rows))


def _show_figures(name: str, figures: FitFigures) -> None:
    fitted, defaults = figures.fitted, figures.defaults
    rows = [
        (
            f"{new.share:.0%}",
            percent(new.precision),
            percent(new.recall),
            percent(old.precision),
            percent(old.recall),
            percent(figures.error_rate),
        )
        for new, old in zip(fitted.budgets, defaults.budgets, strict=True)
    ]
    columns = [
        "reviewed ",
        "precision ",
        "recall ",
        "precision\nby defaults ",
        "recall\nby defaults ",
        "precision\nat random ",
    ]
    out.print(
        f"[bold]What reviewing finds by {name}, out of fold[/]\n{figures.errors:,} of "
        f"{figures.labels:,} labels are wrong, from {figures.groups:,} speaker groups."
    )
    out.print(table("", columns, rows))
    out.print(
        f"Average precision: {fitted.average_precision:.3f} of {name}, "
        f"{defaults.average_precision:.3f} of the defaults."
    )
    if not figures.audited:
        out.print(
            "[dim]None of them was drawn at random, so the shares are of what was labelled, not "
            "of the traffic (capture.audit_share).[/]"
        )


def _show_labels(labels: LabelCounts, newest: KeptModel | None) -> None:
    from misheard.capture.suspicion_fit import FOLDS, MIN_OF_EACH  # noqa: PLC0415 - numpy

    since = f"; {labels.new:,} of them since {newest.name}" if newest is not None else ""
    out.print(
        f"Labels: {labels.errors:,} wrong, {labels.right:,} right, of {labels.groups:,} speaker "
        f"groups{since}."
    )
    if not labels.are_enough:
        out.print(
            f"From {MIN_OF_EACH} of each on, of {FOLDS} speaker groups: "
            "[cyan]misheard suspicion fit[/]"
        )
