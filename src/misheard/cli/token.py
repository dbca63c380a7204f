"""`misheard token`."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click
from rich.text import Text

from misheard.access.roles import Role
from misheard.cli.output import (
    acting,
    actor_option,
    err,
    json_option,
    listing,
    open_workspace,
    out,
    print_json,
    when,
)

if TYPE_CHECKING:
    from misheard.access.tokens import Token

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def _time(ctx: click.Context, param: click.Parameter, value: str | None) -> timedelta | None:
    """A time from now: 30d, 12h."""
    if value is None:
        return None
    told = re.fullmatch(r"([1-9][0-9]{0,4})([mhdw])", value, re.ASCII)
    if told is None:
        raise click.BadParameter(f"'{value}' is no time such as 45m, 12h, 30d or 8w.", ctx, param)
    return timedelta(**{_UNITS[told[2]]: int(told[1])})


@click.group()
def command() -> None:
    """Who may ask a server for what: make, list and revoke tokens."""


@command.command(
    epilog="""\b
Roles, each may do what those before it may:
  transcribe   have speech transcribed, and say what was really spoken
  review       see and correct what was heard, and how the loop stands
  operate      train, deploy, roll back
  administer   make and revoke tokens, delete a person's data
\b
Examples:
  misheard -w calls token create ivr --role transcribe --rate-per-minute 600
  misheard -w calls token create ann --role review --expires 30d
  misheard -w calls token create ci --role operate > secret     only the secret
"""
)
@click.argument("name")
@click.option(
    "--role", required=True, type=click.Choice([role.value for role in Role]), help="See below."
)
@click.option(
    "--rate-per-minute",
    type=click.IntRange(0, 10_000_000),
    metavar="N",
    help="Requests to each server process; 0: no limit (default: as in the settings).",
)
@click.option("--expires", metavar="TIME", callback=_time, help="After 45m, 12h, 30d, 8w.")
@actor_option
@json_option
@click.pass_obj
def create(
    directory: str | None,
    name: str,
    role: str,
    rate_per_minute: int | None,
    expires: timedelta | None,
    actor: str | None,
    as_json: bool,
) -> None:
    """Make a token and show its secret, this once.

    From the first one on, a server needs a token of everyone, and may listen beyond this machine.
    """
    from misheard.database.engine import now  # noqa: PLC0415 - SQLAlchemy

    made, secret = open_workspace(directory).tokens.create(
        name,
        Role(role),
        actor=acting(actor),
        rate_per_minute=rate_per_minute,
        expires_at=now() + expires if expires else None,
    )
    if as_json:
        print_json({**vars(made), "secret": secret})
        return
    until = f" until {when(made.expires_at)}" if made.expires_at else ""
    err.print(f"'{made.name}' may {made.role}{until}. Its secret is shown this once:")
    click.echo(secret)
    err.print(f"Requests carry it as: Authorization: Bearer mh_{made.id}_…", style="dim")


@command.command("list", epilog="\b\nExample:\n  misheard -w calls token list --json")
@json_option
@click.pass_obj
def list_(directory: str | None, as_json: bool) -> None:
    """List all tokens, newest first, without their secrets."""
    found = open_workspace(directory).tokens.listed()
    if as_json:
        print_json(found)
        return
    rows = [
        (
            Text.assemble((one.name, "bold"), "\n", (one.id, "dim")),
            one.role,
            _rate(one),
            _state(one),
        )
        for one in found
    ]
    nothing = "No token yet. Make one: misheard token create NAME --role ROLE"
    columns = ["token, and its id", "may", "requests/min ", "state"]
    out.print(listing("Tokens", columns, rows, nothing=nothing))


@command.command(epilog="\b\nExample:\n  misheard -w calls token revoke ivr")
@click.argument("token", metavar="NAME_OR_ID")
@actor_option
@json_option
@click.pass_obj
def revoke(directory: str | None, token: str, actor: str | None, as_json: bool) -> None:
    """End a token, for ever; servers refuse it within 2 seconds."""
    ended = open_workspace(directory).tokens.revoke(token, actor=acting(actor))
    if as_json:
        print_json(ended)
        return
    out.print(f"'{ended.name}' is revoked.")


def _rate(one: Token) -> str:
    if one.rate_per_minute is None:
        return "as set"
    return f"{one.rate_per_minute:,}" if one.rate_per_minute else "no limit"


def _state(one: Token) -> Text:
    """Whether it is good, and when it was used, on lines of their own."""
    from misheard.database.engine import now  # noqa: PLC0415 - as above

    if one.revoked_at is not None:
        state = Text(f"revoked {_day(one.revoked_at)}", style="red")
    elif one.is_expired(now()):
        state = Text(f"expired {_day(one.expires_at)}", style="red")
    else:
        until = f" until {_day(one.expires_at)}" if one.expires_at else ""
        state = Text(f"good{until}", style="green")
    used = "never used"
    if one.last_used_at:
        used = f"used {one.last_used_at.astimezone():%Y-%m-%d, in the hour of %H:%M}"
    return state.append(f"\n{used}", style="dim")


def _day(moment: datetime | None) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M}" if moment else ""
