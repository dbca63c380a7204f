from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from misheard import audio
from misheard.errors import ModelCorruptError, UnsupportedModelError
from misheard.speech.convert import (
    read_variables,
    to_ctranslate2,
    to_transformers,
    transformers_state,
)
from misheard.speech.features import log_mel
from misheard.speech.whisper import DecodingOptions, WhisperTranscriber


def copy_cut(source: Path, target: Path, missing: int) -> Path:
    """A copy of the file that lacks its last bytes."""
    shutil.copyfile(source, target)
    with target.open("r+b") as file:
        file.truncate(source.stat().st_size - missing)
    return target


def test_every_variable_is_read_with_its_shape_and_type(bundled: Path) -> None:
    variables = read_variables(bundled / "model.bin")
    assert variables["decoder/embeddings/weight"].shape == (51_864, 384)
    assert variables["decoder/embeddings/weight"].dtype == np.float16
    assert variables["encoder/layer_0/self_attention/linear_0/weight"].shape == (3 * 384, 384)
    assert variables["encoder/position_encodings/encodings"].shape == (1_500, 384)


@pytest.mark.parametrize("missing", [1, 2, 10, 50, 1_000, 30_000_000])
def test_a_truncated_file_is_refused(bundled: Path, tmp_path: Path, missing: int) -> None:
    path = copy_cut(bundled / "model.bin", tmp_path / "model.bin", missing)
    with pytest.raises(ModelCorruptError):
        read_variables(path)


@pytest.mark.parametrize("size", [0, 1, 4, 10, 30])
def test_a_file_that_ends_in_its_header_is_refused(
    bundled: Path, tmp_path: Path, size: int
) -> None:
    with (bundled / "model.bin").open("rb") as file:
        (tmp_path / "model.bin").write_bytes(file.read(size))
    with pytest.raises(ModelCorruptError):
        read_variables(tmp_path / "model.bin")


def test_a_file_that_goes_on_too_long_is_refused(bundled: Path, tmp_path: Path) -> None:
    shutil.copyfile(bundled / "model.bin", tmp_path / "model.bin")
    with (tmp_path / "model.bin").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ModelCorruptError, match="goes on after"):
        read_variables(tmp_path / "model.bin")


def test_another_version_and_another_model_are_named(bundled: Path, tmp_path: Path) -> None:
    with (bundled / "model.bin").open("rb") as file:
        head = file.read(200)
    path = tmp_path / "model.bin"
    path.write_bytes(b"\x07" + head[1:])
    with pytest.raises(UnsupportedModelError, match="binary version 7"):
        read_variables(path)
    path.write_bytes(head.replace(b"WhisperSpec", b"XhisperSpec"))
    with pytest.raises(UnsupportedModelError, match="XhisperSpec"):
        read_variables(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelCorruptError):
        read_variables(tmp_path / "model.bin")


def test_stacked_projections_are_taken_apart(bundled: Path) -> None:
    variables = read_variables(bundled / "model.bin")
    state = transformers_state(variables)
    stacked = variables["encoder/layer_1/self_attention/linear_0/weight"].astype(np.float32)
    layer = "model.encoder.layers.1.self_attn"
    parts = [state[f"{layer}.{name}_proj.weight"] for name in "qkv"]
    assert np.array_equal(np.concatenate(parts), stacked)
    assert f"{layer}.k_proj.bias" not in state
    both = variables["decoder/layer_2/attention/linear_1/bias"].astype(np.float32)
    value_bias = state["model.decoder.layers.2.encoder_attn.v_proj.bias"]
    assert np.array_equal(value_bias, both[384:])
    assert not both[:384].any()
    assert all(value.dtype == np.float32 for value in state.values())


@pytest.mark.model
def test_all_167_tensors_load_strictly(bundled: Path, converted: Path) -> None:
    import torch  # noqa: PLC0415
    from transformers import WhisperForConditionalGeneration  # noqa: PLC0415

    model, report = WhisperForConditionalGeneration.from_pretrained(
        converted, output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    state = transformers_state(read_variables(bundled / "model.bin"))
    loaded = model.state_dict()
    assert len(state) == 167
    assert loaded.keys() - state.keys() == {"proj_out.weight"}
    for name, value in state.items():
        assert torch.equal(loaded[name], torch.from_numpy(value)), name


@pytest.mark.model
def test_there_and_back_gives_the_same_bits(bundled: Path, converted: Path, tmp_path: Path) -> None:
    to_ctranslate2(converted, tmp_path / "back")
    before = read_variables(bundled / "model.bin")
    after = read_variables(tmp_path / "back" / "model.bin")
    weights = {name for name, value in before.items() if value.ndim and value.dtype == np.float16}
    assert len(weights) > 100
    assert weights <= after.keys()
    for name in before.keys() & after.keys():
        assert before[name].dtype == after[name].dtype, name
        assert before[name].tobytes() == after[name].tobytes(), name
    assert (tmp_path / "back" / "tokenizer.json").exists()


@pytest.mark.model
def test_quantised_weights_are_refused(converted: Path, tmp_path: Path) -> None:
    to_ctranslate2(converted, tmp_path / "int8", quantization="int8")
    with pytest.raises(UnsupportedModelError, match="quantised"):
        to_transformers(tmp_path / "int8", tmp_path / "back")
    assert not (tmp_path / "back").exists()


@pytest.mark.model
def test_both_engines_hear_the_same(bundled: Path, converted: Path, short_prompts: list) -> None:
    """Raw text, no normalising, greedy, in the full window, on 50 clips: 98 % or more agree."""
    import torch  # noqa: PLC0415
    from transformers import AutoTokenizer, WhisperForConditionalGeneration  # noqa: PLC0415

    clips = [audio.decode(prompt.data) for prompt in short_prompts[:50]]
    served = WhisperTranscriber(
        bundled,
        options=DecodingOptions(beam_size=1, batch_size=10, max_tokens=40),
        compute_type="float32",
    )
    theirs = [transcript.text for transcript in served.transcribe(clips)]
    tokenizer = AutoTokenizer.from_pretrained(converted)
    model = WhisperForConditionalGeneration.from_pretrained(converted).eval()
    ours: list[str] = []
    for start in range(0, 50, 10):
        features = np.stack([log_mel(clip.samples, 1_500) for clip in clips[start : start + 10]])
        with torch.inference_mode():
            tokens = model.generate(
                torch.from_numpy(features), max_new_tokens=40, num_beams=1, do_sample=False
            )
        ours += [text.strip() for text in tokenizer.batch_decode(tokens, skip_special_tokens=True)]
    different = [pair for pair in zip(theirs, ours, strict=True) if pair[0] != pair[1]]
    assert len(different) <= 0.02 * 50, different
    assert sum(map(bool, ours)) > 40
