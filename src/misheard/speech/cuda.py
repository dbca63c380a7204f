"""The devices that a model is computed on, and what NVIDIA's needs besides its driver."""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from functools import cache
from pathlib import Path

from misheard.errors import InvalidSettingError

CPU, CUDA = "cpu", "cuda"
_CUBLAS = "libcublas.so.12"
"""What CTranslate2's wheels (4.x) load when they first multiply."""


def require_cuda(devices: int) -> None:
    """Raise `InvalidSettingError` where a library sees no GPU: `devices` is how many it sees."""
    if devices < 1:
        raise InvalidSettingError(
            'speech.device = "cuda", and there is no NVIDIA GPU here, or its driver is missing '
            '(nvidia-smi tells); speech.device = "cpu" needs none.'
        )


def require_cuda_of_ctranslate2() -> None:
    """Raise `InvalidSettingError` where CTranslate2 cannot compute on a GPU."""
    import ctranslate2  # noqa: PLC0415 - 200 ms; see `WhisperWindows`

    require_cuda(ctranslate2.get_cuda_device_count())
    require_cublas()


@cache
def require_cublas() -> None:
    """Have the library loaded that CTranslate2 multiplies with on a GPU, from wherever it lies.

    Raises `InvalidSettingError` where it is neither on the system nor installed as a package.
    """
    if sys.platform != "linux":
        return
    # Named by CTranslate2 without a folder: what is loaded already under this name is taken.
    for found in (_CUBLAS, *map(str, _packaged())):
        try:
            ctypes.CDLL(found, mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
        return
    raise InvalidSettingError(
        f'speech.device = "cuda" needs {_CUBLAS}, which is not here: '
        "pip install 'misheard[cuda]', or NVIDIA's CUDA 12."
    )


def _packaged() -> list[Path]:
    """The library and what it needs, in the order to load them, as NVIDIA's wheel has them."""
    try:
        spec = importlib.util.find_spec("nvidia.cublas")
    except ModuleNotFoundError:
        return []
    folders = spec.submodule_search_locations if spec else None
    return [Path(folder) / "lib" / _CUBLAS for folder in folders or ()]
