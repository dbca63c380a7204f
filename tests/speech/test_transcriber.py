from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from misheard import audio
from misheard.errors import InvalidTranscriptError
from misheard.speech.transcriber import FunctionTranscriber


@pytest.fixture
def clips(tone: Callable[..., bytes]) -> list[audio.Audio]:
    return [audio.decode(tone(seconds=seconds)) for seconds in (0.2, 0.1, 0.3)]


def test_a_function_is_called_once_a_clip_in_order_with_its_samples(
    clips: list[audio.Audio],
) -> None:
    seen: list[tuple[int, np.dtype]] = []

    def listen(samples: np.ndarray) -> str:
        seen.append((len(samples), samples.dtype))
        return f"{len(samples)} samples"

    done: list[int] = []
    transcripts = FunctionTranscriber(listen).transcribe(clips, progress=done.append)
    assert [t.text for t in transcripts] == ["3200 samples", "1600 samples", "4800 samples"]
    assert seen == [(n, np.dtype(np.float32)) for n in (3_200, 1_600, 4_800)]
    assert done == [1, 1, 1]
    assert all(t.latency_s >= t.compute_s > 0 for t in transcripts)


def test_a_mapping_with_a_transcript_is_taken(clips: list[audio.Audio]) -> None:
    transcriber = FunctionTranscriber(lambda samples: {"transcript": "hello", "confidence": 0.9})
    assert transcriber.transcribe(clips[:1])[0].text == "hello"


@pytest.mark.parametrize(
    "answer", [None, 5, b"bytes", ["text"], {"text": "hello"}, "\ud800", "\0"], ids=ascii
)
def test_an_answer_that_is_no_text_is_refused_by_the_name_of_the_function(
    clips: list[audio.Audio], answer: object
) -> None:
    transcriber = FunctionTranscriber(lambda samples: answer, name="my ear")  # type: ignore[arg-type, return-value]
    with pytest.raises(InvalidTranscriptError, match="my ear"):
        transcriber.transcribe(clips)


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_a_coroutine_is_refused_with_what_to_do(clips: list[audio.Audio]) -> None:
    async def listen(samples: np.ndarray) -> str:
        return "hello"

    with pytest.raises(InvalidTranscriptError, match="pass a plain function"):
        FunctionTranscriber(listen).transcribe(clips)  # type: ignore[arg-type]


def test_it_has_the_name_of_the_function_or_of_the_class() -> None:
    def listen(samples: np.ndarray) -> str:
        return ""

    class Ear:
        def __call__(self, samples: np.ndarray) -> str:
            return ""

    assert FunctionTranscriber(listen).name == "listen"
    assert FunctionTranscriber(Ear()).name == "Ear"
    assert FunctionTranscriber(listen, name="mine").name == "mine"


def test_no_clips_give_no_transcripts() -> None:
    assert FunctionTranscriber(lambda samples: "x").transcribe([]) == []
