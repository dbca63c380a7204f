"""`misheard check`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from misheard.cli.output import (
    acting,
    actor_option,
    bars,
    json_option,
    open_workspace,
    out,
    print_json,
)

if TYPE_CHECKING:
    from misheard.integrity.flaws import Soundness
    from misheard.integrity.mending import Mended


@click.command(
    epilog="""\b
Examples:
  misheard -w calls check                for every night
  misheard -w calls check --deep         reads every file, counts everything again
  misheard -w calls check --mend         puts counts right that are not what the rows come to
\b
Ends with exit code 1 where something is wrong, with --mend where something still is. Nothing has to
be stopped. Only --mend changes anything: counts, an hour at a time, each with a line in the audit
log. Hours of which transcripts were let go (keep_text_days, misheard forget) cannot be counted
again; they stay as they are, and are named.
"""
)
@click.option(
    "--deep",
    is_flag=True,
    help="Read every file, count those that nothing points at, and count everything again.",
)
@click.option("--mend", is_flag=True, help="Count everything again, and put wrong counts right.")
@actor_option
@json_option
@click.pass_obj
def command(
    directory: str | None, deep: bool, mend: bool, actor: str | None, as_json: bool
) -> None:
    """Is everything there and whole: database, files, counts?"""
    integrity = open_workspace(directory).integrity
    mended = None
    with bars() as shown:
        if mend:
            mended = integrity.mend(actor=acting(actor), progress=shown.counter("mending counts"))
        # What was mended is counted once more, like all else.
        found = integrity.check(deep=deep, recount=mend, progress=shown.counter("looking at files"))
    if as_json:
        told = {"mended": vars(mended)} if mended else {}
        print_json({"is_sound": found.is_sound, **vars(found), **told})
    else:
        if mended:
            _show_mended(mended)
        _show(found)
    if not found.is_sound:
        sys.exit(1)


def _show_mended(mended: Mended) -> None:
    out.print(
        f"Mended {mended.counts:,} counts." if mended.counts else "There was nothing to mend."
    )
    for one in mended.changes:
        out.print(f"  {escape(one.subject)}: {escape(one.detail)}", soft_wrap=True)
    if more := mended.counts - len(mended.changes):
        out.print(f"  and {more:,} more: misheard audit", style="dim")


def _show(found: Soundness) -> None:
    looked = ", ".join(f"{count:,} {what}" for what, count in found.looked_at.items())
    verdict = "[green]All is well[/]" if found.is_sound else "[red]Not all is well[/]"
    out.print(f"{verdict}: looked at {looked}.")
    for flaw in found.flaws:
        out.print(f"\n[bold]{flaw.part}[/]  {escape(flaw.subject)}", soft_wrap=True)
        out.print(f"  {escape(flaw.detail)}", soft_wrap=True)
        out.print(f"  [cyan]{escape(flaw.remedy)}[/]", soft_wrap=True)
    for part, count in found.more.items():
        out.print(f"\nand {count:,} more of {part}", style="dim")
    if found.unused_files:
        files = "1 file" if found.unused_files == 1 else f"{found.unused_files:,} files"
        out.print(
            f"{files} that nothing points at take room. Unless a model or a dataset is being added "
            "just now: [cyan]misheard retention run --unknown[/]",
            soft_wrap=True,
        )
