"""Which kinds of models there are: the one table that serving and training look in.

A new kind is one file beside this one, with a subclass of `SpeechModel`, and its line here.
"""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from misheard.errors import ModelCorruptError, ModelNotFoundError, UnsupportedModelError

if TYPE_CHECKING:
    from misheard.speech.families.family import SpeechModel

CONFIG_NAME = "config.json"
WHISPER = "whisper"
"""The one `model_type` that is converted, for CTranslate2 serves it several times faster."""

_FAMILIES = {
    "moonshine": "misheard.speech.families.moonshine:Moonshine",
    **dict.fromkeys(
        (
            "data2vec-audio",
            "hubert",
            "sew",
            "unispeech",
            "unispeech-sat",
            "wav2vec2",
            "wav2vec2-conformer",
            "wavlm",
        ),
        "misheard.speech.families.ctc:CtcModel",
    ),
}
"""`model_type` of the model's `config.json` → the class that runs such models."""

MODEL_TYPES = tuple(sorted(_FAMILIES))


def model_type(directory: Path) -> str:
    """The `model_type` that the Transformers model in `directory` gives itself; "" for none.

    Raises `ModelNotFoundError` where there is no config.json, `ModelCorruptError` where it is none.
    """
    path = directory / CONFIG_NAME
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        return str(config.get("model_type", ""))
    except FileNotFoundError as error:
        raise ModelNotFoundError(f"'{directory}' holds no {CONFIG_NAME}.") from error
    except (OSError, ValueError, AttributeError) as error:
        raise ModelCorruptError(f"'{path}' is no model's configuration ({error}).") from error


def family_class(found: str, *, where: str | Path) -> type[SpeechModel]:
    """The class that runs models of type `found`; imports torch.

    Raises `UnsupportedModelError`, which names the types that are known.
    """
    if found not in _FAMILIES:
        known = ", ".join((*MODEL_TYPES, WHISPER))
        raise UnsupportedModelError(f"'{where}' is of model_type '{found}'. Known are: {known}.")
    module, _, name = _FAMILIES[found].partition(":")
    made: type[SpeechModel] = getattr(import_module(module), name)
    return made
