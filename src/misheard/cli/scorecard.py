"""A scorecard as people read it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby, zip_longest
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.markup import escape
from rich.text import Text

from misheard.cli.output import percent, table

if TYPE_CHECKING:
    from rich.console import Console

    from misheard.scoring.alignment import AlignedWords
    from misheard.scoring.scorecard import Marks, Scorecard, Versus

_STYLES = {"replace": "yellow", "delete": "red", "insert": "magenta", "equal": ""}
_LETTERS = {"replace": "S", "delete": "D", "insert": "I", "equal": ""}


def print_card(card: Scorecard, lines: Sequence[dict[str, Any]], out: Console) -> None:
    """Figures first, then the comparison, the words, and the utterances of `lines`."""
    out.print(
        f"{card.utterances:,} utterances in {card.groups:,} groups, {card.words:,} words; "
        f"normaliser {escape(card.normalizer)}"
    )
    columns = ["", *(f"{one.name} " for one in card.systems)]
    figures = [_figures(one, card.utterances) for one in card.systems]
    rows = [[name, *(column[name] for column in figures)] for name in figures[0]]
    out.print(table("", columns, rows))
    if card.versus:
        out.print(_comparison(card.versus, card.systems))
    for one in card.systems:
        out.print(_words(one, of_several=len(card.systems) > 1))
    for line in lines:
        out.print(Text(line["id"], "bold"))
        for name, words in line["systems"].items():
            if len(card.systems) > 1:
                out.print(Text(f"  {name}", "dim"))
            for row in _aligned(words, out.width):
                out.print(row, soft_wrap=True)
        out.print()


def _figures(one: Marks, utterances: int) -> dict[str, str]:
    words, silent = one.score.words, int(one.score.silent.sum())
    low, high = one.wer_interval
    wrong = one.errors.wrong
    return {
        "WER": percent(one.score.wer),
        "95 % interval": f"{percent(low)} to {percent(high)}",
        "CER": percent(one.score.cer),
        "MER": percent(one.score.mer),
        "WIL": percent(one.score.wil),
        "substitutions": f"{int(words.substitutions.sum()):,}",
        "deletions": f"{int(words.deletions.sum()):,}",
        "insertions": f"{int(words.insertions.sum()):,}",
        "hallucinated": (
            f"{percent(one.score.hallucination_rate)} of {silent:,} silent"
            if silent
            else "none is silent"
        ),
        "utterances with errors": f"{wrong:,} ({percent(wrong / utterances)})",
        "differ in formatting only": f"{one.errors.formatting_only:,}",
    }


def _comparison(versus: Versus, systems: Sequence[Marks]) -> Text:
    first, second = (one.name for one in systems)
    said = {
        "better": (f"{second} makes fewer errors than {first}.", "green"),
        "worse": (f"{second} makes more errors than {first}.", "red"),
        "undecided": ("The difference may be chance.", "yellow"),
    }
    sentence, style = said[versus.verdict]
    test, segments = versus.permutation, versus.mapsswe
    how = "exact" if test.exact else "normal approximation"
    saved, low, high = map(_points, (versus.reduction, *versus.interval))
    return Text.assemble(
        (sentence, f"bold {style}"),
        f"\n  errors saved         {saved} points of WER "
        f"(95 % interval {low} to {high})"
        f"\n  permutation test     p {_p(test.p_value)}, {how}; "
        f"{test.differing_groups:,} of {test.groups:,} groups differ"
        f"\n  MAPSSWE              p {_p(segments.p_value)}, Z = {segments.z:.3f}; "
        f"{segments.segments:,} segments"
        f"\n  utterances           {versus.fixed:,} fixed, {versus.broken:,} broken\n",
    )


def _points(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:+.2f}"


def _p(value: float) -> str:
    return "< 0.0001" if value < 0.0001 else f"= {value:.4f}"


def _words(one: Marks, *, of_several: bool) -> Any:
    """The misheard words, the most frequent first."""
    errors = one.errors
    rows = [
        [cell for pair in row for cell in (pair or ("", ""))]
        for row in zip_longest(
            [(f"{each.reference} → {each.hypothesis}", each.count) for each in errors.substituted],
            [(each.reference, each.count) for each in errors.deleted],
            [(each.hypothesis, each.count) for each in errors.inserted],
        )
    ]
    title = f"Misheard words, {one.name}" if of_several else "Misheard words"
    return table(title, ["confused", "× ", "deleted", "× ", "inserted", "× "], rows)


def _aligned(words: Sequence[AlignedWords], width: int) -> Iterator[Text]:
    """What was spoken above what was heard, and the kind of each error below.

    Of a long utterance, lines without an error are left out.
    """
    rows = [_Rows()]
    for step in words:
        if not rows[-1].takes(step, width):
            rows.append(_Rows())
        rows[-1].add(step)
    if len(rows) == 1:
        yield from rows[0].texts()
        return
    for has_errors, stretch in groupby(rows, key=lambda one: one.has_errors):
        if not has_errors:
            yield Text("  …")
            continue
        for one in stretch:
            yield from one.texts()


class _Rows:
    """Three lines that are filled word by word."""

    def __init__(self) -> None:
        self.spoken, self.heard, self.kinds = Text("  spoken  "), Text("  heard   "), Text("  " * 5)
        self.has_errors = False

    def takes(self, step: AlignedWords, width: int) -> bool:
        """Whether the word fits on the line, or nothing stands there yet."""
        return self.spoken.cell_len <= 10 or self.spoken.cell_len + _width(step) <= width

    def add(self, step: AlignedWords) -> None:
        """Put a word on."""
        width, style = _width(step), _STYLES[step.kind]
        for line, word in ((self.spoken, step.reference), (self.heard, step.hypothesis)):
            shown = word or "*" * width
            line.append(shown, style if word else "dim")
            line.append(" " * (width - cell_len(shown) + 1))
        self.kinds.append(_LETTERS[step.kind].ljust(width + 1), f"bold {style}")
        self.has_errors |= step.kind != "equal"

    def texts(self) -> Iterator[Text]:
        """The lines, that of the kinds only where there is an error."""
        for line in (self.spoken, self.heard, *([self.kinds] if self.has_errors else [])):
            line.rstrip()
            yield line


def _width(step: AlignedWords) -> int:
    return max(cell_len(step.reference), cell_len(step.hypothesis))
