"""Log-mel features, the same in training and in serving.

faster-whisper's extractor computes them in numpy; Transformers' would bring torch into a server.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from misheard.speech.context import SAMPLES_PER_POSITION

if TYPE_CHECKING:
    from numpy.typing import NDArray


def log_mel(samples: NDArray[np.float32], positions: int, *, bins: int = 80) -> NDArray[np.float32]:
    """Whisper's log-mel spectrogram of `samples` (16 kHz, mono) in a window of `positions`.

    The clip is cut or padded with silence to the window before the transform, as Whisper does it.
    Shape (bins, 2 × positions).
    """
    wanted = positions * SAMPLES_PER_POSITION
    padded = np.zeros(wanted, np.float32)
    padded[: len(samples)] = samples[:wanted]
    features: NDArray[np.float32] = _extractor(bins)(padded, padding=0)
    return features.astype(np.float32, copy=False)


@cache
def _extractor(bins: int) -> Callable[..., NDArray[np.float32]]:
    from faster_whisper.feature_extractor import FeatureExtractor  # noqa: PLC0415 - loads PyAV

    made: Callable[..., NDArray[np.float32]] = FeatureExtractor(feature_size=bins)
    return made
