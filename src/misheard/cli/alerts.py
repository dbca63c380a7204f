"""`misheard alerts`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click
from rich.text import Text

from misheard.cli.output import (
    FiniteRange,
    acting,
    actor_option,
    json_option,
    open_workspace,
    out,
    print_json,
    table,
    when,
)

if TYPE_CHECKING:
    from misheard.monitoring.alerts import Alert
    from misheard.monitoring.delivery import Delivery


@click.group()
def command() -> None:
    """What is wrong, who was told, and who is not to be told for a while."""


@command.command(
    "list",
    epilog="""\b
Examples:
  misheard -w calls alerts list
  misheard -w calls alerts list --open --json
""",
)
@click.option("--open", "open_only", is_flag=True, help="Only those that are not over.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1))
@json_option
@click.pass_obj
def list_(directory: str | None, open_only: bool, limit: int, as_json: bool) -> None:
    """List alerts, open ones first, with what became of telling them, and silences."""
    alerts = open_workspace(directory).alerts
    found, silent = alerts.listed(open_only=open_only, limit=limit), alerts.silences()
    if as_json:
        print_json({"alerts": found, "silences": silent})
        return
    rows = [(_alert(one), f"{one.subject}\n{one.detail}", _told(one)) for one in found]
    if rows:
        out.print(table("Alerts", ["rule, and since when", "what", "told"], rows))
    else:
        out.print("No alerts.", style="green")
    if silent:
        quiet = [
            (one.number, one.rule or "every rule", when(one.until), one.actor, one.reason)
            for one in silent
        ]
        out.print(table("Silences", ["number ", "rule", "until", "who", "why"], quiet))


@command.command(epilog="\b\nExample, for cron:\n  misheard -w calls alerts check --json")
@json_option
@click.pass_obj
def check(directory: str | None, as_json: bool) -> None:
    """Look now: open and close alerts, and deliver what is due."""
    looked = open_workspace(directory).alerts.look()
    if as_json:
        print_json(looked)
        return
    for one in looked.fired:
        out.print(Text.assemble(("fired  ", "red"), f"{one.rule}: {one.detail}"))
    for one in looked.resolved:
        out.print(Text.assemble(("well   ", "green"), f"{one.rule}: {one.subject}"))
    for sent in looked.delivered:
        out.print(Text(f"told   {sent.channel}: {sent.alert_id} {sent.event}"))
    for sent in looked.failed:
        out.print(Text.assemble(("failed ", "red"), f"{sent.channel}: {sent.error}"))
    if not any((looked.fired, looked.resolved, looked.delivered, looked.failed)):
        out.print("Nothing has changed.", style="dim")


@command.command(
    epilog="""\b
Examples:
  misheard -w calls alerts silence no_traffic --hours 48 --reason "holidays"
  misheard -w calls alerts silence --hours 2 --reason "moving the database"
"""
)
@click.argument("rule", default="")
@click.option("--hours", required=True, type=FiniteRange(0.0, 8760.0, min_open=True))
@click.option("--reason", required=True, help="For whoever is on call next.")
@actor_option
@json_option
@click.pass_obj
def silence(
    directory: str | None, rule: str, hours: float, reason: str, actor: str | None, as_json: bool
) -> None:
    """Let a rule, or all of them, tell nobody for a while."""
    from misheard.database.engine import now  # noqa: PLC0415 - SQLAlchemy

    made = open_workspace(directory).alerts.silence(
        rule, until=now() + timedelta(hours=hours), actor=acting(actor), reason=reason
    )
    if as_json:
        print_json(made)
    else:
        out.print(f"Silence {made.number}: {made.rule or 'every rule'} until {when(made.until)}.")


@command.command(epilog="\b\nExample:\n  misheard -w calls alerts unsilence 3")
@click.argument("number", type=int)
@actor_option
@json_option
@click.pass_obj
def unsilence(directory: str | None, number: int, actor: str | None, as_json: bool) -> None:
    """End a silence now."""
    open_workspace(directory).alerts.unsilence(number, actor=acting(actor))
    if as_json:
        print_json({"ended": number})
    else:
        out.print(f"Silence {number} has ended.")


def _alert(one: Alert) -> Text:
    """On lines of their own, so that what is wrong has room at 80 columns."""
    return Text("\n").join(
        (Text(one.rule, style="bold"), Text(f"fired {when(one.fired_at)}"), _state(one))
    )


def _state(one: Alert) -> Text:
    if one.resolved_at is not None:
        return Text(f"over since {when(one.resolved_at)}", style="green")
    if one.well_since is not None:
        return Text(f"well since {when(one.well_since)}", style="yellow")
    return Text("firing", style="bold red")


def _told(one: Alert) -> str:
    return "\n".join(map(_delivery, one.deliveries)) or "nobody"


def _delivery(sent: Delivery) -> str:
    if sent.delivered_at is not None:
        return f"{sent.channel}: {sent.event}"
    ended = "given up" if sent.is_given_up else "waiting"
    error = f", {sent.error}" if sent.error else ""
    return f"{sent.channel}: {sent.event} {ended} after {sent.attempts} attempts{error}"
