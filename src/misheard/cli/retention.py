"""`misheard retention`."""

from __future__ import annotations

from typing import Any

import click

from misheard.cli.output import (
    acting,
    actor_option,
    json_option,
    open_workspace,
    out,
    print_json,
    when,
)


@click.group()
def command() -> None:
    """Let go of audio and transcripts that nobody needs any more."""


@command.command(epilog="\b\nExample:\n  misheard -w calls retention show")
@json_option
@click.pass_obj
def show(directory: str | None, as_json: bool) -> None:
    """What is kept, and what the settings allow."""
    workspace = open_workspace(directory)
    kept, rules = workspace.capture_retention.kept(), workspace.settings.capture
    limits: dict[str, Any] = {
        "keep_audio_days": rules.keep_audio_days,
        "keep_audio_gb": rules.keep_audio_gb,
        "keep_text_days": rules.keep_text_days,
    }
    if as_json:
        print_json({"kept": kept, **limits})
        return
    since = f", the oldest of {when(kept.oldest_at)}" if kept.oldest_at else ""
    out.print(f"{kept.recordings:,} recordings, {kept.bytes / 1e9:.3f} GB{since}.")
    for name, value in limits.items():
        out.print(f"capture.{name} = {value:g}{'' if value else ' (no limit)'}", style="dim")


@command.command(epilog="\b\nExample:\n  misheard -w calls retention run")
@click.option(
    "--unknown",
    "with_unknown",
    is_flag=True,
    help="Delete files, too, that nothing points at (misheard check --deep counts them). "
    "Not while a model, a dataset or a validation is added.",
)
@actor_option
@json_option
@click.pass_obj
def run(directory: str | None, with_unknown: bool, actor: str | None, as_json: bool) -> None:
    """Let go, now, of all that the settings do not keep."""
    workspace = open_workspace(directory)
    workspace.digest.catch_up()
    if with_unknown:
        workspace.capture_retention.note_unknown()
    gone = workspace.capture_retention.run(actor=acting(actor))
    if as_json:
        print_json(gone)
        return
    out.print(
        f"{gone.recordings:,} recordings ({gone.bytes / 1e6:,.1f} MB) and {gone.transcripts:,} "
        f"transcripts let go of, {gone.blobs:,} files deleted."
    )
