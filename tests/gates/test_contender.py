"""A plain function as one side of a comparison."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from misheard import audio
from misheard.blobs.directory import DirectoryBlobs
from misheard.datasets.datasets import Dataset, Datasets
from misheard.datasets.samples import Sample
from misheard.errors import BlobNotFoundError
from misheard.gates.contender import from_function
from misheard.gates.validation import Validations
from tests.conftest import Prompt
from tests.gates.conftest import TEXTS


def number_of(path: str) -> int:
    return round(soundfile.info(path).frames / 160) - 10


def perfect(path: str) -> str:
    return TEXTS[number_of(path)]


def test_a_function_is_given_a_wav_file_that_any_reader_opens(
    datasets: Datasets, blobs: DirectoryBlobs, short_prompts: list[Prompt]
) -> None:
    # Headerless GSM, which hardly any reader knows.
    prompts = short_prompts[:3]
    dataset = datasets.add_evaluation(
        "phone", [Sample(data=one.data, reference=one.reference) for one in prompts]
    )
    seen: list[Path] = []

    def look(path: str) -> str:
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
        assert path.endswith(".wav")
        # Gone after the call, so that a large set does not fill the disk.
        assert list(Path(path).parent.iterdir()) == [Path(path)]
        seen.append(Path(path))
        return f"{info.frames}"

    rows = datasets.rows(dataset)
    heard = from_function("look", look, blobs).hypothesise(rows, lambda _: None)
    assert [one.error for one in heard] == [None] * 3
    frames = [len(audio.decode(blobs.get_bytes(row.audio_sha256)).samples) for row in rows]
    assert [int(one.text) for one in heard] == frames
    assert not any(path.exists() or path.parent.exists() for path in seen)


def test_a_str_and_a_dict_with_a_transcript_are_text(
    validations: Validations, held_out: Dataset
) -> None:
    plain = validations.contender("plain", perfect)
    mapped = validations.contender("mapped", lambda path: {"transcript": perfect(path), "x": 1})
    made = validations.compare(mapped, plain, held_out)
    assert (made.baseline.errors, made.candidate.errors) == (0, 0)


def test_a_function_passes_or_fails_like_a_version(
    validations: Validations, held_out: Dataset, versions: tuple[str, str]
) -> None:
    old, new = versions
    mine = validations.contender("mine", perfect)
    made = validations.run(mine, old, held_out)
    assert made.verdict.passed
    assert (made.candidate_id, made.baseline_id) == ("mine", old)
    assert validations.get(made.id) == made
    assert not validations.run(mine, new, held_out).verdict.passed


def raising(path: str) -> str:
    raise RuntimeError(f"no luck with {number_of(path)}")


def unprintable(path: str) -> str:
    class Odd(Exception):
        def __str__(self) -> str:
            raise ValueError

    raise Odd


async def coroutine(path: str) -> str:
    return ""


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (raising, "RuntimeError: no luck with "),
        (unprintable, "Odd: <exception str() failed>"),
        (lambda path: None, "expected str, got NoneType"),
        (lambda path: {"text": "press"}, "expected str, got dict"),
        (lambda path: {"transcript": None}, "expected str, got NoneType"),
        (lambda path: b"press", "expected str, got bytes"),
        (lambda path: "a\0b", "NUL"),
        (lambda path: "\ud800", "surrogates not allowed"),
        (lambda: "takes nothing", "TypeError"),
        (coroutine, "is a coroutine"),
    ],
)
@pytest.mark.filterwarnings("ignore:coroutine")
def test_a_function_that_fails_has_missed_every_word(
    validations: Validations, held_out: Dataset, function: Any, error: str
) -> None:
    good, bad = validations.contender("good", perfect), validations.contender("bad", function)
    made = validations.run(bad, good, held_out)
    assert made.comparison.candidate.deletions == made.comparison.words == 36
    assert made.comparison.candidate.cer == 1.0
    assert made.comparison.utterances == 12
    assert not made.verdict.passed
    kept = validations.utterances(made)
    assert all(error in one["candidate_error"] for one in kept)
    assert not any("baseline_error" in one for one in kept)


def test_one_failure_counts_once_and_nothing_is_dropped(
    validations: Validations, held_out: Dataset
) -> None:
    def stumbles(path: str) -> str:
        if number_of(path) == 4:
            raise OSError("gone\0 \ud800")
        return perfect(path)

    good = validations.contender("good", perfect)
    made = validations.run(good, validations.contender("stumbles", stumbles), held_out)
    assert (made.comparison.utterances, made.comparison.baseline.errors) == (12, 3)
    kept = validations.utterances(made)
    errors = [one["baseline_error"] for one in kept if "baseline_error" in one]
    assert errors == ["OSError: gone \\ud800"]


def test_silence_is_no_failure_but_failing_on_silence_is(
    validations: Validations, datasets: Datasets, tone: Callable[..., bytes]
) -> None:
    silence = datasets.add_evaluation("silence", [Sample(data=tone(), reference="")])
    quiet = validations.contender("quiet", lambda path: "")
    made = validations.compare(validations.contender("bad", raising), quiet, silence)
    assert (made.baseline.insertions, made.candidate.insertions) == (0, 1)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_whoever_stops_the_run_stops_it(
    validations: Validations,
    held_out: Dataset,
    versions: tuple[str, str],
    stop: type[BaseException],
) -> None:
    def stopped(path: str) -> str:
        raise stop

    with pytest.raises(stop):
        validations.run(validations.contender("stopped", stopped), versions[0], held_out)
    assert validations.listed() == []


def test_a_recording_that_is_lost_is_no_failure_of_the_function(
    datasets: Datasets, blobs: DirectoryBlobs, held_out: Dataset
) -> None:
    rows = datasets.rows(held_out)
    blobs.delete(rows[0].audio_sha256)
    with pytest.raises(BlobNotFoundError):
        from_function("x", perfect, blobs).hypothesise(rows, lambda _: None)


def test_given_paths_and_arrays_are_what_the_function_gets(
    datasets: Datasets, blobs: DirectoryBlobs, held_out: Dataset, tmp_path: Path
) -> None:
    rows = datasets.rows(held_out)
    own = tmp_path / "call.gsm"
    samples = np.zeros(5, np.float32)
    seen: list[Any] = []
    contender = from_function(
        "x",
        lambda source: seen.append(source) or "text",  # type: ignore[func-returns-value]
        blobs,
        paths={rows[0].audio_sha256: own},
        arrays={rows[1].audio_sha256: samples},
    )
    contender.hypothesise(rows[:3], lambda _: None)
    assert seen[0] == str(own)
    assert seen[1] is samples
    assert str(seen[2]).endswith(".wav")


def test_each_recording_is_heard_once_and_every_row_is_reported(
    datasets: Datasets, blobs: DirectoryBlobs, tone: Callable[..., bytes]
) -> None:
    data = tone()
    samples = [Sample(data=data, reference="a"), Sample(data=data, reference="b")]
    rows = datasets.rows(datasets.add_evaluation("twice", samples))
    calls: list[str] = []
    contender = from_function("x", lambda path: calls.append(path) or "a", blobs)  # type: ignore[func-returns-value]
    done: list[int] = []
    first = contender.hypothesise(rows, done.append)
    assert contender.hypothesise(rows, done.append) == first
    assert len(calls) == 1
    assert sum(done) == 4
    assert first[0].compute_s > 0
