"""`misheard watch`."""

from __future__ import annotations

import itertools
import logging
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from misheard.cli.output import (
    FiniteRange,
    bars,
    json_option,
    open_workspace,
    out,
    print_json,
)

if TYPE_CHECKING:
    from misheard.watch import Look

_MOST_S = 31 * 86_400.0
"""No clock waits for ever."""


@click.command(
    epilog="""\b
Examples:
  misheard -w calls watch                       once an hour, until stopped
  misheard -w calls watch --once --json         one look, for cron
"""
)
@click.option(
    "--interval",
    default=3600.0,
    show_default=True,
    type=FiniteRange(min=0.0, max=_MOST_S, min_open=True),
    help="Seconds between two looks.",
)
@click.option("--once", is_flag=True, help="Look once and leave.")
@click.option("--no-train", is_flag=True, help="Begin cycles, but leave their training to others.")
@json_option
@click.pass_obj
def command(
    directory: str | None, interval: float, once: bool, no_train: bool, as_json: bool
) -> None:
    """Roll back what does worse, run due suites, train when it is worth it.

    What goes wrong is logged, and the rest is done; --once then leaves with 1.
    """
    from misheard.watch import watch  # noqa: PLC0415 - SQLAlchemy

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    workspace = open_workspace(directory)
    with bars() as shown:
        looks = watch(workspace, interval_s=interval, observer=shown, train=not no_train)
        for look in itertools.islice(looks, 1 if once else None):
            if as_json:
                print_json(look)
            else:
                _show(look)
    if once and look.failed:
        click.get_current_context().exit(1)


def _show(look: Look) -> None:
    if look.rolled_back is not None:
        back = look.rolled_back
        out.print(f"[red]Rolled back[/] to {back.version_id}: {escape(back.reason)}")
    for decision in look.rollouts:
        out.print(escape(decision.told[0].upper() + decision.told[1:]))
    for run in look.runs:
        verdict = "[green]passed[/]" if run.verdict.passed else "[red]failed[/]"
        out.print(f"Suite {run.suite_id} {verdict}: {escape('; '.join(run.verdict.reasons))}")
    if look.begun is not None:
        out.print(f"{look.begun.id} is [bold]{look.begun.state}[/]: {escape(look.begun.detail)}")
    learnt = look.suspicion
    if learnt is not None and learnt.figures is not None:
        out.print(f"Suspicion, {learnt.name}: {escape(learnt.figures.reason)}")
    for cycle in look.advanced:
        out.print(f"{cycle.id} is [bold]{cycle.state}[/]: {escape(cycle.detail)}")
    gone = look.let_go
    if gone.recordings or gone.transcripts:
        out.print(
            f"Let go of {gone.recordings:,} recordings ({gone.bytes / 1e6:,.1f} MB) and "
            f"{gone.transcripts:,} transcripts."
        )
    for one in look.swept:
        out.print(f"{one.name} in {one.zone} is deleted: {escape(one.why)}.")
    if look.failed:
        out.print(f"[red]Could not be done now:[/] {', '.join(look.failed)}.")
    if not (
        look.rolled_back
        or look.rollouts
        or look.runs
        or look.begun
        or look.suspicion
        or look.advanced
        or gone.recordings
        or gone.transcripts
        or look.swept
        or look.failed
    ):
        out.print("Nothing to do.", style="dim")
