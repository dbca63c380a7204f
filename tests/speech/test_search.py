from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from misheard import audio
from misheard.finetune.paths import JobPaths
from misheard.speech.decoding import DecodingOptions
from misheard.speech.search import Attempt, Step, compression_ratio, kept
from misheard.speech.whisper import WhisperTranscriber
from misheard.speech.windows import Found
from tests.conftest import TUNING
from tests.speech.test_whisper import watch

OPTIONS = DecodingOptions()


def attempt(text: str = "Press one.", *, logprob: float = -0.2, quiet: float = 0.0) -> Attempt:
    found = Found(tokens=[1], avg_logprob=logprob, no_speech_prob=quiet)
    return Attempt(found=found, text=text, compression_ratio=compression_ratio(text), positions=192)


LOOP = "press one " * 40


def test_what_is_unlikely_or_goes_in_circles_has_failed() -> None:
    assert not attempt().has_failed(OPTIONS)
    assert attempt(logprob=-1.1).has_failed(OPTIONS)
    assert attempt(LOOP).has_failed(OPTIONS)


def test_silence_has_not_failed() -> None:
    assert attempt(logprob=-1.1, quiet=0.7).is_silent(OPTIONS)
    assert not attempt(logprob=-1.1, quiet=0.7).has_failed(OPTIONS)
    assert not attempt(logprob=-0.9, quiet=0.7).is_silent(OPTIONS)
    assert not attempt(logprob=-1.1, quiet=0.5).is_silent(OPTIONS)


def test_the_first_that_passes_is_kept_though_others_were_likelier() -> None:
    passed = attempt(logprob=-0.9)
    assert kept([attempt(LOOP, logprob=-0.1), passed], OPTIONS) is passed


def test_of_two_that_pass_the_likelier_is_kept_and_no_text_is_not_likely() -> None:
    doubtful, likelier = attempt(logprob=-0.7), attempt(logprob=-0.6)
    assert kept([doubtful, likelier], OPTIONS) is likelier
    assert kept([likelier, doubtful], OPTIONS) is likelier
    assert kept([doubtful, attempt("", logprob=0.0)], OPTIONS) is doubtful
    assert kept([doubtful, attempt(LOOP, logprob=-0.1)], OPTIONS) is doubtful


def test_what_is_doubtful_or_repeats_itself_is_worth_a_larger_window() -> None:
    def worth(positions: int, **values: float) -> bool:
        step = Step(positions=positions, temperature=0.0)
        return attempt(**values).is_worth(step, OPTIONS)  # type: ignore[arg-type]

    assert worth(1500, logprob=-0.6)
    assert not worth(1500, logprob=-0.4)
    last = Step(positions=1500, temperature=0.0, is_for_doubt=False)
    assert attempt(LOOP).is_worth(last, OPTIONS)
    assert not attempt(logprob=-0.6).is_worth(last, OPTIONS)
    # Silence is not; and the same window again only for what has failed.
    assert not worth(1500, logprob=-1.1, quiet=0.7)
    assert not worth(192, logprob=-0.6)
    assert worth(192, logprob=-1.1)


def test_where_all_fail_the_likeliest_is_kept_circles_last() -> None:
    loop, worse, better = attempt(LOOP), attempt(logprob=-2.0), attempt(logprob=-1.5)
    assert kept([loop, worse, better, replace(worse)], OPTIONS) is better
    shorter = attempt(LOOP * 2, logprob=-0.1)
    assert kept([loop, shorter], OPTIONS) is shorter


# With the real model.


@pytest.fixture(scope="module")
def small(tuned: JobPaths) -> WhisperTranscriber:
    return WhisperTranscriber(tuned.model)


@pytest.fixture(scope="module")
def clips(short_prompts: list) -> list[audio.Audio]:
    return [audio.decode(prompt.data) for prompt in short_prompts[20:28]]


UNLIMITED = DecodingOptions(
    retry_margin_s=30.0,
    logprob_threshold=-50.0,
    doubt_threshold=-50.0,
    compression_ratio_threshold=1e9,
)
"""Every text passes, beyond doubt."""
FAILING = replace(UNLIMITED, logprob_threshold=0.0, no_speech_threshold=1.0, max_tokens=12)
"""No text is certain, so every clip fails, and is never silent."""


@pytest.mark.model
def test_what_repeats_itself_is_heard_again_in_30_s_and_only_that(
    tuned: JobPaths, clips: list[audio.Audio]
) -> None:
    transcriber = WhisperTranscriber(tuned.model)
    watched = watch(transcriber)
    first = transcriber.transcribe(clips, options=UNLIMITED)
    windows = list(watched.shapes)
    assert all(shape[2] < 3_000 for shape in windows)
    limit = sorted(made.compression_ratio for made in first)[-4]
    repeating = [made.compression_ratio > limit for made in first]
    assert 1 <= sum(repeating) <= 3
    watched.shapes.clear()
    again = transcriber.transcribe(
        clips, options=replace(UNLIMITED, compression_ratio_threshold=limit)
    )
    full = [shape for shape in watched.shapes if shape[2] == 3_000]
    assert sum(shape[0] for shape in full) == sum(repeating)
    assert sorted(watched.shapes) == sorted(windows + full)
    for before, after, repeated in zip(first, again, repeating, strict=True):
        if not repeated:
            assert (before.text, before.avg_logprob) == (after.text, after.avg_logprob)
        else:
            assert after.compression_ratio <= limit or after.avg_logprob >= before.avg_logprob


@pytest.mark.model
def test_what_is_doubtful_is_heard_again_in_30_s_and_the_likelier_is_kept(
    tuned: JobPaths, clips: list[audio.Audio], tmp_path: Path
) -> None:
    transcriber = WhisperTranscriber(tuned.model)
    for file in tuned.model.iterdir():
        if file.name != "misheard.json":
            (tmp_path / file.name).symlink_to(file)
    in_own = transcriber.transcribe(clips, options=UNLIMITED)
    in_30_s = WhisperTranscriber(tmp_path).transcribe(clips, options=UNLIMITED)
    limit = sorted(made.avg_logprob or 0.0 for made in in_own)[3]
    watched = watch(transcriber)
    made = transcriber.transcribe(clips, options=replace(UNLIMITED, doubt_threshold=limit))
    full = [shape[0] for shape in watched.shapes if shape[2] == 3_000]
    assert sum(full) == 3
    for mine, whole, found in zip(in_own, in_30_s, made, strict=True):
        both = [mine, whole] if mine.avg_logprob < limit else [mine]
        likelier = max(both, key=lambda one: one.avg_logprob)
        assert found.text == likelier.text
        assert found.avg_logprob == pytest.approx(likelier.avg_logprob, abs=1e-3)


@pytest.mark.model
def test_what_fails_beyond_doubt_is_not_and_nor_is_anything_where_that_is_off(
    tuned: JobPaths, clips: list[audio.Audio]
) -> None:
    transcriber = WhisperTranscriber(tuned.model)
    watched = watch(transcriber)
    transcriber.transcribe(clips, options=FAILING)
    off = replace(FAILING, compression_ratio_threshold=0.1, doubt_threshold=0.0, retry_margin_s=0.0)
    transcriber.transcribe(clips, options=off)
    assert all(shape[2] < 600 for shape in watched.shapes)
    transcriber.transcribe(clips, options=replace(off, retry_margin_s=30.0))
    assert any(shape[2] == 3_000 for shape in watched.shapes)


@pytest.mark.model
def test_what_goes_round_in_circles_there_too_is_heard_in_30_s(
    tuned: JobPaths, clips: list[audio.Audio]
) -> None:
    transcriber = WhisperTranscriber(tuned.model)
    watched = watch(transcriber)
    circles = replace(UNLIMITED, compression_ratio_threshold=0.1, retry_margin_s=2.5)
    transcriber.transcribe(clips[:1], options=circles)
    (_, _, first), (_, _, second), (_, _, third) = watched.shapes
    assert (second, third) == (first + 2 * 125, 3_000)


@pytest.mark.model
def test_a_second_hearing_is_in_a_window_so_much_longer(
    tuned: JobPaths, clips: list[audio.Audio]
) -> None:
    transcriber = WhisperTranscriber(tuned.model)
    watched = watch(transcriber)
    doubting = replace(UNLIMITED, doubt_threshold=0.0, retry_margin_s=2.5)
    transcriber.transcribe(clips[:1], options=doubting)
    (_, _, first), (_, _, second) = watched.shapes
    assert second == first + 2 * 125


@pytest.mark.model
def test_the_retry_is_the_same_each_time(
    small: WhisperTranscriber, clips: list[audio.Audio]
) -> None:
    options = replace(FAILING, compression_ratio_threshold=0.1)
    one, other = (small.transcribe(clips[:3], options=options) for _ in range(2))
    assert [made.text for made in one] == [made.text for made in other]


@pytest.mark.model
def test_failures_are_drawn_anew_at_each_temperature_and_the_likeliest_is_kept(
    small: WhisperTranscriber, clips: list[audio.Audio]
) -> None:
    cold = small.transcribe(clips, options=FAILING)
    warm = small.transcribe(clips, options=replace(FAILING, temperatures=(0.0, 0.2, 1.0)))
    for before, after in zip(cold, warm, strict=True):
        assert after.avg_logprob >= before.avg_logprob
        assert after.compute_s > 0


@pytest.mark.model
def test_what_passes_at_once_is_never_drawn(
    small: WhisperTranscriber, clips: list[audio.Audio]
) -> None:
    warm = replace(UNLIMITED, temperatures=(0.0, 1.0))
    expected = [made.text for made in small.transcribe(clips, options=UNLIMITED)]
    assert [made.text for made in small.transcribe(clips, options=warm)] == expected


@pytest.mark.model
def test_silence_is_not_tried_again_and_has_no_words(bundled: object) -> None:
    transcriber = WhisperTranscriber(bundled)
    watched = watch(transcriber)
    quiet = audio.from_samples(np.zeros(16_000, np.float32), 16_000)
    options = DecodingOptions(
        no_speech_threshold=0.0,
        logprob_threshold=0.0,
        temperatures=(0.0, 0.4, 0.8),
        timestamps=True,
        word_timestamps=True,
    )
    (made,) = transcriber.transcribe([quiet], options=options)
    assert (made.text, made.words, made.segments) == ("", (), ())
    assert watched.searches == 1


@pytest.mark.model
def test_who_says_nothing_has_no_probability(
    bundled: Path, clips: list[audio.Audio], tmp_path: Path
) -> None:
    """As a model that has learnt silence may; this one is allowed no word at all."""
    for file in bundled.iterdir():
        (tmp_path / file.name).symlink_to(file)
    config = json.loads((bundled / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").unlink()
    mute = {"suppress_ids": list(range(50_256)), "suppress_ids_begin": []}
    (tmp_path / "config.json").write_text(json.dumps(config | mute), encoding="utf-8")
    options = DecodingOptions(word_timestamps=True)
    (made,) = WhisperTranscriber(tmp_path, options=options).transcribe(clips[:1])
    assert (made.text, made.avg_logprob, made.words) == ("", None, ())


@pytest.mark.model
def test_the_time_of_a_retry_is_charged_to_whom_it_was_for(
    tuned: JobPaths, clips: list[audio.Audio]
) -> None:
    """Clips that share a window, of which one repeats itself: 30 s cost several times that."""
    few = replace(UNLIMITED, max_tokens=12)
    transcriber = WhisperTranscriber(tuned.model, threads=1)  # two would have a batch each
    windows = [TUNING.context.positions(clip.duration_s) for clip in clips]
    (window, _), *_ = Counter(windows).most_common()
    alike = [clip for clip, its in zip(clips, windows, strict=True) if its == window]
    first = transcriber.transcribe(alike, options=few)
    low, high = (
        pick(range(len(first)), key=lambda i: first[i].compression_ratio) for pick in (min, max)
    )
    assert first[low].compression_ratio < first[high].compression_ratio
    limit = (first[low].compression_ratio + first[high].compression_ratio) / 2
    options = replace(few, compression_ratio_threshold=limit)
    # What holds the machine up in the window that both share is charged to both.
    for _ in range(10):
        made = transcriber.transcribe([alike[low], alike[high]], options=options)
        spent = [one.compute_s for one in made]
        assert sum(spent) == pytest.approx(made[0].latency_s)
        assert made[0].latency_s == made[1].latency_s
        if spent[1] > 1.5 * spent[0]:
            break
    assert spent[1] > 1.5 * spent[0]
