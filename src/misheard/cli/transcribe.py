"""`misheard transcribe`."""

from __future__ import annotations

from pathlib import Path

import click

from misheard.cli.output import bars, json_option, open_workspace, out, print_json, table


@click.command(
    epilog="""\b
Examples:
  misheard -w calls transcribe call-17.wav
  misheard -w calls transcribe --group agent-4 shift/*.flac --json
"""
)
@click.argument("files", nargs=-1, required=True)
@click.option("--group", default="", help="Who speaks, or which call: what moves together.")
@json_option
@click.pass_obj
def command(directory: str | None, files: tuple[str, ...], group: str, as_json: bool) -> None:
    """Transcribe files with the live version and log the results."""
    from misheard import audio  # noqa: PLC0415 - only once the arguments are right

    workspace = open_workspace(directory)
    recordings = [
        audio.Recording(data=audio.read_bytes(name), speaker_group=group, name=name)
        for name in files
    ]
    with bars() as shown:
        progress = shown.progress("transcribing", len(recordings))
        made = workspace.transcribe(recordings, progress=progress)
    if as_json:
        print_json(made)
        return
    rows = [
        (one.id, Path(name).name, f"{one.duration_s:.1f}", one.text)
        for name, one in zip(files, made, strict=True)
    ]
    out.print(table("", ["inference", "file", "seconds ", "text"], rows))
