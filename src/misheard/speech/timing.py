"""When each word and each segment of a transcript was said."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from misheard.speech.context import POSITIONS_PER_S
from misheard.speech.transcriber import Segment, Word

if TYPE_CHECKING:
    from misheard.speech.long_audio import Stretch

# As OpenAI's `transcribe`: a mark that opens goes to the word after it, one that closes before it.
_OPENING = "\"'“¿([{-"
_CLOSING = "\"'.。,，!！?？:：”)]}、"
_LONG_WORD_S = 0.7


def segments_of(
    tokens: Sequence[int],
    stretch: Stretch,
    *,
    first_timestamp: int,
    decode: Callable[[list[int]], str],
) -> Iterator[Segment]:
    """The segments that the model's own timestamp tokens bound, on the clock of the clip.

    A timestamp token counts steps of 20 ms from `first_timestamp` on. One that is never closed ends
    with its stretch.
    """
    start_s = 0.0
    text: list[int] = []
    for token in [*tokens, None]:
        if token is not None and token < first_timestamp:
            text.append(token)
            continue
        step = None if token is None else (token - first_timestamp) / POSITIONS_PER_S
        end_s = stretch.duration_s if step is None else min(step, stretch.duration_s)
        if spoken := decode(text).strip() if text else "":
            yield Segment(
                text=spoken,
                tokens=tuple(text),
                window_s=stretch.on_clip_s(0.0),
                start_s=stretch.on_clip_s(start_s),
                end_s=stretch.on_clip_s(end_s, part=stretch.part_at(end_s, is_end=True)),
            )
        start_s, text = end_s, []


def words_of(alignment: Any, tokens: list[int], stretch: Stretch, tokenizer: Any) -> list[Word]:
    """The words of `tokens` with their times, on the clock of the clip.

    `alignment` is what CTranslate2's `Whisper.align` made of them, `tokenizer` faster-whisper's.
    A word lasts from the first moment that is its first token's to the first that is the next
    word's; its probability is the mean of its tokens'.
    """
    from faster_whisper.transcribe import merge_punctuations  # noqa: PLC0415 - loads PyAV

    texts, parts = tokenizer.split_to_word_tokens([*tokens, tokenizer.eot])
    bounds = np.cumsum([0, *map(len, parts[:-1])])
    of_token = np.array([token for token, _ in alignment.alignments])
    at_position = np.array([position for _, position in alignment.alignments])
    begins = at_position[np.diff(of_token, prepend=-1) > 0] / POSITIONS_PER_S
    found = [
        {
            "word": text,
            "tokens": part,
            "start": float(begins[first]),
            "end": float(begins[last]),
            "probability": float(np.mean(alignment.text_token_probs[first:last])),
        }
        for text, part, first, last in zip(texts, parts, bounds[:-1], bounds[1:], strict=False)
    ]
    _without_lead(found)
    merge_punctuations(found, _OPENING, _CLOSING)
    return [_word(one, stretch) for one in found if one["word"].strip()]


def _without_lead(found: list[dict[str, Any]]) -> None:
    """Take the silence before it from the first word: an alignment begins at 0 by construction.

    As faster-whisper: no longer than twice the usual word, and that is 0.7 s at most.
    """
    lengths_s = [one["end"] - one["start"] for one in found[1:] if one["end"] > one["start"]]
    usual_s = min(_LONG_WORD_S, float(np.median(lengths_s))) if lengths_s else _LONG_WORD_S
    found[0]["start"] = max(found[0]["start"], found[0]["end"] - 2 * usual_s)


def _word(found: dict[str, Any], stretch: Stretch) -> Word:
    start_s, end_s = (min(found[end], stretch.duration_s) for end in ("start", "end"))
    part = stretch.part_at((start_s + end_s) / 2)
    return Word(
        text=found["word"].strip(),
        start_s=stretch.on_clip_s(start_s, part=part),
        end_s=stretch.on_clip_s(end_s, part=part),
        probability=round(found["probability"], 4),
    )
