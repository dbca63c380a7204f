from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import pytest

from misheard import audio
from misheard.errors import InvalidSettingError, ModelCorruptError
from misheard.finetune.paths import JobPaths
from misheard.finetune.recipe import Recipe
from misheard.scoring.normalize import normalizer
from misheard.scoring.score import score
from misheard.speech.whisper import DecodingOptions, WhisperTranscriber, compression_ratio

pytestmark = pytest.mark.model


class Watched:
    """CTranslate2's own model; what it is given is written down on the way."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.shapes: list[tuple[int, ...]] = []
        self.searches = 0
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def encode(self, features: Any, **more: Any) -> Any:
        self.shapes.append(tuple(features.shape))
        with self._counted():
            return self._model.encode(features, **more)

    def generate(self, *given: Any, **more: Any) -> Any:
        self.searches += 1
        with self._counted():
            return self._model.generate(*given, **more)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        yield
        with self._lock:
            self._now -= 1


def watch(transcriber: WhisperTranscriber) -> Watched:
    watched = Watched(transcriber._windows._model)
    transcriber._windows._model = watched
    return watched


@pytest.fixture(scope="module")
def base(bundled: Path) -> WhisperTranscriber:
    return WhisperTranscriber(bundled, name="base")


@pytest.fixture(scope="module")
def small(tuned: JobPaths) -> WhisperTranscriber:
    return WhisperTranscriber(tuned.model)


@pytest.fixture(scope="module")
def clips(short_prompts: list) -> list[audio.Audio]:
    return [audio.decode(prompt.data) for prompt in short_prompts[20:36]]


def texts(transcriber: WhisperTranscriber, clips: list[audio.Audio]) -> list[str]:
    return [transcript.text for transcript in transcriber.transcribe(clips)]


def test_real_speech_is_heard_with_its_signals(
    base: WhisperTranscriber, phone_prompts: list
) -> None:
    prompt = next(p for p in phone_prompts if p.id == "vm-goodbye")
    (made,) = base.transcribe([audio.decode(prompt.data)])
    assert made.text.lower().strip(".!") == "goodbye"
    assert made.avg_logprob is not None
    assert -1.5 < made.avg_logprob < 0
    assert made.no_speech_prob is not None
    assert 0 <= made.no_speech_prob < 0.5
    assert made.compression_ratio == compression_ratio(made.text)
    assert made.latency_s >= made.compute_s > 0


def test_a_window_is_silent_when_both_thresholds_say_so(
    bundled: Path, clips: list[audio.Audio]
) -> None:
    """Any speech is likelier than 0 to be none, and any text less likely than certain."""

    def heard(no_speech: float, logprob: float) -> str:
        options = DecodingOptions(no_speech_threshold=no_speech, logprob_threshold=logprob)
        return texts(WhisperTranscriber(bundled, options=options), clips[:1])[0]

    assert heard(0.0, 1.0) == ""
    assert heard(1.0, 1.0) != ""
    assert heard(0.0, -99.0) != ""


def test_an_untrained_model_is_always_given_30_s(bundled: Path, clips: list[audio.Audio]) -> None:
    transcriber = WhisperTranscriber(bundled, options=DecodingOptions(max_tokens=2))
    watched = watch(transcriber)
    transcriber.transcribe(clips[:3])
    assert {shape[1:] for shape in watched.shapes} == {(80, 3_000)}
    assert sum(shape[0] for shape in watched.shapes) == 3


def test_a_model_with_a_card_is_given_the_window_that_it_has_learnt(
    tuned: JobPaths, clips: list[audio.Audio]
) -> None:
    once = DecodingOptions(max_tokens=2, retry_margin_s=0.0)
    transcriber = WhisperTranscriber(tuned.model, options=once)
    watched = watch(transcriber)
    transcriber.transcribe(clips)
    context = Recipe(epochs=1).context
    expected = sorted(2 * context.positions(clip.duration_s) for clip in clips)
    assert sorted(shape[2] for shape in watched.shapes for _ in range(shape[0])) == expected
    assert max(expected) < 3_000


def test_without_its_card_the_same_model_gets_30_s(
    tuned: JobPaths, clips: list[audio.Audio], tmp_path: Path
) -> None:
    shutil.copytree(tuned.model, tmp_path / "model")
    (tmp_path / "model" / "misheard.json").unlink()
    transcriber = WhisperTranscriber(tmp_path / "model", options=DecodingOptions(max_tokens=2))
    watched = watch(transcriber)
    transcriber.transcribe(clips[:1])
    assert watched.shapes == [(1, 80, 3_000)]


def test_text_does_not_depend_on_order_or_on_who_shares_the_batch(
    small: WhisperTranscriber, tuned: JobPaths, clips: list[audio.Audio]
) -> None:
    together = texts(small, clips)
    assert texts(small, clips[::-1])[::-1] == together
    alone = WhisperTranscriber(tuned.model, options=DecodingOptions(batch_size=1))
    assert texts(alone, clips) == together


def test_text_of_the_untrained_model_does_not_depend_on_the_batch_either(
    base: WhisperTranscriber, clips: list[audio.Audio]
) -> None:
    together = texts(base, clips[:6])
    assert [texts(base, [clip])[0] for clip in clips[:6]] == together


def test_threads_may_share_a_transcriber(
    small: WhisperTranscriber, clips: list[audio.Audio]
) -> None:
    expected = texts(small, clips)
    heard: dict[int, list[str]] = {}

    def listen(number: int) -> None:
        heard[number] = texts(small, clips)

    threads = [threading.Thread(target=listen, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard == dict.fromkeys(range(3), expected)


@pytest.mark.parametrize("name", ["demo-congrats", "demo-instruct"])
def test_a_clip_over_30_s_is_cut_and_its_text_joined_in_order(
    bundled: Path, phone_prompts: list, name: str
) -> None:
    prompt = next(p for p in phone_prompts if p.id == name)
    transcriber = WhisperTranscriber(bundled)
    watched = watch(transcriber)
    done: list[int] = []
    (made,) = transcriber.transcribe([audio.decode(prompt.data)], progress=done.append)
    assert sum(shape[0] for shape in watched.shapes) >= 2
    assert {shape[2] for shape in watched.shapes} == {3_000}
    assert sum(done) == 1
    # Words in the wrong order would be errors: swapping two of three parts gives over 50 %.
    wer = score([prompt.reference], [made.text], normalizer=normalizer("whisper-english")).wer
    assert wer < 0.25, made.text


def test_long_and_short_clips_come_back_in_their_places(
    small: WhisperTranscriber, phone_prompts: list, clips: list[audio.Audio]
) -> None:
    long = audio.decode(next(p for p in phone_prompts if p.id == "priv-callee-options").data)
    quiet = audio.from_samples(np.zeros(16_000 * 31, np.float32), 16_000)
    done: list[int] = []
    mixed = [clips[0], long, clips[1], quiet, clips[2]]
    heard = [t.text for t in small.transcribe(mixed, progress=done.append)]
    assert sum(done) == 5
    assert heard[3] == ""
    assert [heard[0], heard[2], heard[4]] == texts(small, clips[:3])
    assert len(heard[1].split()) > 40


def test_no_clips_give_no_transcripts(base: WhisperTranscriber) -> None:
    assert base.transcribe([]) == []


def test_a_wider_beam_hears_as_well(bundled: Path, clips: list[audio.Audio]) -> None:
    wide = WhisperTranscriber(bundled, options=DecodingOptions(beam_size=4))
    assert all(transcript.avg_logprob < 0 for transcript in wide.transcribe(clips[:2]))


@pytest.mark.parametrize("damage", ["empty", "truncated model", "no tokenizer", "broken tokenizer"])
def test_a_directory_that_is_no_model_is_refused(
    bundled: Path, tmp_path: Path, damage: str
) -> None:
    if damage != "empty":
        for path in bundled.iterdir():
            (tmp_path / path.name).symlink_to(path)
    if damage == "truncated model":
        (tmp_path / "model.bin").unlink()
        with (bundled / "model.bin").open("rb") as file:
            (tmp_path / "model.bin").write_bytes(file.read(1_000_000))
    elif damage.endswith("tokenizer"):
        (tmp_path / "tokenizer.json").unlink()
        if damage == "broken tokenizer":
            (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelCorruptError):
        WhisperTranscriber(tmp_path)


def test_a_compute_type_that_is_not_there_is_an_error_that_names_those_that_are(
    bundled: Path,
) -> None:
    for compute_type in ("float8", "float16"):
        if compute_type in ctranslate2.get_supported_compute_types("cpu"):
            continue
        reason = rf"compute_type = '{compute_type}', and .*'cpu'.* float32, .*default"
        with pytest.raises(InvalidSettingError, match=reason):
            WhisperTranscriber(bundled, compute_type=compute_type)
    WhisperTranscriber(bundled, compute_type="auto")


def test_too_little_memory_for_a_model_is_no_damage(bundled: Path) -> None:
    code = (
        "import ctranslate2, resource, sys\n"
        "from pathlib import Path\n"
        "from misheard.errors import MemoryFullError\n"
        "from misheard.speech.whisper import WhisperTranscriber\n"
        "held = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
        "most = held + (20 << 20)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (most, most))\n"
        "try:\n"
        "    WhisperTranscriber(Path(sys.argv[1]))\n"
        "except MemoryFullError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(bundled)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "not enough memory for this" in done.stdout, done.stderr
    assert "beside what is on speech.device = 'cpu' already" in done.stdout


def test_a_damaged_card_is_refused(bundled: Path, tmp_path: Path) -> None:
    for path in bundled.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "misheard.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelCorruptError, match=r"misheard\.json"):
        WhisperTranscriber(tmp_path)
