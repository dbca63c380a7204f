from __future__ import annotations

from difflib import SequenceMatcher
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer as Words

from misheard import audio
from misheard.scoring.normalize import normalizer
from misheard.speech.long_audio import Stretch
from misheard.speech.timing import segments_of, words_of
from misheard.speech.transcriber import Segment, Transcript
from misheard.speech.whisper import DecodingOptions, WhisperTranscriber

FIRST = 1_000
"""The token for 0 s, where a token below is the letter with that number."""


def letters(tokens: list[int]) -> str:
    return "".join(map(chr, tokens))


def segments(*tokens: int | str, seconds: float = 10.0) -> list[Segment]:
    """Segments of times (in steps of 20 ms) and words."""
    numbers: list[int] = []
    for token in tokens:
        numbers += map(ord, token) if isinstance(token, str) else [FIRST + token]
    stretch = Stretch(samples=np.zeros(round(16_000 * seconds), np.float32))
    return list(segments_of(numbers, stretch, first_timestamp=FIRST, decode=letters))


def test_pairs_of_timestamps_bound_segments() -> None:
    hello, press = (tuple(map(ord, text)) for text in (" Hello.", " Press one."))
    assert segments(0, " Hello.", 50, 60, " Press one.", 100) == [
        Segment(start_s=0.0, end_s=1.0, text="Hello.", tokens=hello),
        Segment(start_s=1.2, end_s=2.0, text="Press one.", tokens=press),
    ]


def test_what_is_not_closed_ends_with_its_clip_and_nothing_ends_later() -> None:
    (open_end,) = segments(10, " Hello.", seconds=3.0)
    assert (open_end.start_s, open_end.end_s, open_end.text) == (0.2, 3.0, "Hello.")
    assert segments(0, " Hello.", 400, seconds=3.0)[0].end_s == 3.0


def test_without_words_there_is_no_segment() -> None:
    assert segments() == []
    assert segments(0, 50) == []
    assert segments(0, "  ", 50) == []


def test_one_timestamp_between_two_segments_bounds_both() -> None:
    assert [(one.start_s, one.end_s) for one in segments(0, " a", 50, " b", 100)] == [
        (0.0, 1.0),
        (1.0, 2.0),
    ]


@pytest.fixture(scope="module")
def splitter(bundled: Any) -> Any:
    from faster_whisper.tokenizer import Tokenizer  # noqa: PLC0415

    return Tokenizer(Words.from_file(str(bundled / "tokenizer.json")), multilingual=False)


def aligned(splitter: Any, text: str, starts: list[int], *, seconds: float = 3.0) -> list[tuple]:
    """Words of `text`, whose tokens begin at these positions of 20 ms; the last is the end's."""
    tokens = splitter.encode(text)
    assert len(starts) == len(tokens) + 1
    found = SimpleNamespace(
        alignments=list(enumerate(starts)), text_token_probs=[0.5] * len(tokens)
    )
    stretch = Stretch(samples=np.zeros(round(16_000 * seconds), np.float32))
    made = words_of(found, tokens, stretch, splitter)
    assert all(word.probability == 0.5 for word in made)
    return [(word.text, word.start_s, word.end_s) for word in made]


def test_a_word_lasts_to_the_next_and_takes_its_punctuation(splitter: Any) -> None:
    assert aligned(splitter, " Press one, now", [0, 20, 40, 45, 70]) == [
        ("Press", 0.0, 0.4),
        ("one,", 0.4, 0.8),
        ("now", 0.9, 1.4),
    ]


def test_silence_before_the_first_word_is_not_part_of_it(splitter: Any) -> None:
    assert aligned(splitter, " Press one", [0, 120, 140]) == [
        ("Press", 1.6, 2.4),
        ("one", 2.4, 2.8),
    ]
    assert aligned(splitter, " Press", [0, 120]) == [("Press", 1.0, 2.4)]


def test_no_word_ends_after_its_clip(splitter: Any) -> None:
    assert aligned(splitter, " one", [0, 60], seconds=1.0) == [("one", 0.0, 1.0)]


# With real speech.

TIMED = DecodingOptions(timestamps=True, word_timestamps=True)
PLAIN = normalizer("whisper-english")


def spoken_by(prompts: list, name: str) -> np.ndarray:
    return audio.decode(next(p for p in prompts if p.id == name).data).samples


def in_order(made: Transcript, duration_s: float) -> None:
    for parts in (made.words, made.segments):
        times = [moment for part in parts for moment in (part.start_s, part.end_s)]
        assert times == sorted(times)
        assert 0 <= times[0] <= times[-1] <= duration_s
    assert all(0 < word.probability <= 1 for word in made.words)
    assert PLAIN(" ".join(word.text for word in made.words)) == PLAIN(made.text)
    assert PLAIN(" ".join(one.text for one in made.segments)) == PLAIN(made.text)


@pytest.mark.model
def test_words_move_with_the_audio(bundled: Any, phone_prompts: list) -> None:
    samples = spoken_by(phone_prompts, "vm-enter-num-to-call")
    late = np.concatenate([np.zeros(32_000, np.float32), samples])
    clips = [audio.from_samples(one, 16_000) for one in (samples, late)]
    early, later = WhisperTranscriber(bundled, options=TIMED).transcribe(clips)
    in_order(early, clips[0].duration_s)
    in_order(later, clips[1].duration_s)
    assert [word.text for word in early.words] == [word.text for word in later.words]
    for before, after in zip(early.words[1:], later.words[1:], strict=True):
        assert after.start_s - before.start_s == pytest.approx(2.0, abs=0.1)
    assert later.words[0].start_s > 1.5


@pytest.mark.model
def test_times_of_long_audio_are_those_of_the_clip(bundled: Any, phone_prompts: list) -> None:
    """The same speech twice, 40 s apart: the second time, everything is 40 s later."""
    samples = spoken_by(phone_prompts, "demo-echotest")
    gap = np.zeros(16_000 * 40 - len(samples), np.float32)
    clip = audio.from_samples(np.concatenate([samples, gap, samples]), 16_000)
    (made,) = WhisperTranscriber(bundled, options=TIMED).transcribe([clip])
    in_order(made, clip.duration_s)
    first = [word for word in made.words if word.end_s < 30]
    second = [word for word in made.words if word.start_s >= 40]
    assert len(first) + len(second) == len(made.words) > 100
    same = SequenceMatcher(
        a=[PLAIN(word.text) for word in first],
        b=[PLAIN(word.text) for word in second],
        autojunk=False,
    ).get_matching_blocks()
    later_by = [
        second[block.b + i].start_s - first[block.a + i].start_s
        for block in same
        for i in range(block.size)
    ]
    assert len(later_by) >= 0.75 * len(first)
    assert np.median(later_by) == pytest.approx(40.0, abs=0.05)
    assert np.quantile(np.abs(np.array(later_by) - 40.0), 0.9) < 0.3
    assert {round(one.start_s / 40) for one in made.segments} == {0, 1}
    # What is known of a window stands in each of its segments.
    windows = {one.window_s: one for one in made.segments}
    assert len(windows) > 1
    assert min(one.avg_logprob or 0.0 for one in windows.values()) == made.avg_logprob
    assert max(one.no_speech_prob or 0.0 for one in windows.values()) == made.no_speech_prob
    assert {one.temperature for one in made.segments} == {0.0}
    assert all(one.tokens and one.compression_ratio for one in made.segments)


@pytest.mark.model
def test_words_do_not_depend_on_who_shares_the_batch(bundled: Any, short_prompts: list) -> None:
    """All as long as each other: there CTranslate2 would let one's padding move another's words."""
    clips = [
        audio.from_samples(np.pad(one, (0, 48_000 - len(one))), 16_000)
        for one in (audio.decode(prompt.data).samples for prompt in short_prompts[:4])
    ]
    options = DecodingOptions(word_timestamps=True)
    engine = WhisperTranscriber(bundled, options=options)
    together = [made.words for made in engine.transcribe(clips)]
    assert [engine.transcribe([clip])[0].words for clip in clips] == together
    assert sum(map(len, together)) >= 4
