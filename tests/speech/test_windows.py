"""What needs a model of several languages, or a look below the transcriber."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from misheard import audio
from misheard.errors import InvalidSettingError
from misheard.finetune.paths import JobPaths
from misheard.speech import windows
from misheard.speech.context import Context, ModelCard
from misheard.speech.decoding import DecodingOptions
from misheard.speech.transcriber import Transcript
from misheard.speech.whisper import WhisperTranscriber
from tests.speech.test_whisper import watch

pytestmark = pytest.mark.model

SHORT = DecodingOptions(max_tokens=6)
DETECT = replace(SHORT, language="auto")


@pytest.fixture(scope="module")
def many(multilingual: Path) -> WhisperTranscriber:
    return WhisperTranscriber(multilingual, options=SHORT)


@pytest.fixture(scope="module")
def clips(short_prompts: list) -> list[audio.Audio]:
    return [audio.decode(prompt.data) for prompt in short_prompts[20:28]]


def told(made: list[Transcript]) -> list[tuple[str | None, str]]:
    return [(one.language, one.text) for one in made]


def test_a_language_that_is_given_is_used(
    many: WhisperTranscriber, clips: list[audio.Audio]
) -> None:
    in_english = many.transcribe(clips[:2])
    in_german = many.transcribe(clips[:2], options=replace(SHORT, language="de"))
    assert [made.language for made in in_english] == ["en", "en"]
    assert [made.language for made in in_german] == ["de", "de"]
    assert [made.avg_logprob for made in in_english] != [made.avg_logprob for made in in_german]


def test_a_language_that_is_found_out_is_that_of_the_clip(
    many: WhisperTranscriber, clips: list[audio.Audio]
) -> None:
    """Alone, together, in another order, and told beforehand, a clip comes out the same."""
    found = told(many.transcribe(clips, options=DETECT))
    assert told(many.transcribe(clips[::-1], options=DETECT))[::-1] == found
    for clip, (language, text) in zip(clips, found, strict=True):
        assert language is not None
        again = many.transcribe([clip], options=replace(SHORT, language=language))
        assert told(again) == [(language, text)]


def test_all_parts_of_a_long_clip_are_heard_in_one_language(
    many: WhisperTranscriber, phone_prompts: list, clips: list[audio.Audio]
) -> None:
    long = audio.decode(next(p for p in phone_prompts if p.id == "priv-callee-options").data)
    made = many.transcribe([clips[0], long, clips[1]], options=DETECT)
    again = many.transcribe([long], options=replace(SHORT, language=made[1].language or ""))
    assert told(again) == told([made[1]])
    assert told([made[0], made[2]]) == told(many.transcribe(clips[:2], options=DETECT))


def test_words_are_aligned_in_each_language(
    many: WhisperTranscriber, clips: list[audio.Audio]
) -> None:
    for language in ("auto", "en", "zh"):
        options = replace(SHORT, language=language, word_timestamps=True)
        made = many.transcribe(clips[:3], options=options)
        plain = many.transcribe(clips[:3], options=replace(SHORT, language=language))
        assert told(made) == told(plain)
        for one in made:
            joined = "".join(word.text for word in one.words)
            assert joined.replace(" ", "") == "".join(one.text.split())


@pytest.mark.parametrize("language", ["xx", "yue"])
def test_an_unknown_language_is_an_error_that_names_the_known(
    many: WhisperTranscriber, multilingual: Path, clips: list[audio.Audio], language: str
) -> None:
    options = DecodingOptions(language=language)
    with pytest.raises(InvalidSettingError, match=rf"speech\.language = '{language}'.*de, .*auto"):
        many.transcribe(clips[:1], options=options)
    with pytest.raises(InvalidSettingError, match=r"speech\.language"):
        WhisperTranscriber(multilingual, options=options)


def test_an_english_only_model_knows_english_only(bundled: Path, clips: list[audio.Audio]) -> None:
    engine = WhisperTranscriber(bundled, options=replace(DETECT, max_tokens=2))
    assert engine.transcribe(clips[:1])[0].language == "en"
    with pytest.raises(InvalidSettingError, match="'de', only en, or"):
        engine.transcribe(clips[:1], options=DecodingOptions(language="de"))


def test_a_window_as_long_as_the_spectrogram_is_high_is_no_spectrogram(
    multilingual: Path, clips: list[audio.Audio], tmp_path: Path
) -> None:
    """CTranslate2 would take 80 encoded positions for the 80 mel bins of a spectrogram."""
    for file in multilingual.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "misheard.json").unlink()
    context = Context(margin_s=0.0, round_to=80)
    ModelCard(base="-", dataset_id="-", recipe_id="-", context=context).write(tmp_path)
    clip = audio.from_samples(clips[0].samples[:16_000], 16_000)
    once = replace(SHORT, retry_margin_s=0.0)  # however doubtful: its weights are random
    transcriber = WhisperTranscriber(tmp_path, options=once)
    watched = watch(transcriber)
    (made,) = transcriber.transcribe([clip])
    assert watched.shapes == [(1, 80, 162)]
    context = Context(margin_s=0.0, round_to=81)
    ModelCard(base="-", dataset_id="-", recipe_id="-", context=context).write(tmp_path)
    (same,) = WhisperTranscriber(tmp_path, options=once).transcribe([clip])
    assert (made.text, made.avg_logprob) == (same.text, same.avg_logprob)


def test_nor_is_one_that_is_so_long_when_it_is_heard_again(
    multilingual: Path, clips: list[audio.Audio], tmp_path: Path
) -> None:
    for file in multilingual.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "misheard.json").unlink()
    context = Context(margin_s=0.0, round_to=60)
    ModelCard(base="-", dataset_id="-", recipe_id="-", context=context).write(tmp_path)
    clip = audio.from_samples(clips[0].samples[:16_000], 16_000)
    doubting = replace(
        SHORT, doubt_threshold=0.0, retry_margin_s=0.4, compression_ratio_threshold=1e9
    )
    transcriber = WhisperTranscriber(tmp_path, options=doubting)
    watched = watch(transcriber)
    transcriber.transcribe([clip])
    assert watched.shapes == [(1, 80, 120), (1, 80, 162)]


def test_as_many_tokens_are_written_as_were_allowed(
    many: WhisperTranscriber, clips: list[audio.Audio]
) -> None:
    """A random model never ends by itself; CTranslate2 itself counts by halves."""
    encoded = many._windows.encode([piece.stretch for piece in many._pieces(0, clips[0])], 192)
    for prompt in ("", "please enter the extension " * 200):
        for count in (1, 7, 100):
            options = DecodingOptions(max_tokens=count, prompt=prompt)
            (found,) = many._windows.search(encoded, ["en"], 0.0, options)
            assert len(found.tokens) == count


def test_long_windows_come_in_smaller_batches(bundled: Path, clips: list[audio.Audio]) -> None:
    """Of all that are decoded at the same time, four of 30 s are the most."""
    for threads, largest in ((1, 4), (2, 2)):
        options = DecodingOptions(max_tokens=2)
        transcriber = WhisperTranscriber(bundled, options=options, threads=threads)
        watched = watch(transcriber)
        transcriber.transcribe(clips[:6])
        sizes = [shape[0] for shape in watched.shapes]
        assert {shape[1:] for shape in watched.shapes} == {(80, 3_000)}
        assert (sum(sizes), max(sizes)) == (6, largest)


def test_so_do_those_that_doubtful_text_is_heard_in_again(
    tuned: JobPaths, clips: list[audio.Audio]
) -> None:
    """All of a batch may be doubtful, and a batch of short clips is large."""
    options = DecodingOptions(max_tokens=2, doubt_threshold=0.0, retry_margin_s=30.0)
    for threads, largest in ((1, 4), (2, 2)):
        transcriber = WhisperTranscriber(tuned.model, options=options, threads=threads)
        watched = watch(transcriber)
        transcriber.transcribe([clips[0]] * 12)
        again = [shape[0] for shape in watched.shapes if shape[2] == 3_000]
        assert (sum(again), max(again)) == (12, largest)


def test_a_small_model_decodes_a_batch_on_each_thread_and_says_the_same(
    bundled: Path, clips: list[audio.Audio]
) -> None:
    one = WhisperTranscriber(bundled, threads=1)
    two = WhisperTranscriber(bundled, threads=2)
    assert (one._windows.workers, two._windows.workers) == (1, 2)
    watched = watch(two)
    texts = [each.text for each in one.transcribe(clips[:4])]
    # What holds a thread up until the other has ended its batch, or both outside of one, is not
    # there every time.
    for _ in range(10):
        started = time.perf_counter()
        made = two.transcribe(clips[:4])
        spent_s = time.perf_counter() - started
        assert [each.text for each in made] == texts
        # What went on at the same time is counted once, and each waited for its own batch only.
        counted_s = sum(transcript.compute_s for transcript in made)
        assert counted_s <= spent_s
        assert all(transcript.latency_s <= spent_s for transcript in made)
        if watched.most_at_once == 2 and counted_s > 0.5 * spent_s:
            break
    assert watched.most_at_once == 2
    assert counted_s > 0.5 * spent_s


def test_a_large_model_has_all_threads_for_one_batch(
    bundled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "_SMALL_BYTES", 1 << 20)
    assert WhisperTranscriber(bundled, threads=2)._windows.workers == 1


def test_a_batch_that_fails_ends_the_call_with_its_error(
    bundled: Path, clips: list[audio.Audio], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = WhisperTranscriber(bundled, threads=2)

    def fails(*_: Any) -> Any:
        raise RuntimeError("no memory for this batch")

    monkeypatch.setattr(engine._windows, "encode", fails)
    with pytest.raises(RuntimeError, match="no memory for this batch"):
        engine.transcribe(clips[:6])
    monkeypatch.undo()
    assert engine.transcribe(clips[:1])[0].text


def test_a_prompt_and_hotwords_change_what_is_heard(
    bundled: Path, clips: list[audio.Audio]
) -> None:
    engine = WhisperTranscriber(bundled)
    (plain,) = engine.transcribe(clips[:1])
    (asked,) = engine.transcribe(clips[:1], options=DecodingOptions(prompt="VOICEMAIL. PRESS."))
    (hinted,) = engine.transcribe(clips[:1], options=DecodingOptions(hotwords="VOICEMAIL"))
    assert len({made.avg_logprob for made in (plain, asked, hinted)}) == 3
    assert engine.transcribe(clips[:1])[0].text == plain.text


def test_threads_may_ask_for_different_things_at_once(
    tuned: JobPaths, clips: list[audio.Audio]
) -> None:
    engine = WhisperTranscriber(tuned.model)
    long = audio.from_samples(np.concatenate([clip.samples for clip in clips * 4]), 16_000)
    assert long.duration_s > 30
    asked = [
        DecodingOptions(),
        DecodingOptions(word_timestamps=True),
        DecodingOptions(prompt="Voicemail."),
        DecodingOptions(timestamps=True, beam_size=3),
        DecodingOptions(hotwords="PBX", word_timestamps=True, batch_size=3),
        DecodingOptions(logprob_threshold=-0.5, retry_margin_s=30.0),
    ]

    def listen(options: DecodingOptions) -> list[tuple[object, ...]]:
        # One epoch teaches no end: it would write on and on.
        made = engine.transcribe([*clips[:2], long], options=replace(options, max_tokens=24))
        return [(one.text, one.words, one.segments, one.avg_logprob) for one in made]

    expected = [listen(options) for options in asked]
    heard: dict[int, list[tuple[object, ...]]] = {}

    def thread(number: int) -> None:
        heard[number] = listen(asked[number])

    threads = [threading.Thread(target=thread, args=(number,)) for number in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert [heard[number] for number in range(6)] == expected
