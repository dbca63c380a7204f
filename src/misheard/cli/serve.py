"""`misheard serve`."""

from __future__ import annotations

import logging

import click
from rich.markup import escape

from misheard.cli.output import err, json_option, open_workspace, print_json
from misheard.deployment import PRODUCTION


@click.command(
    epilog="""\b
Answers what OpenAI's API answers for transcription, and takes feedback. It follows the deployment
log: what is deployed or rolled back is live in it at once, and nobody waits. SIGTERM and Ctrl-C let
it end what is under way, within 30 s.
\b
Examples:
  misheard -w calls serve
  curl -F file=@call.wav http://127.0.0.1:8000/v1/audio/transcriptions
  misheard -w calls token create phones --role transcribe
  misheard -w calls serve --host 0.0.0.0 --processes 4
"""
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Where to listen; beyond this machine it needs a token.",
)
@click.option("--port", type=click.IntRange(0, 65_535), default=8_000, show_default=True)
@click.option(
    "--slot", default=PRODUCTION, show_default=True, help="It answers with what is live there."
)
@click.option(
    "--processes",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Each has models of its own and a share of the processor.",
)
@click.option("--access-log", is_flag=True, help="A line for every request, on standard error.")
@json_option
@click.pass_obj
def command(
    directory: str | None,
    host: str,
    port: int,
    slot: str,
    processes: int,
    access_log: bool,
    as_json: bool,
) -> None:
    """Transcribe over HTTP with what is live, and log every result."""
    from misheard.server.processes import serve_in_several  # noqa: PLC0415 - FastAPI
    from misheard.server.running import ServerPlan, address_of, listen, serve  # noqa: PLC0415

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    workspace = open_workspace(directory)
    plan = ServerPlan(
        root=workspace.root,
        host=host,
        port=port,
        slot=slot,
        processes=processes,
        access_log=access_log,
    )
    with listen(workspace, plan) as listening:
        where = address_of(listening)
        needs_token = workspace.tokens.any()

        def ready(version_id: str) -> None:
            if as_json:
                print_json({"url": f"http://{where}", "slot": slot, "version_id": version_id})
                return
            shared = f" in {processes} processes" if processes > 1 else ""
            err.print(
                f"[bold]{escape(version_id)}[/] answers at http://{escape(where)}{shared} until "
                "stopped",
                soft_wrap=True,
            )
            token = ' -H "Authorization: Bearer $TOKEN"' if needs_token else ""
            err.print(
                f"try: curl -F file=@call.wav{token} http://{escape(where)}"
                "/v1/audio/transcriptions",
                style="dim",
                soft_wrap=True,
            )

        err.print(f"loading what is live in '{escape(slot)}'", style="dim")
        (serve if processes == 1 else serve_in_several)(plan, listening, ready=ready)
