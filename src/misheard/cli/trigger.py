"""`misheard trigger`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from misheard.cli.output import json_option, open_workspace, out, percent, print_json, table, when

if TYPE_CHECKING:
    from misheard.cycle.evaluations import Evaluation
    from misheard.scoring.expected_gain import ExpectedGain
    from misheard.triggers import TriggerDecision


@click.command(
    epilog="""\b
Examples:
  misheard -w calls trigger                  the answer of now
  misheard -w calls trigger --json           the same for machines
  misheard -w calls trigger --history        what it came to whenever it was asked to act
"""
)
@click.option("--history", is_flag=True, help="What it came to before, newest first.")
@click.option(
    "--limit",
    default=20,
    show_default=True,
    type=click.IntRange(min=1),
    help="Rows of the history.",
)
@json_option
@click.pass_obj
def command(directory: str | None, history: bool, limit: int, as_json: bool) -> None:
    """Is it worth training now, and why?"""
    cycles = open_workspace(directory).cycles
    if history:
        evaluations = cycles.evaluations(limit=limit)
        print_json(evaluations) if as_json else _show_history(evaluations)
        return
    decision = cycles.check_trigger(expect=True)
    if as_json:
        print_json(decision)
        return
    answer = "[green]yes[/]" if decision.should_trigger else "[yellow]not yet[/]"
    out.print(f"Worth training: {answer}")
    out.print(_conditions(decision))
    if decision.expected is not None:
        out.print(_expected(decision.expected))


def _conditions(decision: TriggerDecision) -> Table:
    """Causes, of which one has to be met, before what has to be met in any case."""
    made = Table.grid(padding=(0, 1))
    ordered = sorted(decision.conditions, key=lambda one: not one.is_cause)
    for number, one in enumerate(ordered):
        first = number == 0 or ordered[number - 1].is_cause != one.is_cause
        group = ("one of" if one.is_cause else "and all of") if first else ""
        sign = Text("✓", style="green") if one.is_met else Text("✗", style="yellow")
        made.add_row(Text(f"  {group}", style="dim"), sign, escape(one.text))
    return made


def _expected(expected: ExpectedGain) -> Table:
    made = Table.grid(padding=(0, 2))
    made.add_row("", "")
    made.add_row("[bold]Expected gain[/]", escape(expected.told))
    for name, text in _figures(expected):
        made.add_row(f"  [dim]{name}[/]", escape(text))
    return made


def _figures(expected: ExpectedGain) -> list[tuple[str, str]]:
    per_hour = expected.errors_per_hour
    found = [
        (
            "corrected",
            f"{expected.word_errors} word errors in {expected.cases} cases"
            + ("" if per_hour is None else f", {per_hour:.1f} in an hour of traffic"),
        )
    ]
    if expected.wer is not None:
        found.append(("live WER", f"{percent(expected.wer)}, {expected.wer_from}"))
    if expected.covered is not None:
        bound = "" if expected.bound is None else f": at most {percent(expected.bound)} to gain"
        found.append(
            ("covered", f"{expected.covered:.0%} of errors are of a corrected kind{bound}")
        )
    shown = f"{expected.removed:.0%} of word errors"
    if expected.removed_interval is not None:
        low, high = expected.removed_interval
        shown += f" ({low:.0%} to {high:.0%})"
    by = f"by {expected.trainings} so far" if expected.trainings else "before the first one"
    found.append(("a training removes", f"{shown}, {by}"))
    if expected.gain is not None:
        gain = f"{percent(expected.gain)} of WER"
        if expected.gain_interval is not None:
            low, high = expected.gain_interval
            gain += f" ({percent(low)} to {percent(high)})"
        found.append(("so it gains", gain))
    return found


def _show_history(evaluations: list[Evaluation]) -> None:
    if not evaluations:
        out.print("The trigger was not asked to act yet: misheard watch", style="dim")
        return
    rows = []
    for one in evaluations:
        answer = Text("yes", style="green") if one.should_trigger else Text("no", style="yellow")
        lines = list(one.decision["reasons" if one.should_trigger else "objections"])
        if one.cycle_id is not None:
            lines.insert(0, one.cycle_id + ("" if one.should_trigger else ", by force"))
        times = [] if one.times == 1 else [f"to {when(one.last_at)}", f"{one.times} times"]
        rows.append(("\n".join([when(one.created_at), *times]), answer, "\n".join(lines)))
    out.print(table("What the trigger came to", ["when", "train?", "why"], rows))
