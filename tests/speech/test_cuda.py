"""On an NVIDIA GPU what is heard is heard there; without one there is a clear word."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import ctranslate2
import pytest
import torch

from misheard.audio import Audio, decode
from misheard.errors import InvalidSettingError
from misheard.speech.cuda import require_cuda
from misheard.speech.decoding import DecodingOptions
from misheard.speech.engines import open_transcriber
from tests.conftest import Prompt
from tests.tiny_speech import ctc_model, moonshine_model

pytestmark = pytest.mark.model
FLOAT32_APART = 0.02
"""Of log-probabilities: the GPU adds up in another order, and in fewer bits inside a product."""
HAS_GPU = ctranslate2.get_cuda_device_count() > 0
on_a_gpu = pytest.mark.skipif(not HAS_GPU, reason="there is no NVIDIA GPU here")


@pytest.fixture(scope="module")
def clips(short_prompts: list[Prompt]) -> list[Audio]:
    return [decode(prompt.data) for prompt in short_prompts[:24]]


def whisper(bundled: Path, folder: Path) -> Path:
    return bundled


def ctc(bundled: Path, folder: Path) -> Path:
    return ctc_model(folder / "model")


def moonshine(bundled: Path, folder: Path) -> Path:
    return moonshine_model(folder / "model", ["press one", "for sales"])


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU here")
@pytest.mark.parametrize("made", [whisper, ctc, moonshine])
def test_without_a_gpu_there_is_a_clear_word(
    made: Callable[[Path, Path], Path], bundled: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidSettingError, match="there is no NVIDIA GPU here"):
        open_transcriber(made(bundled, tmp_path), device="cuda")


def test_one_device_is_enough() -> None:
    require_cuda(1)


def loading(package: Path) -> subprocess.CompletedProcess[str]:
    """Whether a fresh process, without CUDA but for what is in `package`, has the library."""
    code = "from misheard.speech.cuda import require_cublas; require_cublas()"
    system = {"PATH": os.environ["PATH"], "PYTHONPATH": str(package)}
    return subprocess.run(
        [sys.executable, "-c", code], env=system, capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(HAS_GPU, reason="there may be CUDA here")
def test_the_library_that_multiplies_may_come_as_a_package(tmp_path: Path) -> None:
    missing = loading(tmp_path)
    assert missing.returncode == 1 and "pip install 'misheard[cuda]'" in missing.stderr
    folder = tmp_path / "nvidia" / "cublas" / "lib"
    folder.mkdir(parents=True)
    # Another library will do to see that it is found and loaded.
    (some,) = Path(ctranslate2.__file__).parents[1].glob("ctranslate2.libs/libgomp-*")
    shutil.copy(some, folder / "libcublas.so.12")
    assert loading(tmp_path).returncode == 0


@on_a_gpu
@pytest.mark.parametrize("made", [whisper, ctc, moonshine])
def test_a_gpu_hears_what_the_processor_hears(
    made: Callable[[Path, Path], Path], bundled: Path, tmp_path: Path, clips: list[Audio]
) -> None:
    model = made(bundled, tmp_path)
    options = DecodingOptions(retry_margin_s=0.0)
    here = open_transcriber(model, compute_type="float32", options=options).transcribe(clips)
    before = torch.cuda.memory_allocated()
    engine = open_transcriber(model, compute_type="float32", options=options, device="cuda")
    there = engine.transcribe(clips)
    if made is not whisper:
        assert torch.cuda.memory_allocated() > before
    assert [one.text for one in there] == [one.text for one in here]
    for one, other in zip(there, here, strict=True):
        assert one.avg_logprob == pytest.approx(other.avg_logprob, abs=FLOAT32_APART)


@on_a_gpu
@pytest.mark.parametrize("compute_type", ["float16", "int8_float16", "bfloat16"])
def test_in_fewer_bits_it_hears_nearly_the_same(
    compute_type: str, bundled: Path, clips: list[Audio]
) -> None:
    here = open_transcriber(bundled, compute_type="float32").transcribe(clips)
    options = DecodingOptions(word_timestamps=True)
    there = open_transcriber(
        bundled, compute_type=compute_type, options=options, device="cuda"
    ).transcribe(clips)
    same = sum(one.text == other.text for one, other in zip(there, here, strict=True))
    assert same >= 0.8 * len(clips)
    assert all(one.words for one in there if one.text)
