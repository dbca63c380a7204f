"""`misheard forget`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from misheard.cli.output import acting, actor_option, json_option, open_workspace, out, print_json

if TYPE_CHECKING:
    from misheard.forgetting.forgetting import Forgotten
    from misheard.forgetting.person import Person


@click.command(
    epilog="""\b
Examples:
  misheard -w calls forget --speaker 4711 --dry-run             what there is
  misheard -w calls forget --speaker 4711 --reason "letter of 3 May"
  misheard -w calls forget --session call-9 --reason "by phone" --backups
\b
Asked again after it was killed, it finishes. It leaves with 1 while anything is left: a job that
trains on it now, or a backup; what that is stands in the answer. Weights of models that were
trained on it are not changed; which those are stands there, too.
"""
)
@click.option("--speaker", metavar="ID", help="Whose data: the id it was recorded with.")
@click.option("--session", metavar="ID", help="Or only that of one session.")
@click.option("--reason", default="", help="For the audit log.")
@click.option("--dry-run", is_flag=True, help="Say what there is, and change nothing.")
@click.option(
    "--backups", is_flag=True, help="Delete the copies of the database, too: all of them."
)
@click.option(
    "--rewrite/--no-rewrite",
    "rewrite_file",
    default=None,
    help="Write SQLite's file anew, while nobody else can write (default: up to 500 MB).",
)
@actor_option
@json_option
@click.pass_obj
def command(
    directory: str | None,
    speaker: str | None,
    session: str | None,
    reason: str,
    dry_run: bool,
    backups: bool,
    rewrite_file: bool | None,
    actor: str | None,
    as_json: bool,
) -> None:
    """Delete one person's data, by speaker or session, from everywhere."""
    person = _person(speaker, session)
    if not dry_run and not reason.strip():
        raise click.UsageError("Say why: --reason. It stands in the audit log.")
    forgetting = open_workspace(directory).forgetting
    if dry_run:
        made = forgetting.look(person)
    else:
        made = forgetting.forget(
            person,
            actor=acting(actor),
            reason=reason,
            delete_backups=backups,
            rewrite_file=rewrite_file,
        )
    if as_json:
        print_json({**vars(made), "is_complete": made.is_complete})
    else:
        _show(made)
    if not (made.is_dry_run or made.is_complete):
        sys.exit(1)


def _person(speaker: str | None, session: str | None) -> Person:
    from misheard.forgetting.person import IdKind, Person  # noqa: PLC0415 - SQLAlchemy

    if (speaker is None) == (session is None):
        raise click.UsageError("Give --speaker or --session, one of the two.")
    if speaker is not None:
        return Person(kind=IdKind.SPEAKER, id=speaker)
    return Person(kind=IdKind.SESSION, id=str(session))


def _show(made: Forgotten) -> None:
    told = "Would be deleted" if made.is_dry_run else "Deleted"
    found = {name.replace("_", " "): count for name, count in made.found.items() if count}
    listed = ", ".join(f"{count:,} {name}" for name, count in found.items())
    out.print(f"{told}: {listed or 'nothing was found'}.")
    for dataset_id, count in made.datasets.items():
        out.print(f"  {count:,} utterances of {dataset_id} are withdrawn")
    if made.shared_recordings:
        out.print(f"{made.shared_recordings:,} recordings stay: somebody else's are the same.")
    if made.referred_only:
        elsewhere = f"{made.referred_only:,}"
        out.print(f"The audio of {elsewhere} transcripts was never here; delete it where it is.")
    if made.versions:
        out.print(f"Trained on it, and not changed: {', '.join(made.versions)}")
    if made.busy:
        out.print(f"Still at work with it: {', '.join(made.busy)}. Once ended, ask again.")
    if made.backups:
        out.print("These copies of the database may hold it still (delete them: --backups):")
        for path in made.backups:
            out.print(f"  {path}")
    if made.rewritten is not None and made.rewritten.detail:
        out.print(f"Not all is overwritten: {made.rewritten.detail}.")
