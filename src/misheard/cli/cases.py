"""`misheard cases`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from misheard.cli.output import (
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
    from misheard.cases.records import ErrorCase


def _tags(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    pairs = [one.partition("=") for one in given]
    for name, sign, _value in pairs:
        if not (name and sign):
            raise click.BadParameter(f"'{name}' is no tag with its value. Write channel=mobile.")
    return {name: value for name, _sign, value in pairs}


@click.group(
    invoke_without_command=True,
    epilog="""\b
Examples:
  misheard -w calls cases
  misheard -w calls cases --status open --json
  misheard -w calls cases --type hallucination --tag channel=mobile
  misheard -w calls cases show case-1a2b3c
""",
)
@click.option("--status", type=click.Choice(["open", "corrected", "confirmed"]))
@click.option("--type", "error_type", metavar="NAME", help="Of this type of error.")
@click.option("--group", metavar="NAME", help="Of this group of speakers.")
@click.option(
    "--tag",
    "tags",
    metavar="TAG=VALUE",
    multiple=True,
    callback=_tags,
    help="Of transcripts so tagged; of several, all must hold.",
)
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1))
@json_option
@click.pass_context
def command(
    context: click.Context,
    status: str | None,
    error_type: str | None,
    group: str | None,
    tags: dict[str, str],
    limit: int,
    as_json: bool,
) -> None:
    """List error cases."""
    if context.invoked_subcommand is not None:
        return
    from misheard.cases.records import CaseStatus  # noqa: PLC0415 - SQLAlchemy

    cases = open_workspace(context.obj).cases
    found = cases.listed(
        status=CaseStatus(status) if status else None,
        error_type=error_type,
        speaker_group=group,
        tags=tags,
        limit=limit,
    )
    counts = cases.counts()
    if as_json:
        print_json({"counts": counts, "cases": found})
        return
    rows = [
        (
            one.inference_id,
            "\n".join((one.status, *one.error_types)),
            "–" if one.score is None else f"{one.score:.0%}",
            _said(one),
        )
        for one in found
    ]
    columns = ["inference", "status", "wrong ", "heard, and below it what was spoken"]
    nothing = (
        "No error case is like that."
        if any((status, error_type, group, tags))
        else "No error case yet."
    )
    out.print(listing("Error cases, newest first", columns, rows, nothing=nothing))
    out.print(
        f"Of all: {counts.error_cases} of error, {counts.corrected} of them corrected; "
        f"confirmed as right: {counts.confirmations}."
    )


def _said(case: ErrorCase) -> Text:
    heard = Text(case.hypothesis) if case.hypothesis else Text("(nothing)", style="dim")
    if case.reference is None:
        return heard
    return Text.assemble(heard, "\n", (case.reference or "(nothing)", "green"))


@command.command(
    epilog="""\b
Examples:
  misheard -w calls cases show case-1a2b3c
  misheard -w calls cases show inf-1a2b3c --json
"""
)
@click.argument("case_id", metavar="CASE")
@json_option
@click.pass_obj
def show(directory: str | None, case_id: str, as_json: bool) -> None:
    """All that is known of one case, by its id or that of its transcript."""
    cases = open_workspace(directory).cases
    case = cases.get(case_id)
    given = cases.corrections(inference_id=case.inference_id, limit=None)
    if as_json:
        print_json({"case": case, "corrections": given})
        return
    out.print(_card(case))
    rows = [
        (
            when(one.created_at),
            one.author,
            one.method,
            "wrong" if one.is_error else "right",
            one.reference,
        )
        for one in given
    ]
    if rows:
        columns = ["at", "who", "how", "it was", "what was spoken"]
        out.print(table("What people said, newest first", columns, rows))
    else:
        out.print(f'Say what was spoken: misheard correct {case.inference_id} "WORDS"')


def _card(case: ErrorCase) -> Table:
    lines = {
        "Case": f"[bold]{case.id}[/], {case.status}, opened {when(case.created_at)}",
        "Transcript": case.inference_id,
        "Heard": escape(case.hypothesis) or "(nothing)",
        "Spoken": "–" if case.reference is None else escape(case.reference) or "(nothing)",
        "Wrong": "–" if case.score is None else f"{percent(case.score)} of its words",
        "Suspicion": "–" if case.suspicion is None else f"{case.suspicion:.0%}",
        "Kind": escape(", ".join(case.error_types)) or "–",
        "Tags": escape(", ".join(f"{name}={value}" for name, value in case.tags.items())) or "–",
        "Speaker": f"{escape(case.speaker or '–')}, of the group {escape(case.speaker_group)}",
        "Audio": escape(case.source) or "–",
    }
    card = Table.grid(padding=(0, 2))
    for name, value in lines.items():
        card.add_row(f"[dim]{name}[/]", value)
    return card
