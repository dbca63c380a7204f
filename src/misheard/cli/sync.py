"""`misheard sync`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from misheard.cli.output import (
    acting,
    actor_option,
    byte_bars,
    json_option,
    open_workspace,
    out,
    print_json,
)

if TYPE_CHECKING:
    from misheard.syncing import Synced

_SHOWN = 10


@click.command(
    epilog="""\b
Examples:
  misheard -w calls sync --dry-run       how many files and bytes would travel
  misheard -w calls sync                 what is only here goes to the bucket, and from here
  misheard -w calls sync --home          copies everything home; the bucket keeps it
  misheard -w calls sync --release gs://acme-speech/old    it was emptied, and is used no more
\b
Which bucket, misheard.toml says: [storage] blobs = "gs://acme-speech/calls". Stopped or killed, it
is called again and goes on; a file is deleted here only once the bucket has it whole. Before the
first sync, stop servers and workers that were started without the bucket: they look for files here
alone. Ends with exit code 1 where a file is damaged or nowhere.
"""
)
@click.option("--home", is_flag=True, help="Copy from the bucket into this workspace.")
@click.option("--dry-run", is_flag=True, help="Only say how many files and bytes would travel.")
@click.option(
    "--release",
    metavar="ADDRESS",
    help="Note that a bucket that was used before is empty, and used no more.",
)
@actor_option
@json_option
@click.pass_obj
def command(
    directory: str | None,
    home: bool,
    dry_run: bool,
    release: str | None,
    actor: str | None,
    as_json: bool,
) -> None:
    """Move files to the bucket, or copy them home."""
    syncing = open_workspace(directory).syncing
    if release:
        if home or dry_run:
            raise click.UsageError("--release goes by itself.")
        syncing.release(release, actor=acting(actor))
        if as_json:
            print_json({"released": release})
        else:
            out.print(f"{escape(release)} is released.", soft_wrap=True)
        return
    with byte_bars() as shown:
        call = syncing.home if home else syncing.to_bucket
        done = call(actor=acting(actor), watching=shown, dry_run=dry_run)
    if as_json:
        print_json({"to": "home" if home else "bucket", **vars(done)})
    else:
        _show(done, home)
    if done.failed:
        sys.exit(1)


def _show(done: Synced, home: bool) -> None:
    if done.is_dry_run:
        told = "would be copied home" if home else "would be moved to the bucket"
    else:
        told = "copied home" if home else "moved to the bucket"
    out.print(
        f"{_files(done.files)} ({done.bytes / 1e6:,.1f} MB) {told}; {done.known:,} were there."
    )
    if done.forgotten:
        gone = "would be deleted" if done.is_dry_run else "are deleted"
        out.print(f"Copies of {done.forgotten:,} recordings that were forgotten {gone} here.")
    if done.unused:
        out.print(
            f"{_files(done.unused)} here that nothing points at stay. Unless a model or a dataset "
            "is being added just now: [cyan]misheard retention run --unknown[/]",
            soft_wrap=True,
        )
    for one in done.failed[:_SHOWN]:
        out.print(f"[red]{escape(one)}[/]", soft_wrap=True)
    if len(done.failed) > _SHOWN:
        out.print(f"and {len(done.failed) - _SHOWN:,} more: misheard check", style="dim")


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"
