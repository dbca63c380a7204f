"""`misheard suite`."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape
from rich.text import Text

from misheard.cli.output import (
    acting,
    actor_option,
    bars,
    json_option,
    listing,
    open_workspace,
    out,
    percent,
    print_json,
    table,
    when,
)

if TYPE_CHECKING:
    from misheard.gates.suite_cases import ListedUtterance
    from misheard.gates.suite_history import SuitePoint
    from misheard.gates.suites import Suite
    from misheard.workspace import Workspace

KINDS = ["benchmark", "critical", "edge_case"]
"""How strictly a suite is judged."""

_BARS = "▁▂▃▄▅▆▇█"
_TREND = 16
_WIDE = 110
_CLIP = 12
"""Characters of a clip's SHA-256 that are shown: enough to name it."""


@click.group()
def command() -> None:
    """Regression suites: add and list them, their cases, history and baselines."""


@command.command(
    epilog="""\b
Example:
  misheard -w calls suite add pins pins.jsonl --kind critical
"""
)
@click.argument("name")
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option(
    "--kind",
    type=click.Choice(KINDS),
    default="benchmark",
    show_default=True,
    help="How strictly it is judged.",
)
@click.option("--description", default="")
@json_option
@click.pass_obj
def add(
    directory: str | None, name: str, manifest: Path, kind: str, description: str, as_json: bool
) -> None:
    """Add a suite that every candidate has to pass."""
    from misheard.datasets.samples import read_samples  # noqa: PLC0415 - SQLAlchemy
    from misheard.gates.suites import SuiteKind  # noqa: PLC0415 - as above

    workspace = open_workspace(directory)
    dataset = workspace.datasets.add_evaluation(f"suite {name}", read_samples(manifest))
    made = workspace.suites.add(name, SuiteKind(kind), dataset, description=description)
    if as_json:
        print_json(made)
        return
    out.print(f"Suite '{escape(made.name)}' ({made.kind}): {dataset.counts['test']} utterances.")


@command.command("list", epilog="\b\nExample:\n  misheard -w calls suite list --json")
@json_option
@click.pass_obj
def list_(directory: str | None, as_json: bool) -> None:
    """List all suites, what each is held to, and its trend."""
    workspace = open_workspace(directory)
    found = workspace.suites.listed()
    histories = [workspace.suites.history.of_suite(one.name, limit=_TREND) for one in found]
    live = workspace.deployments.live().version_id
    movable = [one for one in found if workspace.suites.baselines.could_move(one, live)]
    if as_json:
        print_json(
            [
                vars(one)
                | {
                    "baseline": workspace.suites.baselines.of(one),
                    "newest_run": history[0] if history else None,
                    "could_move_baseline": one in movable,
                }
                for one, history in zip(found, histories, strict=True)
            ]
        )
        return
    wide = out.width >= _WIDE
    rows = [
        (
            one.name,
            one.kind,
            workspace.datasets.get(one.dataset_id).counts["test"],
            _held_to(workspace, one),
            *_newest(history),
            sparkline([point.wer for point in reversed(history)]),
            *((one.description,) if wide else ()),
        )
        for one, history in zip(found, histories, strict=True)
    ]
    columns = ["suite", "kind", "clips ", "held to ", "newest ", "", "trend of WER"]
    columns += ["what it holds"] if wide else []
    nothing = "No regression suite yet. To add one: misheard suite add NAME MANIFEST"
    out.print(listing("Regression suites", columns, rows, nothing=nothing))
    show_movable(movable, live)


@command.command(
    epilog="""\b
Examples:
  misheard -w calls suite cases corrections
  misheard -w calls suite cases corrections --json

Every correction that falls into a dataset's test split is a case of the suite
'corrections' from then on.
"""
)
@click.argument("name")
@json_option
@click.pass_obj
def cases(directory: str | None, name: str, as_json: bool) -> None:
    """List what a suite holds, and where each clip comes from."""
    workspace = open_workspace(directory)
    found = workspace.suites.utterances(workspace.suites.named(name))
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one.row.audio_sha256[:_CLIP],
            one.row.reference or Text("silence", style="dim"),
            *_provenance(one),
            Text(", ".join(_marks(one)), style="yellow"),
        )
        for one in found
    ]
    out.print(table(f"Suite '{name}'", ["clip", "said", "heard then", "by", ""], rows))


@command.command(
    epilog="""\b
Examples:
  misheard -w calls suite history pins
  misheard -w calls suite history pins --case 3f9a
"""
)
@click.argument("name")
@click.option("--case", "clip", metavar="CLIP", help="One clip: how its SHA-256 begins.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1))
@json_option
@click.pass_obj
def history(directory: str | None, name: str, clip: str | None, limit: int, as_json: bool) -> None:
    """Show how a suite, or one clip of it, did from run to run."""
    suites = open_workspace(directory).suites
    suite = suites.named(name)
    if clip is not None:
        _show_case(suites.history.of_case(name, clip, limit=limit), as_json)
        return
    points, flaky = suites.history.of_suite(name, limit=limit), sorted(suites.history.flaky(name))
    if as_json:
        baselines = suites.baselines.every(suite)
        print_json({"suite": suite, "runs": points, "flaky": flaky, "baselines": baselines})
        return
    # The year and what it was held to are in `--json`; two ids take most of a narrow screen.
    wide = out.width >= _WIDE
    rows = [
        (
            when(one.created_at)[0 if wide else 5 : -3],
            one.candidate_id,
            one.baseline_id,
            percent(one.wer),
            *((percent(one.baseline_wer),) if wide else ()),
            "–" if one.fixed is None else f"+{one.fixed} −{one.broken}",
            _verdict(one),
        )
        for one in points
    ]
    columns = ["run", "candidate", "against", "WER ", *(["held to "] if wide else []), "clips ", ""]
    if not points:
        out.print(f"Suite '{escape(name)}' was not run yet: misheard regress", style="dim")
        return
    made = table(f"Suite '{name}', newest run first", columns, rows)
    made.columns[columns.index("against")].no_wrap = True
    out.print(made)
    out.print("[dim]clips: + fixed, − broken[/]")
    if trend := sparkline([point.wer for point in reversed(points)]):
        out.print(f"WER, oldest to newest  [bold]{trend}[/]")
    if flaky:
        named = ", ".join(key[:_CLIP] for key in flaky)
        out.print(f"[yellow]flaky[/]: {named} (now right, now wrong; they count all the same)")


@command.command(
    epilog="""\b
Examples:
  misheard -w calls suite baseline pins --reason "v3 has been live for a month"
  misheard -w calls suite baseline pins --version v-… --reason "the microphones were changed"
"""
)
@click.argument("name")
@click.option("--version", help="Whose figures it is held to (default: the live version).")
@click.option("--reason", required=True, help="For the audit log.")
@actor_option
@json_option
@click.pass_obj
def baseline(
    directory: str | None,
    name: str,
    version: str | None,
    reason: str,
    actor: str | None,
    as_json: bool,
) -> None:
    """Move what a suite is held to, with a reason."""
    workspace = open_workspace(directory)
    suite = workspace.suites.named(name)
    chosen = workspace.registry.get(version or workspace.deployments.live().version_id).id
    before = workspace.suites.baselines.of(suite)
    clips = workspace.datasets.get(suite.dataset_id).counts["test"]
    with bars() as shown:
        made = workspace.suites.baselines.move(
            suite,
            workspace.contender(chosen),
            actor=acting(actor),
            reason=reason,
            progress=shown.progress(f"suite '{name}'", 2 * clips),
        )
    if as_json:
        print_json({"from": before, "to": made})
        return
    out.print(f"Suite '{escape(name)}' is held to [bold]{made.version_id}[/] now.")
    out.print(f"  from  {escape(str(before)) if before else _given(suite)}")
    out.print(f"  to    {escape(str(made))}")


def sparkline(values: Sequence[float]) -> str:
    """Small bars from 0 up to the greatest value, a gap where there is none.

    >>> sparkline([0.0, 0.1, 0.2])
    '▁▅█'
    """
    known = [value for value in values if not math.isnan(value)]
    top = max(known, default=0.0) or 1.0
    return "".join(
        " " if math.isnan(value) else _BARS[math.floor(value / top * (len(_BARS) - 1) + 0.5)]
        for value in values
    )


def show_movable(suites: Sequence[Suite], live: str) -> None:
    """Say which baselines are far behind the live version, and what moves them."""
    for one in suites:
        out.print(
            f"{live} is clearly better than what '{escape(one.name)}' is held to. To move that:"
        )
        out.print(
            f'  [cyan]misheard suite baseline {_quoted(one.name)} --reason "…"[/]', soft_wrap=True
        )


def _quoted(name: str) -> str:
    return escape(shlex.quote(name))


def _held_to(workspace: Workspace, suite: Suite) -> str:
    known = workspace.suites.baselines.of(suite)
    if known is not None:
        return percent(known.wer)
    return "–" if suite.baseline_wer is None else percent(suite.baseline_wer)


def _given(suite: Suite) -> str:
    if suite.baseline_wer is None:
        return "nothing yet"
    return f"a WER of {suite.baseline_wer:.2%}, given with it"


def _newest(history: Sequence[SuitePoint]) -> tuple[str, Text]:
    if not history:
        return "–", Text("not run yet", style="dim")
    return percent(history[0].wer), _verdict(history[0])


def _verdict(point: SuitePoint) -> Text:
    return Text("pass", style="green") if point.passed else Text("fail", style="red")


def _provenance(one: ListedUtterance) -> tuple[object, str]:
    if one.case is None:
        return "", "given with the suite"
    heard = one.case.heard or Text("nothing", style="dim")
    return heard, f"{one.case.author}, {when(one.case.corrected_at)[:10]}"


def _marks(one: ListedUtterance) -> list[str]:
    from misheard.tags import MUST_PASS  # noqa: PLC0415 - numpy

    must_pass = dict(one.row.tags).get(MUST_PASS, "").lower() == "true"
    return ["must pass"] * must_pass + ["flaky"] * one.is_flaky


def _show_case(results: Sequence[Any], as_json: bool) -> None:
    if as_json:
        print_json(results)
        return
    rows = [
        (
            when(one.created_at)[:-3],
            one.candidate_id,
            one.candidate_errors,
            one.candidate_text or Text("nothing", style="dim"),
        )
        for one in results
    ]
    newest = results[0]
    title = f"{newest.audio_sha256[:_CLIP]}: “{newest.reference}”, {newest.words} words"
    out.print(table(title, ["run", "version", "errors ", "heard"], rows))
