"""What every command shares: opening the workspace, printing results, showing progress."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from misheard.cycle.states import Cycle, Observer

if TYPE_CHECKING:
    from misheard.finetune.events import TrainingEvent
    from misheard.workspace import Workspace

_IDS = {
    "inference",
    "version",
    "cycle",
    "candidate",
    "dataset",
    "trained from",
    "status",
    "made",
    "how",
    "begun",
    "state",
}

out = Console(highlight=False)
"""Results."""
err = Console(stderr=True, highlight=False)
"""Progress and logs."""


class FiniteRange(click.FloatRange):
    """A number within bounds; NaN is within all of click's own, as it compares false."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """See `click.ParamType`."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"'{value}' is no finite number.", param, ctx)
        return number


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--json`: the result for machines."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(
        function
    )


def actor_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--as NAME`: who is acting, for the audit log."""
    return click.option(
        "--as",
        "actor",
        metavar="NAME",
        help="Who you are, for the audit log (default: MISHEARD_ACTOR or your login).",
    )(function)


def open_workspace(directory: str | None) -> Workspace:
    """The workspace that the command line means."""
    from misheard.workspace import Workspace, workspace_directory  # noqa: PLC0415 - SQLAlchemy

    return Workspace.open(workspace_directory(directory))


def acting(name: str | None) -> str:
    """The name given, or whoever is logged in."""
    from misheard.workspace import current_actor  # noqa: PLC0415 - as above

    return name or current_actor()


def print_json(value: Any) -> None:
    """One JSON document on one line."""
    click.echo(json.dumps(_plain(value), ensure_ascii=False))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A table for people; a column whose name ends in a space is aligned to the right."""
    made = Table(
        title=escape(title) or None,
        title_justify="left",
        title_style="bold",
        header_style="dim",
        box=SIMPLE_HEAD,
    )
    for column in columns:
        made.add_column(
            column.strip(),
            justify="right" if column.endswith(" ") else "left",
            # Ids are there to be copied, so they are never cut.
            no_wrap=column in _IDS,
            overflow="fold",
        )
    for row in rows:
        made.add_row(*map(_cell, row))
    return made


def listing(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, nothing: str
) -> Table | Text:
    """A `table`, or the sentence `nothing` where it would have no row."""
    return table(title, columns, rows) if rows else Text(nothing, style="dim")


def _cell(value: object) -> str | Text:
    if isinstance(value, Text):
        return value
    # "[noise]" in a transcript is no style of Rich's.
    return "" if value is None else escape(str(value))


def when(moment: datetime) -> str:
    """A time as people read it, in their own zone."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def percent(rate: float) -> str:
    """A rate as a percentage; a dash where there is none."""
    return "–" if math.isnan(rate) else f"{rate:.2%}"


_PHASES = {
    "train": "training",
    "sweep": "mixing old and new weights",
    "check": "checking",
}
"""The phases of a training that are counted, in the words of the bars."""


class _TimeLeft(TimeRemainingColumn):
    """The time left as a training tells it, where it does: it knows when it was started again."""

    def render(self, task: Task) -> Text:
        left_s = task.fields.get("left_s")
        if left_s is None:
            return super().render(task)
        return Text(str(timedelta(seconds=round(left_s))), style="progress.remaining")


class Bars(Observer):
    """Progress bars on standard error, with time left."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._phases: dict[str, TaskID] = {}

    def progress(self, what: str, total: int) -> Callable[[int], None]:
        """See `Observer`."""
        task = self._progress.add_task(what, total=total)
        return lambda done: self._progress.update(task, advance=done)

    def counter(self, what: str) -> Callable[[int], None]:
        """A bar for work whose end is not known."""
        task = self._progress.add_task(what, total=None)
        return lambda done: self._progress.update(task, advance=done)

    def training(self, event: TrainingEvent) -> None:
        """See `Observer`."""
        name = _PHASES.get(event.phase)
        if name is None or not event.steps:
            again = event.phase == "prepare" and self._phases
            told = "started again, from its last checkpoint" if again else event.phase
            self._progress.console.print(f"  training: {told}", style="dim")
            return
        if event.phase not in self._phases:
            self._phases[event.phase] = self._progress.add_task(name, total=event.steps)
        values: dict[str, Any] = {"completed": event.step, "left_s": event.left_s}
        if event.loss is not None:
            values["description"] = f"{name}, loss {event.loss:.3f}"
        # Set, not advanced: a training that was started again goes on further back.
        self._progress.update(self._phases[event.phase], **values)
        if event.validation_wer is not None:
            what = f"epoch {event.epoch:.0f}"
            if event.share is not None:
                what = f"{event.share:.0%} of the new weights"
            self._progress.console.print(
                f"  {what}: validation WER {event.validation_wer:.2%}", style="dim"
            )

    def step(self, cycle: Cycle) -> None:
        """See `Observer`."""
        self._progress.console.print(f"[bold]{cycle.state}[/]  {escape(cycle.detail)}")


@contextmanager
def bars(make: Callable[[Progress], Bars] = Bars) -> Iterator[Bars]:
    """Show progress bars while the block runs; `make` builds them, to say more."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _TimeLeft(),
    )
    with Progress(*columns, console=err) as progress:
        yield make(progress)


@contextmanager
def byte_bars() -> Iterator[Callable[[str, int], Callable[[int], None]]]:
    """Bars that count bytes, with speed and time left; `begin(what, total)` gives what counts."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err) as progress:

        def begin(what: str, total: int) -> Callable[[int], None]:
            if not total:
                return lambda _: None
            task = progress.add_task(what, total=total)
            return lambda done: progress.update(task, advance=done)

        yield begin


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
