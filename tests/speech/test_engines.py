from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from misheard import audio
from misheard.errors import (
    MisheardError,
    ModelCorruptError,
    ModelNotFoundError,
    UnsupportedModelError,
)
from misheard.speech.engines import open_transcriber
from misheard.speech.families.known import MODEL_TYPES, family_class
from misheard.speech.sources import served_directory
from tests.tiny_speech import ctc_model, moonshine_model


@pytest.mark.model
def test_the_files_tell_the_engine(bundled: Path, tmp_path: Path) -> None:
    from misheard.speech.transformers import TransformersTranscriber  # noqa: PLC0415
    from misheard.speech.whisper import WhisperTranscriber  # noqa: PLC0415

    whisper = open_transcriber(bundled, name="whisper", threads=1)
    hubert = open_transcriber(ctc_model(tmp_path / "hubert", "hubert"), threads=1)
    moonshine = open_transcriber(moonshine_model(tmp_path / "moonshine", ["Press one."]))
    assert isinstance(whisper, WhisperTranscriber)
    assert isinstance(hubert, TransformersTranscriber)
    assert isinstance(moonshine, TransformersTranscriber)
    assert [one.name for one in (whisper, hubert, moonshine)] == ["whisper", "hubert", "moonshine"]


def test_whisper_is_served_without_torch(bundled: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from misheard.speech.engines import open_transcriber\n"
        f"open_transcriber(Path({str(bundled)!r}))\n"
        "print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ended.stdout.strip() == "[]", ended.stderr


@pytest.mark.parametrize(
    ("config", "error", "reason"),
    [
        (None, ModelNotFoundError, r"neither model\.bin"),
        ("{", ModelCorruptError, r"config\.json"),
        ("[]", ModelCorruptError, r"config\.json"),
        ("{}", UnsupportedModelError, "model_type ''.*hubert.*moonshine.*wav2vec2.*whisper"),
        ('{"model_type": "bert"}', UnsupportedModelError, "model_type 'bert'"),
        ('{"model_type": "whisper"}', UnsupportedModelError, "served_directory"),
    ],
)
def test_what_is_no_known_model_is_an_error_that_says_so(
    config: str | None, error: type[MisheardError], reason: str, tmp_path: Path
) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config, encoding="utf-8")
    with pytest.raises(error, match=reason):
        open_transcriber(tmp_path)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_every_kind_in_the_table_has_its_class(model_type: str) -> None:
    from misheard.speech.families.family import SpeechModel  # noqa: PLC0415

    found = family_class(model_type, where="here")
    assert issubclass(found, SpeechModel)
    assert not found.__abstractmethods__


@pytest.mark.model
def test_a_directory_is_served_as_it_is_without_what_is_no_part_of_it(tmp_path: Path) -> None:
    made = ctc_model(tmp_path / "model")
    expected = {path.name for path in made.iterdir()}
    for name in ("pytorch_model.bin", "training_args.bin", "README.md", "tf_model.h5"):
        (made / name).write_text("no part of it", encoding="utf-8")
    clip = audio.from_samples(np.zeros(16_000, np.float32), 16_000)
    with served_directory(str(made)) as directory:
        assert {path.name for path in directory.iterdir()} == expected
        (heard,) = open_transcriber(directory).transcribe([clip])
    (alone,) = open_transcriber(made).transcribe([clip])
    assert heard.text == alone.text


@pytest.mark.model
@pytest.mark.parametrize("damage", ["weights", "tokenizer", "head", "type"])
def test_a_directory_that_could_not_be_served_is_refused_at_once(
    damage: str, tmp_path: Path
) -> None:
    made = ctc_model(tmp_path / "model")
    if damage == "weights":
        (made / "model.safetensors").unlink()
    elif damage == "tokenizer":
        (made / "vocab.json").unlink()
    elif damage == "head":
        from transformers import AutoModelForCTC  # noqa: PLC0415

        AutoModelForCTC.from_pretrained(made).wav2vec2.save_pretrained(made)
    else:
        config = json.loads((made / "config.json").read_text(encoding="utf-8"))
        (made / "config.json").write_text(json.dumps(config | {"model_type": "bert"}), "utf-8")
    with pytest.raises(MisheardError), served_directory(str(made)):
        pass


@pytest.mark.model
def test_a_processor_saved_as_one_file_is_complete(tmp_path: Path) -> None:
    from transformers import AutoProcessor  # noqa: PLC0415

    made = ctc_model(tmp_path / "model")
    processor = AutoProcessor.from_pretrained(made)
    (made / "preprocessor_config.json").unlink()
    processor.save_pretrained(made)
    with served_directory(str(made)) as directory:
        assert "processor_config.json" in {path.name for path in directory.iterdir()}
        open_transcriber(directory)
