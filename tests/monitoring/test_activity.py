from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from misheard import audio
from misheard.capture.inferences import Heard, InferenceLog
from misheard.monitoring.activity import Monitor
from misheard.speech.transcriber import Transcript

ON_BOTH_DATABASES = True


def test_activity_sums_by_version_busiest_first(
    engine: Engine, log: InferenceLog, tone: Callable[..., bytes]
) -> None:
    data = tone(seconds=0.25)

    def heard(logprob: float | None, latency_s: float) -> Heard:
        transcript = Transcript(text="x", avg_logprob=logprob, latency_s=latency_s, compute_s=0.1)
        return Heard(data=data, audio=audio.decode(data), transcript=transcript)

    log.record("v-2", [heard(None, 0.3)])
    log.record("v-1", [heard(-1.0, 0.1), heard(-3.0, 0.2)])
    first, second = Monitor(engine).activity()
    assert (first.version_id, first.inferences, first.audio_s) == ("v-1", 2, 0.5)
    assert first.mean_logprob == pytest.approx(-2.0)
    assert first.mean_latency_s == pytest.approx(0.15)
    assert (second.version_id, second.inferences, second.mean_logprob) == ("v-2", 1, None)


def test_without_inferences_there_is_no_activity(engine: Engine) -> None:
    assert Monitor(engine).activity() == []
