"""`misheard demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from misheard.cli.output import bars, err, json_option, out, percent, print_json, table

if TYPE_CHECKING:
    from misheard.demo.walk import DemoResult

DEFAULT_DIRECTORY = Path("data")


@click.command(
    epilog="""\b
Examples:
  misheard demo                    about 10 minutes on 2 cores
  misheard demo /tmp/tour --json
"""
)
@click.argument(
    "directory", type=click.Path(file_okay=False, path_type=Path), default=DEFAULT_DIRECTORY
)
@json_option
def command(directory: Path, as_json: bool) -> None:
    """Walk real telephone speech once round the whole loop.

    DIRECTORY is made, or made anew where an earlier demo made it; by default ./data, which all
    other commands use, too.
    """
    from misheard.demo.walk import run_demo  # noqa: PLC0415 - only once the arguments are right

    with bars() as shown:
        result = run_demo(
            directory, observer=shown, say=lambda text: err.print(text, style="bold cyan")
        )
    if as_json:
        print_json(result.to_dict())
        return
    _show(result)


def _show(result: DemoResult) -> None:
    compared = result.comparison
    before, after = compared.baseline, compared.candidate
    rows = [
        ("word error rate", percent(before.wer), percent(after.wer)),
        ("  95 % interval", _interval(before.wer_interval), _interval(after.wer_interval)),
        ("character error rate", percent(before.cer), percent(after.cer)),
        ("word errors", before.errors, after.errors),
        ("silent clips with words", before.silent_with_text, after.silent_with_text),
        ("seconds to transcribe", f"{before.compute_s:.1f}", f"{after.compute_s:.1f}"),
    ]
    title = (
        f"{compared.utterances} held-out prompts, {compared.words} words, "
        f"{compared.audio_s / 60:.1f} minutes"
    )
    out.print()
    out.print(table(title, ["", "base model ", "fine-tuned, live "], rows))
    out.print(
        f"[bold green]{compared.relative_reduction:.0%} fewer word errors[/] "
        f"(p = {compared.p_value:.2g}, by whole menus), "
        f"[bold green]{compared.speedup:.1f} times faster[/], "
        f"in {result.seconds / 60:.1f} minutes"
    )
    out.print(
        f"rolled back: {'yes' if result.rolled_back else 'no'}, "
        f"deployed again: {'yes' if result.redeployed else 'no'}"
    )
    out.print(f"Open the report:  {result.report.resolve()}")
    out.print(f"Look around:      misheard -w {result.report.parent} status", style="dim")


def _interval(interval: tuple[float, float]) -> str:
    return f"{percent(interval[0])} – {percent(interval[1])}"
