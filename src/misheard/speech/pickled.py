"""Weights that run code when they are read, which are never opened."""

from __future__ import annotations

from pathlib import Path

from misheard.errors import UnsupportedModelError

_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz")


def require_safe_weights(directory: Path) -> None:
    """Raise `UnsupportedModelError` where the only weights in `directory` may be a pickle.

    Beside weights as safetensors, or CTranslate2's `model.bin`, other files do no harm: nobody
    opens them.
    """
    names = [path.name for path in sorted(directory.iterdir())]
    if "model.bin" in names or any(name.endswith(".safetensors") for name in names):
        return
    for name in names:
        if name.lower().endswith(_PICKLED):
            raise UnsupportedModelError(
                f"'{directory / name}' may be a pickle, which can run code when it is opened, so "
                "it is not. Where you trust it, load it with Transformers on a machine that may be "
                "lost and call save_pretrained, which writes safetensors."
            )
