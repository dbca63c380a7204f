"""How much memory a training holds, in the process that a job really runs in."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest

from misheard import audio
from misheard.blobs.directory import DirectoryBlobs
from misheard.datasets.datasets import Purpose
from misheard.datasets.manifest import Row
from misheard.datasets.split import Split
from misheard.finetune.backends.local import LocalBackend
from misheard.finetune.train import settled_precision
from tests.conftest import Prompt, Studio, write_wav
from tests.finetune.conftest import quick

MOST_MB = 3_000
CLIP_S = 30
NATIVE = pytest.mark.skipif(
    settled_precision("auto") != "bfloat16",
    reason="this processor only imitates bfloat16, for minutes a step; misheard does not use it",
)


def filled(prompts: Sequence[Prompt], count: int) -> list[tuple[bytes, str]]:
    """Recordings of exactly 30 s, each full of speech, with what is said in them."""
    made, rest = [], iter(prompts)
    wanted = CLIP_S * audio.SAMPLE_RATE_HZ
    for _ in range(count):
        parts: list[np.ndarray] = []
        texts: list[str] = []
        for prompt in rest:
            samples = audio.decode(prompt.data).samples
            if sum(map(len, parts)) + len(samples) > wanted:
                break
            parts.append(samples)
            texts.append(prompt.reference)
        joined = np.concatenate(parts)
        silence = np.zeros(wanted - len(joined), np.float32)
        made.append((write_wav(np.concatenate([joined, silence])), " ".join(texts)))
    return made


@pytest.mark.model
@pytest.mark.parametrize("precision", [pytest.param("bfloat16", marks=NATIVE), "float32"])
def test_eight_clips_of_30_s_with_a_tiny_model_take_at_most_3_gb(
    studio: Studio, phone_prompts: list[Prompt], precision: str
) -> None:
    blobs = DirectoryBlobs(studio.root / "blobs")
    spoken = [prompt for prompt in phone_prompts if prompt.kind == "speech"]
    rows = [
        Row(
            audio_sha256=blobs.put_bytes(data),
            reference=text,
            split=Split.TRAIN,
            kind="error",
            speaker_group=str(number),
            duration_s=float(CLIP_S),
        )
        for number, (data, text) in enumerate(filled(spoken, 8))
    ]
    dataset = studio.datasets.add("long clips", Purpose.TRAINING, rows)
    jobs = studio.jobs(LocalBackend())
    job_id = f"job-long-{precision}"
    # The second step is the dearest: there AdamW has its moments.
    recipe = quick(
        epochs=2,
        batch_size=8,
        speed_range=0.0,
        full_window_share=1.0,
        learning_rate=1e-6,
        precision=precision,
        threads=0,
    )
    jobs.submit(job_id, studio.base.id, dataset, recipe)
    result = jobs.wait(job_id).result
    assert result is not None
    assert (result["training_clips"], result["left_out"]) == (8, 0)
    assert {event.steps for event in jobs.events(job_id) if event.phase == "train"} == {2}
    # Less than the weights with AdamW's moments would be no training of this model.
    assert 1_000 < result["peak_memory_mb"] <= MOST_MB


def test_what_is_told_is_the_memory_of_the_job_and_not_of_who_started_it() -> None:
    """A process inherits what getrusage(2) says from its parent, whatever the parent held."""
    held = np.ones(100_000_000)  # 800 MB, so that this process holds more than the child
    program = "from misheard.finetune.train import peak_memory_mb as m\nprint(m())\n"
    program += "import numpy\nheld = numpy.ones(50_000_000)\nprint(m())"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    before, after = map(int, done.stdout.split())
    assert held.nbytes == 800_000_000
    assert before < 700
    assert 350 <= after - before <= 450
