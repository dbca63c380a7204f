"""`misheard inferences`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from rich.text import Text

from misheard.cli.output import json_option, listing, open_workspace, out, print_json, when

if TYPE_CHECKING:
    from misheard.capture.inferences import Inference


@click.command(epilog="\b\nExample:\n  misheard -w calls inferences --limit 50")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1))
@json_option
@click.pass_obj
def command(directory: str | None, limit: int, as_json: bool) -> None:
    """List what was transcribed."""
    found = open_workspace(directory).inferences.recent(limit=limit)
    if as_json:
        print_json(found)
        return
    # Two lines each, so that the text has room at 80 columns.
    rows = [
        (
            Text.assemble(one.id, "\n", (one.version_id, "dim")),
            Text.assemble(when(one.created_at), "\n", (_figures(one), "dim")),
            one.text,
        )
        for one in found
    ]
    nothing = "No transcript yet: misheard transcribe FILE, or misheard record FILE"
    out.print(listing("Newest first", ["inference", "at", "text"], rows, nothing=nothing))


def _figures(one: Inference) -> str:
    known = [
        f"{one.duration_s:.1f} s" if one.duration_s is not None else "",
        f"log-prob {one.avg_logprob:.2f}" if one.avg_logprob is not None else "",
    ]
    return ", ".join(filter(None, known))
