"""The group of all commands, each imported only when it is called, and how errors end."""

from __future__ import annotations

import importlib
import sys
import warnings
from typing import Any

import click

from misheard import __version__
from misheard.errors import MisheardError, MisheardWarning

VERBS: dict[str, str] = {
    "demo": "Walk real telephone speech once round the whole loop.",
    "init": "Make a workspace.",
    "status": "What is live, what is waiting on whom, what happens next.",
    "transcribe": "Transcribe files with the live version and log the results.",
    "record": "Log what production heard, from any recogniser.",
    "suspicion": "How suspicious transcripts are found, and learning it from corrections.",
    "inferences": "List what was transcribed.",
    "review": "What a person should listen to next, and what people's labels say.",
    "correct": "Say what was really spoken.",
    "cases": "List error cases.",
    "trigger": "Is it worth training now, and why?",
    "dataset": "Dataset versions and held-out sets.",
    "validate": "Judge a version by the first gate, and keep the verdict.",
    "compare": "Compare two versions on one set; nothing is judged or kept.",
    "suite": "Regression suites: add and list them, their cases, history and baselines.",
    "regress": "Run the regression suites on a version: what it fixes and what it breaks.",
    "cycle": "Begin a cycle, run it, approve it, look at it.",
    "versions": "List model versions and where each came from.",
    "deploy": "Make a version live, once every server has it loaded.",
    "rollback": "Make live again what was live before, at once.",
    "rollout": "Try a version on live traffic: as a shadow, or as a canary that is taken back.",
    "serve": "Transcribe over HTTP with what is live, and log every result.",
    "worker": "Do all that is to be done by itself, until stopped.",
    "watch": "Roll back what does worse, run due suites, train when it is worth it.",
    "trend": "How suspicion, latency, errors and the like went, by hour, day or week.",
    "alerts": "What is wrong, who was told, and who is not to be told for a while.",
    "metrics": "Figures for Prometheus, in its text format.",
    "retention": "Let go of audio and transcripts that nobody needs any more.",
    "gce": "Machines of Google Compute Engine that train: what runs, what it costs, what to end.",
    "forget": "Delete one person's data, by speaker or session, from everywhere.",
    "token": "Who may ask a server for what: make, list and revoke tokens.",
    "audit": "Who did what, when and why.",
    "report": "Write an HTML report: on a cycle, on a validation, or on the loop.",
    "score": "Score transcripts of any tool against references, and compare two systems.",
    "backup": "Copy the database while it is in use, and verify the copy.",
    "restore": "Put a copy in the place of the database.",
    "sync": "Move files to the bucket, or copy them home.",
    "check": "Is everything there and whole: database, files, counts?",
    "settings": "Show every setting and its value.",
    "recipe": "Every setting of a fine-tune, its value here, and the reason for its default.",
}
"""Command → summary, in the order of the walk; a test holds them equal to the commands' own."""

EPILOG = """\b
A first walk:
  misheard demo                         everything at once, about 10 minutes
  misheard init calls                   a workspace of your own
  misheard -w calls transcribe *.wav    log what the model hears
  misheard -w calls status              what happens next
"""


class _LazyGroup(click.Group):
    """Knows the names of the commands without importing them, so that --help is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"misheard.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning
                return super().invoke(ctx)
        except MisheardError as error:
            click.secho("error: ", fg="red", bold=True, nl=False, err=True)
            click.echo(str(error), err=True)
            sys.exit(error.exit_code)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    """Ours as a line on standard error; those of libraries as Python shows them."""
    if not issubclass(category, MisheardWarning):
        text = warnings.formatwarning(message, category, filename, lineno, line)
        (file or sys.stderr).write(text)
        return
    click.secho("warning: ", fg="yellow", bold=True, nl=False, err=True)
    click.echo(str(message), err=True)


@click.group(
    cls=_LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="misheard")
@click.option(
    "-w",
    "--workspace",
    metavar="DIR",
    envvar="MISHEARD_WORKSPACE",
    help="The workspace; by default the current directory if it is one, else ./data.",
)
@click.pass_context
def cli(ctx: click.Context, workspace: str | None) -> None:
    """Turn what your speech recogniser misheard into a better recogniser, safely."""
    ctx.obj = workspace
