"""`misheard regress`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape
from rich.text import Text

from misheard.cli.output import bars, json_option, open_workspace, out, percent, print_json, table
from misheard.cli.suite import KINDS, show_movable

if TYPE_CHECKING:
    from misheard.gates.suites import Suite, SuiteRun

_EXAMPLES = """\b
Examples:
  misheard -w calls regress                          the newest candidate against what is live
  misheard -w calls regress v-… --suite pins --suite silence
  misheard -w calls regress v-… --against v-… --kind critical --json

Leaves with 0 when every suite passes, 1 when one fails.
"""
_BROKEN = 20
"""Broken clips that are shown; `--json` has all of them."""
_CLIP = 12


@click.command(epilog=_EXAMPLES)
@click.argument("version", required=False)
@click.option("--against", metavar="VERSION", help="What it is compared with (default: live).")
@click.option("--suite", "names", metavar="NAME", multiple=True, help="Only this one; repeatable.")
@click.option(
    "--kind", "kinds", type=click.Choice(KINDS), multiple=True, help="Only these; repeatable."
)
@json_option
@click.pass_obj
def command(
    directory: str | None,
    version: str | None,
    against: str | None,
    names: tuple[str, ...],
    kinds: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run the regression suites on a version: what it fixes and what it breaks."""
    from misheard.gates.suites import SuiteKind  # noqa: PLC0415 - SQLAlchemy

    # What an alert says is in the result.
    logging.getLogger("misheard.alerts").addHandler(logging.NullHandler())
    workspace = open_workspace(directory)
    with bars() as shown:
        runs = workspace.regress(
            version,
            against=against,
            names=names,
            kinds=[SuiteKind(kind) for kind in kinds],
            observe=shown.progress,
        )
    ran = [(workspace.suites.get(run.suite_id), run) for run in runs]
    live = workspace.deployments.live().version_id
    movable = [one for one, _ in ran if workspace.suites.baselines.could_move(one, live)]
    if as_json:
        print_json(_plain(ran, movable))
    else:
        _show(ran)
        show_movable(movable, live)
    sys.exit(0 if all(run.verdict.passed for run in runs) else 1)


def _plain(ran: Sequence[tuple[Suite, SuiteRun]], movable: Sequence[Suite]) -> dict[str, Any]:
    return {
        "passed": all(run.verdict.passed for _, run in ran),
        "candidate_id": ran[0][1].candidate_id,
        "baseline_id": ran[0][1].baseline_id,
        "suites": [
            {
                "suite": suite,
                "passed": run.verdict.passed,
                "fixed": run.fixed,
                "broken": run.broken,
                "could_move_baseline": suite in movable,
                "run": run,
            }
            for suite, run in ran
        ],
    }


def _show(ran: Sequence[tuple[Suite, SuiteRun]]) -> None:
    first = ran[0][1]
    rows = [
        (
            suite.name,
            suite.kind,
            run.comparison.utterances,
            f"{percent(run.comparison.baseline.wer)} → {percent(run.comparison.candidate.wer)}",
            len(run.fixed),
            len(run.broken),
            _verdict(run),
        )
        for suite, run in ran
    ]
    columns = ["suite", "kind", "clips ", "WER ", "fixed ", "broken ", ""]
    title = f"{first.candidate_id} against {first.baseline_id}"
    shown = table(title, columns, rows)
    shown.columns[columns.index("WER ")].no_wrap = True
    out.print(shown)
    for suite, run in ran:
        if not run.verdict.passed:
            out.print(f"[red]{escape(suite.name)} fails[/]: {escape(_reasons(run))}")
    _show_broken(ran)


def _show_broken(ran: Sequence[tuple[Suite, SuiteRun]]) -> None:
    """A clip that several suites have is shown once."""
    broken = {
        row["audio_sha256"]: (suite, row, row["audio_sha256"] in run.flaky)
        for suite, run in reversed(ran)
        for row in run.broken
    }
    if not broken:
        return
    rows = []
    for key, (suite, row, is_flaky) in list(broken.items())[:_BROKEN]:
        name = Text(f"{suite.name}\n") + Text(key[:_CLIP], style="dim")
        name += Text("\nflaky" if is_flaky else "", style="yellow")
        texts = Text("\n").join(
            Text.assemble((f"{what:<5}", "dim"), text or "nothing")
            for what, text in (
                ("said", row["reference"]),
                ("was", row["baseline"]),
                ("is", row["candidate"]),
            )
        )
        rows.append((name, texts))
    shown = table(
        "Broken: right before, wrong now", ["suite, clip", "what was said and heard"], rows
    )
    shown.show_lines = True
    out.print(shown)
    if len(broken) > _BROKEN:
        out.print(f"… and {len(broken) - _BROKEN} more: --json")


def _reasons(run: SuiteRun) -> str:
    return "; ".join(run.verdict.failures)


def _verdict(run: SuiteRun) -> Text:
    return Text("pass", style="green") if run.verdict.passed else Text("fail", style="bold red")
