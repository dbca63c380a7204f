"""Load a version so that it is ready for its first request: open, warm, check."""

from __future__ import annotations

import time

import numpy as np

from misheard.audio import SAMPLE_RATE_HZ, Audio
from misheard.errors import GateRefusedError, ModelCorruptError
from misheard.scoring.normalize import require_text
from misheard.speech.transcriber import Transcriber
from misheard.workspace import Workspace

_WARM_S = (1.0, 5.0, 25.0)
"""Lengths that take windows of different sizes, where a model has such."""
_CHECKED_S = 1.0
_TONE_HZ = 440.0


def load(workspace: Workspace, version_id: str) -> Transcriber:
    """The engine of a version, as quick at its first request as at its hundredth.

    Its files match their hashes, and it has transcribed silence and tones. Raises a
    `MisheardError` that says what is wrong with it.
    """
    engine = workspace.open_engine(version_id)
    engine.transcribe([_tone(seconds) for seconds in _WARM_S])
    slowest_s = 0.0
    for clip in (_silence(_CHECKED_S), _tone(_CHECKED_S)):
        started = time.perf_counter()
        heard = engine.transcribe([clip])
        slowest_s = max(slowest_s, time.perf_counter() - started)
        if len(heard) != 1:
            raise ModelCorruptError(f"{version_id} made {len(heard)} transcripts of one clip.")
        require_text(heard[0].text, what=version_id)
    allowed_s = workspace.settings.deployment.max_latency_s
    if slowest_s > allowed_s:
        raise GateRefusedError(
            f"{version_id} took {slowest_s:.2f} s for a clip of {_CHECKED_S:g} s, and "
            f"deployment.max_latency_s allows {allowed_s:g} s."
        )
    return engine


def _silence(seconds: float) -> Audio:
    return Audio(samples=np.zeros(round(seconds * SAMPLE_RATE_HZ), np.float32), sha256="")


def _tone(seconds: float) -> Audio:
    times = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return Audio(samples=(0.3 * np.sin(2 * np.pi * _TONE_HZ * times)).astype("f4"), sha256="")
