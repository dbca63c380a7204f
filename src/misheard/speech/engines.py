"""The engine that serves a model's files, told from the files themselves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from misheard.errors import ModelNotFoundError, UnsupportedModelError
from misheard.speech.families.known import CONFIG_NAME, WHISPER, model_type
from misheard.speech.pickled import require_safe_weights
from misheard.speech.transcriber import Transcriber

if TYPE_CHECKING:
    from misheard.speech.whisper import DecodingOptions


def open_transcriber(
    directory: Path,
    *,
    name: str = "",
    options: DecodingOptions | None = None,
    compute_type: str = "int8",
    threads: int = 0,
    device: str = "cpu",
) -> Transcriber:
    """Load the model in `directory`, whatever it is, once.

    CTranslate2's format (`model.bin`) is a Whisper; Transformers' (`config.json`) is what its
    `model_type` says. `compute_type` is CTranslate2's: Transformers computes in float32. `threads`
    of 0 means one a core; `device` is "cpu", or "cuda" for an NVIDIA GPU. Loads the library of that
    engine only, and opens no pickle.

    Raises `ModelNotFoundError`, `ModelCorruptError` or `UnsupportedModelError`, and
    `InvalidSettingError` where there is no such device.
    """
    if (directory / "model.bin").exists():
        from misheard.speech.whisper import WhisperTranscriber  # noqa: PLC0415 - CTranslate2

        return WhisperTranscriber(
            directory,
            name=name,
            options=options,
            compute_type=compute_type,
            threads=threads,
            device=device,
        )
    if directory.is_dir():
        require_safe_weights(directory)
    if not (directory / CONFIG_NAME).exists():
        raise ModelNotFoundError(
            f"'{directory}' holds neither model.bin (CTranslate2) nor {CONFIG_NAME} (Transformers)."
        )
    if model_type(directory) == WHISPER:
        raise UnsupportedModelError(
            f"'{directory}' is a Whisper in Transformers' format, which is converted before it is "
            "served: make a workspace with it, or call misheard.speech.sources.served_directory."
        )
    from misheard.speech.transformers import TransformersTranscriber  # noqa: PLC0415 - torch

    return TransformersTranscriber(
        directory, name=name, options=options, threads=threads, device=device
    )
