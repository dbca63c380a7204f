"""`misheard record`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from misheard.cli.output import bars, json_option, open_workspace, out, print_json

if TYPE_CHECKING:
    from misheard.capture.captured import Captured


@click.command(
    epilog="""\b
Examples:
  misheard -w calls record log.jsonl
  misheard -w calls record asr.csv --column text=transcript --column heard_at=ts --ignore "*"
  tail -f asr.jsonl | misheard -w calls record -
  misheard -w calls record --audio s3://calls/17.wav --text "hold the line" --at 2026-01-31T09:30Z
\b
A file has a line or row for each transcript. Needed are audio (a path, an address, or your id of
the recording), text and heard_at; client_id makes a second attempt harmless. Also known:
recogniser, speaker, session, speaker_group, duration_s, avg_logprob, no_speech_prob,
compression_ratio, latency_s, compute_s, second_text, tags.
"""
)
@click.argument("files", nargs=-1)
@click.option("--format", "format_name", type=click.Choice(["jsonl", "csv", "tsv", "parquet"]))
@click.option(
    "--column", "columns", multiple=True, metavar="OURS=THEIRS", help="What the file calls it."
)
@click.option(
    "--ignore", "ignored", multiple=True, metavar="NAME", help='What is not needed; "*" for all.'
)
@click.option("--recogniser", help="Who heard it (default: the live version).")
@click.option("--copy-audio", is_flag=True, help="Read the recordings and keep them.")
@click.option("--audio", help="Of a single transcript: where its recording is.")
@click.option("--text", help="Of a single transcript: what was heard.")
@click.option("--at", "heard_at", help="Of a single transcript: when (default: now).")
@click.option("--client-id", help="Of a single transcript: your own id for it.")
@json_option
@click.pass_obj
def command(directory: str | None, /, as_json: bool, copy_audio: bool, **given: Any) -> None:
    """Log what production heard, from any recogniser."""
    is_single = bool(given["audio"]) or given["text"] is not None
    if is_single == bool(given["files"]) or (is_single and None in (given["audio"], given["text"])):
        raise click.UsageError("Give files, or --audio and --text of one transcript.")
    workspace = open_workspace(directory)
    with bars() as shown:
        intake = workspace.intake(copy_audio=copy_audio, progress=shown.counter("recording"))
        items = _single(given) if is_single else _of_files(given, idle=intake.flush)
        logged = intake.take(items)
        workspace.digest.catch_up(progress=shown.counter("counting"))
    if as_json:
        print_json(logged)
        return
    again = f", {logged.known:,} were known already" if logged.known else ""
    out.print(f"{logged.new:,} recorded{again}.")


def _single(given: dict[str, Any]) -> Iterator[Captured]:
    from misheard.capture.captured import Captured  # noqa: PLC0415 - only once it is needed
    from misheard.database.engine import now  # noqa: PLC0415 - SQLAlchemy

    record = {
        "audio": given["audio"],
        "text": given["text"],
        "heard_at": given["heard_at"] or now(),
        "client_id": given["client_id"],
        "recogniser": given["recogniser"],
    }
    yield Captured.from_record(record, what="the transcript")


def _of_files(given: dict[str, Any], *, idle: Callable[[], object]) -> Iterator[Captured]:
    from misheard.capture.files import read_captured  # noqa: PLC0415 - only once it is needed

    columns = {}
    for one in given["columns"]:
        ours, equals, theirs = one.partition("=")
        if not equals:
            raise click.BadParameter(f"'{one}' is not OURS=THEIRS", param_hint="--column")
        if ours in columns:
            raise click.BadParameter(f"'{ours}' stands twice", param_hint="--column")
        columns[ours] = theirs
    defaults = {"recogniser": given["recogniser"]} if given["recogniser"] else {}
    for path in given["files"]:
        yield from read_captured(
            path,
            format_name=given["format_name"] or "",
            columns=columns,
            ignored=given["ignored"],
            idle=idle,
            **defaults,
        )
