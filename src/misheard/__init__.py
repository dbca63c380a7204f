"""misheard: closes the loop for speech-to-text in production.

The public names below are imported when they are first used, so that `import misheard` is quick and
loads neither torch nor a database.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from misheard.audio import Recording
    from misheard.cases.records import Correction
    from misheard.datasets.samples import Sample
    from misheard.errors import MisheardError
    from misheard.finetune.recipe import Recipe
    from misheard.speech.transcriber import FunctionTranscriber, Transcriber, Transcript
    from misheard.workspace import Workspace

__version__ = "0.1.0"
__all__ = [
    "Correction",
    "FunctionTranscriber",
    "MisheardError",
    "Recipe",
    "Recording",
    "Sample",
    "Transcriber",
    "Transcript",
    "Workspace",
    "__version__",
]

_HOMES = {
    "Correction": "misheard.cases.records",
    "FunctionTranscriber": "misheard.speech.transcriber",
    "MisheardError": "misheard.errors",
    "Recipe": "misheard.finetune.recipe",
    "Recording": "misheard.audio",
    "Sample": "misheard.datasets.samples",
    "Transcriber": "misheard.speech.transcriber",
    "Transcript": "misheard.speech.transcriber",
    "Workspace": "misheard.workspace",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'misheard' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
