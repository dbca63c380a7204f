"""Load a model's files and transcribe a few clips, in a process that nothing was loaded in before.

    python -m misheard.gates.probe < order.json

The order has `directory`, `clips` (paths), `options`, `compute_type`, `device`, `threads`. The last
line of standard output is JSON: `load_s`, and `clips`, each with `text`, `latency_s` and
`duration_s`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from misheard import audio
from misheard.speech.engines import open_transcriber
from misheard.speech.whisper import DecodingOptions


def probe(order: dict[str, Any]) -> dict[str, Any]:
    """Do what the order says; each clip by itself, as a caller would be served."""
    started = time.perf_counter()
    engine = open_transcriber(
        Path(order["directory"]),
        name="probe",
        options=DecodingOptions(**order["options"]),
        compute_type=order["compute_type"],
        device=order["device"],
        threads=order["threads"],
    )
    load_s = time.perf_counter() - started
    clips = []
    for path in order["clips"]:
        clip = audio.read(path)
        started = time.perf_counter()
        (transcript,) = engine.transcribe([clip])
        clips.append(
            {
                "text": transcript.text,
                "latency_s": round(time.perf_counter() - started, 4),
                "duration_s": round(clip.duration_s, 3),
            }
        )
    return {"load_s": round(load_s, 4), "clips": clips}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(probe(json.load(sys.stdin))) + "\n")
