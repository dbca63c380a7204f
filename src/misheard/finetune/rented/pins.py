"""The versions that a model is trained with: on a rented machine the same as here."""

from __future__ import annotations

from importlib import metadata

PINNED = (
    "accelerate",
    "ctranslate2",
    "numpy",
    "peft",
    "safetensors",
    "tokenizers",
    "torch",
    "transformers",
)
"""What decides how a model is trained and written; of the rest any version will do."""


def pins() -> str:
    """A line of pip's constraints for each library of `PINNED` that is installed here.

    What stands behind a plus, as in 2.13.0+cpu, says how a library was built, and is left out: the
    machine takes the build for its own processors, of the same version.
    """
    lines = []
    for name in PINNED:
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        lines.append(f"{name}=={version.partition('+')[0]}\n")
    return "".join(lines)
