"""`misheard review`."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click
from rich.text import Text

from misheard.cli.output import (
    FiniteRange,
    bars,
    json_option,
    open_workspace,
    out,
    percent,
    print_json,
    table,
)

if TYPE_CHECKING:
    from misheard.cases.audited import AuditedRate
    from misheard.cases.review import QueueItem
    from misheard.cases.suspects import Suspect
    from misheard.scoring.survey import Estimate
    from misheard.workspace import Workspace

_QUICKLY_COUNTED = 20_000
_limit = click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1_000))
_days = click.option(
    "--days", type=FiniteRange(0, 36_500, min_open=True), help="Only the last so many days."
)


@click.group()
def command() -> None:
    """What a person should listen to next, and what people's labels say."""


@command.command(
    "next",
    epilog="""\b
Examples:
  misheard -w calls review next
  misheard -w calls review next --stream audit --limit 50 --json
\b
Streams: audit (drawn at random: what the error rate is known by), reported (open error cases),
suspicious (likely to be wrong, by what is seen without listening). Without --stream, all in turn.
""",
)
@click.option("--stream", type=click.Choice(["audit", "reported", "suspicious"]))
@_limit
@click.option("--after", default="", metavar="PLACE", help="As the page before says.")
@json_option
@click.pass_obj
def next_(directory: str | None, stream: str | None, limit: int, after: str, as_json: bool) -> None:
    """Show the next of the review queue."""
    from misheard.cases.review import Stream  # noqa: PLC0415 - SQLAlchemy

    workspace = open_workspace(directory)
    _catch_up(workspace)
    page = workspace.review.page(Stream(stream) if stream else None, limit=limit, after=after)
    waiting = workspace.review.waiting()
    if as_json:
        print_json({"waiting": waiting, "items": page.items, "after": page.after})
        return
    told = ", ".join(f"{name} {count}" for name, count in waiting.items())
    if page.items:
        rows = [(one.inference_id, _why(one), _heard(one)) for one in page.items]
        out.print(table("To be listened to", ["inference", "why", "heard"], rows))
        audit = " --method audit" if page.items[0].stream is Stream.AUDIT else ""
        out.print(
            f'Then: misheard correct{audit} INFERENCE "what was said"   or --right', style="dim"
        )
        if audit and any(one.stream is not Stream.AUDIT for one in page.items):
            out.print(
                "      (--method audit only for those that are there for the audit)", style="dim"
            )
    out.print(f"Waiting: {told}")
    if page.after:
        more = f" --stream {stream}" if stream else ""
        out.print(f"More: misheard review next{more} --after {page.after}", soft_wrap=True)


@command.command(
    epilog="""\b
Examples:
  misheard -w calls review rate
  misheard -w calls review rate --days 7 --json
"""
)
@_days
@json_option
@click.pass_obj
def rate(directory: str | None, days: float | None, as_json: bool) -> None:
    """Show how often transcripts are wrong, from the random audit."""
    workspace = open_workspace(directory)
    _catch_up(workspace)
    since = _since(days)
    found = workspace.labels.audited(since=since)
    versions = workspace.labels.audited_by_version(since=since)
    if as_json:
        print_json({"all": found, "versions": versions})
        return
    if not found.drawn:
        share = workspace.settings.capture.audit_share
        out.print(f"Nothing was drawn for an audit yet; [capture] audit_share is {share:g}.")
        return
    rows = [_rate_row("all", found)]
    rows += [_rate_row(name, one) for name, one in versions.items()]
    columns = ["version", "wrong, 95 % interval ", "WER, 95 % interval ", "labelled "]
    when = f"heard in the last {days:g} days" if days else "ever heard"
    out.print(table(f"Of everything {when}, by the audit", columns, rows))
    out.print(_rests_on(found))


@command.command(
    epilog="""\b
Examples:
  misheard -w calls review agreement
  misheard -w calls review agreement --days 30 --limit 5
"""
)
@_days
@_limit
@json_option
@click.pass_obj
def agreement(directory: str | None, days: float | None, limit: int, as_json: bool) -> None:
    """Compare what people say of the same utterances."""
    found = open_workspace(directory).labels.agreement(since=_since(days), limit=limit)
    if as_json:
        print_json(found)
        return
    if not found.utterances:
        out.print("No utterance was labelled by two people yet, so nothing can be compared.")
        return
    together = [(" and ".join(one.authors), one) for one in found.pairs]
    if len(together) > 1:
        together.insert(0, ("everybody", found.everybody))
    rows = [
        (who, f"{one.utterances:,}", percent(one.exact_share), percent(one.wer))
        for who, one in together
    ]
    columns = ["people", "utterances ", "say the same ", "words that differ "]
    out.print(table("Labelled by both", columns, rows))
    if found.furthest:
        apart = [
            (one.inference_id, "\n".join(map(_said, one.authors, one.references)))
            for one in found.furthest
        ]
        out.print(table("Furthest apart", ["inference", "who said what"], apart))


@command.command(
    epilog="""\b
Examples:
  misheard -w calls review suspects
  misheard -w calls review suspects --before 4711 --json
\b
Doubts: models (every model that heard it says the same, and something else), formatting (reported
as an error, and no word was wrong), people (somebody else said something else).
"""
)
@_limit
@click.option("--before", type=click.IntRange(1), help="Older than the label with that number.")
@json_option
@click.pass_obj
def suspects(directory: str | None, limit: int, before: int | None, as_json: bool) -> None:
    """Show labels that may be wrong themselves."""
    found = open_workspace(directory).labels.suspects(limit=limit, before=before)
    if as_json:
        print_json(found)
        return
    if found.found:
        rows = [
            (one.number, one.inference_id, "\n".join(one.doubts), _against(one))
            for one in found.found
        ]
        columns = ["number ", "inference", "doubt", "who says what"]
        out.print(table("Labels for a second look, newest first", columns, rows))
    out.print(f"Doubtful: {len(found.found)}. Labels looked at: {found.looked_at:,}.")
    if found.before is not None:
        out.print(f"Older ones: misheard review suspects --before {found.before}")


def _catch_up(workspace: Workspace) -> None:
    """What came since is chosen first; where that takes a while, with a bar."""
    if workspace.digest.behind() < _QUICKLY_COUNTED:
        workspace.digest.catch_up()
        return
    with bars() as shown:
        workspace.digest.catch_up(progress=shown.counter("counting"))


def _since(days: float | None) -> datetime | None:
    return None if days is None else datetime.now(UTC) - timedelta(days=days)


def _why(item: QueueItem) -> str:
    return item.stream if item.suspicion is None else f"{item.stream}\n{item.suspicion:.0%}"


def _heard(item: QueueItem) -> Text:
    return Text.assemble(item.text or "(nothing)", "\n", (item.source or item.audio_sha256, "dim"))


def _rate_row(name: str, found: AuditedRate) -> tuple[str, str, str, str]:
    more = "+" if found.drawn_is_more else ""
    drawn = f"{found.labelled:,}\nof {found.drawn:,}{more}"
    return name, _with_interval(found.error_rate), _with_interval(found.wer), drawn


def _with_interval(found: Estimate) -> str:
    if not found.n:
        return "–"
    high = "?" if math.isinf(found.high) else percent(found.high)
    return f"{percent(found.estimate)}\n{percent(found.low)} – {high}"


def _rests_on(found: AuditedRate) -> str:
    drawn = found.drawn or 0
    if not found.labelled:
        return f"{drawn:,} were drawn and none is labelled: misheard review next --stream audit"
    groups = found.error_rate.groups
    kind = "speaker, call or session" if groups == 1 else "speakers, calls or sessions"
    told = f"It rests on {found.labelled:,} labels of {groups:,} {kind}."
    if groups == 1:
        told += " From one alone there is no telling how far off it is."
    if found.labelled < drawn:
        least = "At least " if found.drawn_is_more else ""
        told += (
            f" {least}{drawn - found.labelled:,} were drawn and are not labelled yet: "
            "misheard review next --stream audit"
        )
    return told


def _said(who: str, text: str) -> str:
    return f"{who}: {text or '(nothing)'}"


def _against(suspect: Suspect) -> str:
    lines = [_said(suspect.author, suspect.reference)]
    lines += [_said(who, text) for who, text in suspect.others.items()]
    if suspect.models:
        lines.append(_said(f"{len(suspect.models)} models", next(iter(suspect.models.values()))))
    elif not suspect.others:
        lines.append(_said("transcript", suspect.heard))
    return "\n".join(lines)
