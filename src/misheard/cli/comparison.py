"""How two versions beside each other, and a verdict on one, look in a terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from misheard.cli.output import percent, table
from misheard.gates.comparison import Comparison, Side
from misheard.gates.slices import Slice
from misheard.gates.verdict import Answer, Verdict

_STYLES = {Answer.PASS: "green", Answer.FAIL: "red", Answer.INCONCLUSIVE: "yellow"}
_ROWS: tuple[tuple[str, Callable[[Side], str]], ...] = (
    ("word error rate", lambda side: percent(side.wer)),
    ("  95 % interval", lambda side: " – ".join(map(percent, side.wer_interval))),
    ("character error rate", lambda side: percent(side.cer)),
    ("match error rate", lambda side: percent(side.mer)),
    ("word information lost", lambda side: percent(side.wil)),
    ("word errors", lambda side: f"{side.errors:,}"),
    (
        "  substituted, deleted, inserted",
        lambda side: f"{side.substitutions:,}, {side.deletions:,}, {side.insertions:,}",
    ),
    ("formatting alone differs", lambda side: f"{side.formatting_only:,}"),
    ("failed", lambda side: f"{side.failed:,}"),
    ("seconds to transcribe", lambda side: f"{side.compute_s:,.1f}"),
)


def show_comparison(console: Console, found: Comparison, names: tuple[str, str]) -> None:
    """Both sides with their figures, and how far the difference is from chance."""
    title = (
        f"{found.utterances:,} utterances, {found.words:,} words, {found.audio_s / 60:,.1f} minutes"
    )
    rows = [(name, figure(found.baseline), figure(found.candidate)) for name, figure in _ROWS]
    if found.silent:
        rows.append(
            (
                f"words on {found.silent} clips without speech",
                str(found.baseline.silent_with_text),
                str(found.candidate.silent_with_text),
            )
        )
    shown = table(title, ["", f"{names[0]} ", f"{names[1]} "], rows)
    for column in shown.columns[1:]:
        column.overflow = "fold"
    console.print(shown)
    low, high = found.reduction_interval
    if math.isnan(found.gain):
        return
    way = "lower" if found.gain >= 0 else "higher"
    console.print(
        f"WER {100 * abs(found.gain):.2f} points {way} (95 % interval of the reduction "
        f"{100 * low:+.2f} to {100 * high:+.2f}), p = {found.p_value:.2g} by "
        f"{'an exact' if found.exact else 'a'} test of {found.blocks:,} groups "
        f"(NIST's matched pairs: {_p(found.mapsswe_p)}); "
        f"{len(found.fixed)} utterances fixed, {len(found.broken)} broken"
    )


def show_verdict(console: Console, verdict: Verdict) -> None:
    """Every criterion with its figure and limit, then the answer."""
    shown = Table(box=None, pad_edge=False, show_header=True, header_style="dim")
    shown.add_column("criterion", no_wrap=True)
    shown.add_column("verdict", no_wrap=True)
    shown.add_column("evidence", overflow="fold")
    for one in verdict.criteria:
        shown.add_row(
            one.name.replace("_", " "),
            Text(str(one.answer), style=_STYLES[one.answer]),
            escape(one.reason),
        )
    console.print()
    console.print(shown)
    if verdict.unjudged:
        console.print()
    for text in verdict.unjudged:
        console.print(f"[dim]not looked at: {escape(text)}[/]")
    answer = verdict.answer
    line = f"\n[bold {_STYLES[answer]}]{answer}[/]"
    if answer is Answer.INCONCLUSIVE and verdict.words_needed is not None:
        line += f": about {verdict.words_needed:,} more test words would settle it"
    console.print(line)


def show_slices(console: Console, slices: Sequence[Slice]) -> None:
    """The parts of the set in which somebody speaks."""
    rows = [
        (
            one.kind,
            one.name[:24],
            f"{one.utterances:,}",
            f"{one.words:,}",
            f"{one.baseline_errors:,} → {one.candidate_errors:,}",
            f"{one.rise:+.2%}",
            Text("worse", style="red") if one.worse else "",
        )
        for one in slices
        if one.words
    ]
    if rows:
        columns = ["slice", "", "utterances ", "words ", "errors ", "WER ", ""]
        console.print(table("Slices", columns, rows))


def _p(value: float) -> str:
    return "–" if math.isnan(value) else f"p = {value:.2g}"
