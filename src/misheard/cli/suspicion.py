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
    from misheard.capture.suspicions import FitFigures, KeptModel


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
    from misheard.capture.suspicion_fit import MIN_OF_EACH  # noqa: PLC0415 - numpy

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
    out.print(_inputs(current))
    if current.figures is not None:
        _show_figures(current.figures)
    if newest is not None and newest.figures is not None and newest.number != current.number:
        out.print(f"Model {newest.number} was fitted since: {escape(newest.figures.reason)}.")
    out.print(f"Labels: {labels.errors:,} wrong, {labels.right:,} right.")
    if current.number == 0 and min(labels.errors, labels.right) < MIN_OF_EACH:
        out.print(f"From {MIN_OF_EACH} of each on: [cyan]misheard suspicion fit[/]")


@command.command(
    epilog="""\b
Examples:
  misheard -w calls suspicion fit
  misheard -w calls suspicion fit --json
\b
Needs scikit-learn: pip install 'misheard[suspicion]'. The fit is judged on speaker groups that it
has not seen, and is used only if it ranks no worse than what is in use.
"""
)
@actor_option
@json_option
@click.pass_obj
def fit(directory: str | None, actor: str | None, as_json: bool) -> None:
    """Learn from this workspace's corrections what is suspicious."""
    made = open_workspace(directory).suspicions.fit(actor=acting(actor))
    if as_json:
        print_json(_plain(made))
        return
    if made.figures is not None:
        out.print(f"Model {made.number}: {escape(made.figures.reason)}.")
        _show_figures(made.figures)


def _plain(kept: KeptModel) -> dict[str, Any]:
    return {
        "number": kept.number,
        "created_at": kept.created_at,
        **kept.model.to_dict(),
        "figures": kept.figures,
    }


def _inputs(kept: KeptModel) -> Any:
    """The weights, the heaviest first; each for one usual spread of its signal."""
    model, made = kept.model, kept.created_at
    title = f"Model {kept.number}, of {when(made)}" if made is not None else "The default weights"
    rows = [
        (
            name,
            f"{weight:+.2f}",
            f"{model.means[name]:.2f}" if name in model.means else "",
            f"{model.scales[name]:.2f}" if name in model.scales else "",
        )
        for name, weight in sorted(model.weights.items(), key=lambda one: -abs(one[1]))
    ]
    return table(title, ["signal", "weight ", "usual ", "spread "], rows)


def _show_figures(figures: FitFigures) -> None:
    rows = [
        (
            f"{new.share:.0%}",
            percent(new.precision),
            percent(old.precision),
            percent(figures.error_rate),
            percent(new.recall),
        )
        for new, old in zip(figures.budgets, figures.current_budgets, strict=True)
    ]
    of = f"{figures.errors:,} of {figures.labels:,} labels are wrong, from {figures.groups} groups"
    columns = ["reviewed ", "precision ", "before ", "at random ", "of all errors "]
    out.print(table(f"Out of fold; {of}", columns, rows))
    if not figures.audited:
        out.print(
            "[dim]None of them was drawn at random, so the shares are of what was labelled, not "
            "of the traffic (capture.audit_share).[/]"
        )
