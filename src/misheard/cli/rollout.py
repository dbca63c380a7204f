"""`misheard rollout`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import click
from rich.console import Group
from rich.text import Text

from misheard.cli.output import (
    FiniteRange,
    acting,
    actor_option,
    json_option,
    listing,
    open_workspace,
    out,
    print_json,
    table,
    when,
)
from misheard.deployment import PRODUCTION

if TYPE_CHECKING:
    from misheard.rollouts.judging import Evidence, SignalEvidence
    from misheard.rollouts.states import Rollout


@click.group()
def command() -> None:
    """Try a version on live traffic: as a shadow, or as a canary that is taken back."""


_slot = click.option("--slot", default=PRODUCTION, show_default=True)
_reason = click.option("--reason", default="by hand", show_default=True, help="For the audit log.")


def _shares(_: click.Context, __: click.Parameter, given: str | None) -> tuple[float, ...] | None:
    if given is None:
        return None
    try:
        return tuple(map(float, given.split(",")))
    except ValueError as error:
        raise click.BadParameter("shares are numbers with commas between them: 0.05,0.5") from error


@command.command(
    epilog="""\b
Examples:
  misheard -w calls rollout canary v-…
  misheard -w calls rollout canary v-… --shares 0.1,0.5 --reason "after the fix"
"""
)
@click.argument("version")
@click.option(
    "--shares",
    metavar="SHARE,…",
    callback=_shares,
    help="Of the sessions, one a step (default: rollouts.shares of the settings).",
)
@_slot
@_reason
@click.option("--force", is_flag=True, help="Even if it has passed no validation.")
@actor_option
@json_option
@click.pass_obj
def canary(
    directory: str | None,
    version: str,
    shares: tuple[float, ...] | None,
    slot: str,
    reason: str,
    force: bool,
    actor: str | None,
    as_json: bool,
) -> None:
    """Let a version answer a share of the sessions, step by step.

    Where it does surely worse than the live version it is taken back by itself; after the last step
    it goes live.
    """
    workspace = open_workspace(directory)
    made = workspace.begin_canary(
        version, actor=acting(actor), reason=reason, shares=shares, force=force, slot=slot
    )
    _print_made(made, as_json)


@command.command(epilog="\b\nExample:\n  misheard -w calls rollout shadow v-… --share 0.5")
@click.argument("version")
@click.option(
    "--share",
    type=FiniteRange(0.0, 1.0, min_open=True),
    help="Of the sessions (default: rollouts.shadow_share of the settings).",
)
@_slot
@_reason
@actor_option
@json_option
@click.pass_obj
def shadow(
    directory: str | None,
    version: str,
    share: float | None,
    slot: str,
    reason: str,
    actor: str | None,
    as_json: bool,
) -> None:
    """Let a version hear a share of the sessions, too.

    Nobody is given what it heard: its answers are compared with the live version's.
    """
    workspace = open_workspace(directory)
    made = workspace.begin_shadow(
        version, actor=acting(actor), reason=reason, share=share, slot=slot
    )
    _print_made(made, as_json)


@command.command(
    "list",
    epilog="""\b
Examples:
  misheard -w calls rollout list
  misheard -w calls rollout list --slot production --json
""",
)
@click.option("--slot", help="Only of this one.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1))
@json_option
@click.pass_obj
def list_(directory: str | None, slot: str | None, limit: int, as_json: bool) -> None:
    """List rollouts, newest first."""
    found = open_workspace(directory).rollouts.listed(slot, limit=limit)
    if as_json:
        print_json(found)
        return
    # What it came to stands on lines of its own, so that ids are whole at 80 columns.
    rows = [
        (
            Text.assemble((one.id, "bold"), f"\n{one.kind} of {one.version_id}\n", _state(one)),
            Text("\n").join((Text(when(one.created_at)), Text(one.detail or one.reason))),
        )
        for one in found
    ]
    nothing = "No rollout yet. To begin one: misheard rollout canary VERSION"
    out.print(listing("Rollouts", ["rollout", "begun, and what it came to"], rows, nothing=nothing))


@command.command(
    epilog="""\b
Examples:
  misheard -w calls rollout show rollout-…
  misheard -w calls rollout show rollout-… --json
"""
)
@click.argument("rollout")
@json_option
@click.pass_obj
def show(directory: str | None, rollout: str, as_json: bool) -> None:
    """What a rollout has shown so far, signal by signal, and how sure that is."""
    room = open_workspace(directory).rollouts
    found, evidence = room.get(rollout), room.evidence(rollout)
    decision = None if found.state.is_final else room.decision(found.slot)
    next_ = decision.reason if decision is not None else ""
    if as_json:
        print_json({**vars(found), "evidence": evidence, "next": next_})
        return
    out.print(_shown(found, evidence, next_))


@command.command(
    epilog='\b\nExample:\n  misheard -w calls rollout stop rollout-… --reason "not now"'
)
@click.argument("rollout")
@_reason
@actor_option
@json_option
@click.pass_obj
def stop(
    directory: str | None, rollout: str, reason: str, actor: str | None, as_json: bool
) -> None:
    """End a rollout: its version is given no more traffic."""
    made = open_workspace(directory).rollouts.stop(rollout, actor=acting(actor), reason=reason)
    _print_made(made, as_json)


@command.command(
    epilog='\b\nExample:\n  misheard -w calls rollout promote rollout-… --reason "long enough"'
)
@click.argument("rollout")
@_reason
@actor_option
@json_option
@click.pass_obj
def promote(
    directory: str | None, rollout: str, reason: str, actor: str | None, as_json: bool
) -> None:
    """Make the version of a canary live now, whichever step it is in."""
    made = open_workspace(directory).rollouts.promote(rollout, actor=acting(actor), reason=reason)
    _print_made(made, as_json)


def _print_made(one: Rollout, as_json: bool) -> None:
    if as_json:
        print_json(one)
        return
    if one.state.is_final:
        out.print(f"[bold]{one.id}[/] is {_state(one)}.")
        return
    does = "hears" if one.kind == "shadow" else "answers"
    out.print(
        f"[bold]{one.version_id}[/] {does} {100 * one.share:g}% of the sessions in {one.slot}."
    )
    out.print(f"To see how it does: [cyan]misheard rollout show {one.id}[/]", soft_wrap=True)


def _state(one: Rollout) -> Text:
    style = {"running": "cyan", "promoted": "green", "rolled_back": "red"}.get(one.state, "")
    text = one.state.replace("_", " ")
    if not one.state.is_final:
        text += f", {100 * one.share:g}% of the sessions"
        if len(one.shares) > 1:
            text += f", step {one.step + 1} of {len(one.shares)}"
    return Text(text, style=style)


def _shown(one: Rollout, evidence: Evidence, next_: str) -> Group:
    lines = [
        Text.assemble((one.id, "bold"), ": ", _state(one)),
        Text(f"{one.kind} of {one.version_id} beside {one.live_version_id} in {one.slot}"),
        Text(f"begun {when(one.created_at)} by {one.actor}: {one.reason}", style="dim"),
    ]
    if one.ended_at is not None:
        lines.append(Text(f"ended {when(one.ended_at)}: {one.detail}"))
    if next_:
        lines.append(Text(f"now: {next_}", style="cyan"))
    counted = [
        (arm, f"{evidence.requests[arm]:,}", f"{evidence.sessions[arm]:,}")
        for arm in evidence.requests
    ]
    alone = " alone" if one.kind == "shadow" else ""
    columns = [
        "sessions with",
        f"candidate{alone} ",
        f"live{alone} ",
        "times ",
        "surely ",
        "evidence",
    ]
    rows = [
        (
            str(signal.signal),
            f"{signal.candidate:,}",
            f"{signal.live:,}",
            _times(signal.ratio),
            f"> {signal.lower:.1f}" if signal.lower >= 0.05 else "–",
            _progress(signal),
        )
        for signal in evidence.signals
    ]
    parts: list[object] = [
        *lines,
        table("Heard", ["by", "requests ", "sessions "], counted),
        table("Went wrong", columns, rows),
    ]
    if evidence.words:
        share = evidence.differences / evidence.words
        parts.append(
            Text(
                f"The two texts differ in {evidence.differences:,} of {evidence.words:,} words, "
                f"{share:.1%}."
            )
        )
    parts.append(
        Text(
            f"At 100% the candidate surely goes wrong more than {one.rules.tolerance:g} times as "
            "often. Of one that does not, any signal ever gets there, at any look, with a chance "
            f"of {one.rules.alpha:.2g}.",
            style="dim",
        )
    )
    return Group(*parts)  # type: ignore[arg-type]


def _times(ratio: float) -> str:
    if math.isnan(ratio):
        return "–"
    return "∞" if math.isinf(ratio) else f"{ratio:.1f}"


def _progress(signal: SignalEvidence) -> Text:
    style = "bold red" if signal.is_alarm else ""
    return Text(f"{max(0.0, signal.progress):.0%}", style=style)
