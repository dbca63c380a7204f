"""`misheard transcribe`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from misheard.cli.output import bars, json_option, open_workspace, out, print_json, table

if TYPE_CHECKING:
    from misheard.capture.inferences import Inference
    from misheard.speech.transcriber import Transcript


@click.command(
    epilog="""\b
Examples:
  misheard -w calls transcribe call-17.wav
  misheard -w calls transcribe --group agent-4 shift/*.flac --json
  misheard -w calls transcribe --words --prompt "Asterisk, voicemail, PBX." call-17.wav
"""
)
@click.argument("files", nargs=-1, required=True)
@click.option("--group", default="", help="Who speaks, or which call: what moves together.")
@click.option("--words", is_flag=True, help="Say when each word was said.")
@click.option(
    "--language", help='Code of the spoken language, or "auto" (default: speech.language).'
)
@click.option(
    "--prompt", help="What was said before, or how it is to be written (default: speech.prompt)."
)
@json_option
@click.pass_obj
def command(
    directory: str | None,
    files: tuple[str, ...],
    group: str,
    words: bool,
    language: str | None,
    prompt: str | None,
    as_json: bool,
) -> None:
    """Transcribe files with the live version and log the results."""
    from misheard import audio  # noqa: PLC0415 - only once the arguments are right

    workspace = open_workspace(directory)
    recordings = [
        audio.Recording(data=audio.read_bytes(name), speaker_group=group, name=name)
        for name in files
    ]
    asked = {"word_timestamps": words or None, "language": language, "prompt": prompt}
    changes: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    with bars() as shown:
        progress = shown.progress("transcribing", len(recordings))
        made = workspace.hear(recordings, progress=progress, **changes)
    if as_json:
        print_json([_plain(one, heard, words=words) for one, heard in made])
        return
    rows = [
        (one.id, Path(name).name, f"{one.duration_s:.1f}", one.text)
        for name, (one, _) in zip(files, made, strict=True)
    ]
    out.print(table("", ["inference", "file", "seconds ", "text"], rows))
    if words:
        out.print(table("", ["file", "from ", "to ", "word", "sure "], _times(files, made)))


def _plain(inference: Inference, heard: Transcript, *, words: bool) -> dict[str, Any]:
    made = {**vars(inference), "language": heard.language}
    return {**made, "words": heard.words} if words else made


def _times(
    files: Sequence[str], made: Sequence[tuple[Inference, Transcript]]
) -> list[tuple[str, ...]]:
    return [
        (
            Path(name).name if first else "",
            f"{word.start_s:.2f}",
            f"{word.end_s:.2f}",
            word.text,
            f"{word.probability:.0%}",
        )
        for name, (_, heard) in zip(files, made, strict=True)
        for first, word in zip([True, *[False] * len(heard.words)], heard.words, strict=False)
    ]
