"""`misheard score`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from misheard.cli.output import json_option, out, print_json

if TYPE_CHECKING:
    from misheard.scoring.normalize import Normalizer
    from misheard.transcripts.files import TranscriptFile
    from misheard.transcripts.pairs import Pairs


@click.command(
    epilog="""\b
Examples:
  misheard score ref.trn hyp.trn
  misheard score spoken.txt old.txt new.txt --lines
  misheard score manifest.json manifest.json          # NeMo: text, pred_text
  misheard score text hyp --format kaldi --normalizer unicode
  misheard score talk.stm talk.ctm --group-by speaker
  misheard score all.jsonl all.jsonl all.jsonl --keys spoken,old,new --json

\b
Formats, by the ending of the name or --format:
  text    an utterance a line; an empty line is silence
  trn     words (speaker-utterance)
  kaldi   utterance words
  jsonl   {"text": …, "pred_text": …, "id": …, "speaker": …} a line; text may also be called
          reference, ref, transcript, transcription or sentence; pred_text hypothesis, hyp,
          prediction or pred
  stm     file channel speaker begin end <labels> words
  ctm     file channel begin duration word; a hypothesis for an stm
"""
)
@click.argument("reference", metavar="REF")
@click.argument("hypotheses", metavar="HYP [HYP2]", nargs=-1, required=True)
@click.option(
    "--normalizer",
    "normalizer_name",
    default="whisper-english",
    show_default=True,
    help="none, basic, unicode, whisper-english, or package.module:function.",
)
@click.option(
    "--equivalents",
    multiple=True,
    metavar="FILE",
    help="Spellings that count as the same, in TOML or JSON; may be repeated.",
)
@click.option(
    "--format", "formats", default="", help="Of all files, or of each: stm,ctm.", metavar="NAMES"
)
@click.option("--keys", default="", help="JSON lines: the key of each text.", metavar="NAMES")
@click.option(
    "--group-by",
    default="",
    metavar="WHAT",
    help="What moves together: speaker, utterance, or a key of the JSON lines (default: the "
    "speaker or group where the references name one).",
)
@click.option(
    "--errors",
    default=10,
    type=click.IntRange(0),
    show_default=True,
    help="How many misheard words of each kind are shown, and utterances with --lines.",
)
@click.option(
    "--lines",
    is_flag=True,
    help="Show where most errors are made (by HYP2, if given), word by word.",
)
@json_option
def command(
    reference: str,
    hypotheses: tuple[str, ...],
    normalizer_name: str,
    equivalents: tuple[str, ...],
    errors: int,
    lines: bool,
    as_json: bool,
    **reading: str,
) -> None:
    """Score transcripts of any tool against references, and compare two systems.

    Needs no workspace. Files are paired by the ids of their utterances where both have them, else
    line by line; - is the standard input. Intervals and tests take whole groups together.
    """
    from misheard.cli.scorecard import print_card  # noqa: PLC0415 - numpy
    from misheard.scoring.normalize import normalizer  # noqa: PLC0415 - as above
    from misheard.scoring.scorecard import mark  # noqa: PLC0415 - as above
    from misheard.settings import load_equivalents  # noqa: PLC0415 - pydantic
    from misheard.transcripts.pairs import pair  # noqa: PLC0415 - as above

    if len(hypotheses) > 2:
        raise click.UsageError("At most two hypotheses can be compared.")
    files = _files([reference, *hypotheses], **reading)
    groups = [group for file in equivalents for group in load_equivalents(Path(file))]
    normalize = normalizer(normalizer_name, groups)
    pairs = pair(files[0], files[1:], group_by=reading["group_by"])
    names = _names(files[1:])
    systems = [(name, one.texts) for name, one in zip(names, pairs.systems, strict=True)]
    card = mark(pairs.references, systems, pairs.groups, normalizer=normalize)
    worst = [_line(pairs, names, at, normalize) for at in card.worst(errors)] if lines else []
    notes = list(_notes(pairs, names, card.groups))
    for note in notes:
        click.secho("warning: ", fg="yellow", bold=True, nl=False, err=True)
        click.echo(note, err=True)
    if as_json:
        print_json(card.most(errors).to_dict() | {"notes": notes, "lines": worst})
    else:
        print_card(card.most(errors), worst, out)


def _line(pairs: Pairs, names: Sequence[str], at: int, normalize: Normalizer) -> dict[str, Any]:
    """An utterance and what each system made of it, word by word."""
    from misheard.scoring.scorecard import aligned  # noqa: PLC0415 - as above

    heard = (system.texts[at] for system in pairs.systems)
    return {
        "id": pairs.ids[at],
        "systems": {
            name: aligned(pairs.references[at], text, normalizer=normalize)
            for name, text in zip(names, heard, strict=True)
        },
    }


def _files(paths: Sequence[str], formats: str, keys: str, group_by: str) -> list[TranscriptFile]:
    from misheard.transcripts.files import transcript_file  # noqa: PLC0415 - as above
    from misheard.transcripts.pairs import EACH  # noqa: PLC0415 - as above

    each = zip(paths, _each(formats, paths, "--format"), _each(keys, paths, "--keys"), strict=True)
    return [
        transcript_file(
            path,
            format_name,
            key=key,
            # The groups are those of the references.
            group_key=group_by if not number and group_by != EACH else "",
        )
        for number, (path, format_name, key) in enumerate(each)
    ]


def _each(given: str, paths: Sequence[str], option: str) -> list[str]:
    values = given.split(",")
    if len(values) == 1:
        return values * len(paths)
    if len(values) != len(paths):
        raise click.UsageError(f"{option} names {len(values)} for {len(paths)} files.")
    return [value.strip() for value in values]


def _names(files: Sequence[TranscriptFile]) -> list[str]:
    """What tells the systems apart: the file's name, its whole path or the key."""
    for called in (
        [Path(file.path).name for file in files],
        [file.path for file in files],
        [file.key for file in files],
    ):
        if len(set(called)) == len(called):
            return called
    return [str(number) for number, _ in enumerate(files, 1)]


def _notes(pairs: Pairs, names: Sequence[str], groups: int) -> Iterator[str]:
    """What has to be known about the figures."""
    total = len(pairs.references)
    for name, system in zip(names, pairs.systems, strict=True):
        if system.missing:
            yield (
                f"{system.missing} of {total} utterances are missing in {name}: all their words "
                "count as deleted."
            )
        if system.surplus:
            yield f"{system.surplus} in {name} have no reference, so they do not count."
    if pairs.with_alternatives:
        yield (
            f"{pairs.with_alternatives} references offer alternatives, as {{ uh / um }}; only the "
            "first of them counts as right."
        )
    if groups == 1 and total > 1:
        yield (
            "All utterances are of one group, so no interval and no test can be had. If each "
            "stands alone: --group-by utterance."
        )
