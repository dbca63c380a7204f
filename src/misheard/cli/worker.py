"""`misheard worker`."""

from __future__ import annotations

import logging
import signal
from types import FrameType
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from misheard.cli.output import err, json_option, open_workspace, out, print_json

if TYPE_CHECKING:
    from misheard.worker import Done


@click.command(
    epilog="""\b
Takes cycles on, runs due suites, counts what was heard, rolls back what does worse, alerts, begins
what is worth it, learns what is suspicious; how often stands in [worker] of the settings. SIGTERM
and Ctrl-C stop it: what it is at is given back at the next sign of life, and a training goes on.
Several may run.
\b
Examples:
  misheard -w calls worker                      until it is stopped
  misheard -w calls worker --json >> worker.jsonl
"""
)
@click.option("--no-train", is_flag=True, help="Begin cycles, but leave their training to others.")
@json_option
@click.pass_obj
def command(directory: str | None, no_train: bool, as_json: bool) -> None:
    """Do all that is to be done by itself, until stopped."""
    from misheard.worker import Worker  # noqa: PLC0415 - SQLAlchemy

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    workspace = open_workspace(directory)
    worker = Worker(workspace, told=print_json if as_json else _show, train=not no_train)
    before: dict[int, object] = {}

    def stop(number: int, _: FrameType | None) -> None:
        worker.stop()
        # Who asks twice is not made to wait.
        for one, handler in before.items():
            signal.signal(one, handler)  # type: ignore[arg-type]
        err.print(f"{signal.Signals(number).name}: stopping; once more to stop at once")

    for one in (signal.SIGTERM, signal.SIGINT):
        before[one] = signal.signal(one, stop)
    err.print(f"working on '{workspace.root}' until stopped", style="dim")
    worker.run()


def _show(done: Done) -> None:
    when = done.at.astimezone()
    out.print(
        f"[dim]{when:%Y-%m-%d %H:%M:%S}[/] [bold]{done.duty}[/] {escape(done.what)}",
        soft_wrap=True,
    )
