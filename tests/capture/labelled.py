"""Traffic whose errors have a pattern, and what people say of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import Engine

from misheard.capture.captured import Captured
from misheard.capture.digest import Digest, DigestRules
from misheard.capture.inferences import InferenceLog
from misheard.capture.suspicions import Suspicions
from misheard.cases.cases import Cases
from misheard.cases.records import Correction

AT = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
SENTENCE = "press one to hear your messages or hold the line for an agent who can help you today"
WORDS = SENTENCE.split()


def told(number: int, **fields: Any) -> Captured:
    known: dict[str, Any] = {
        "audio": f"{number}.wav",
        "text": f"number {number}",
        "heard_at": AT + timedelta(seconds=number),
        "duration_s": 2.0,
        "avg_logprob": -0.2,
    }
    return Captured(**known | fields)


def traffic(count: int, *, first: int = 0) -> tuple[list[Captured], list[bool]]:
    """What is wrong here is short and fast, as names and numbers are; long texts are right."""
    random = np.random.default_rng(first)
    items, wrong = [], []
    for number in range(first, first + count):
        words = int(random.integers(1, 17))
        fast = float(random.uniform(8, 25))
        text = " ".join(WORDS[:words])
        items.append(
            told(
                number,
                client_id=f"call {number}",
                text=text,
                duration_s=len(text) / fast,
                avg_logprob=-float(random.gamma(2.0, 0.15)),
                speaker_group=f"group {number % 15}",
            )
        )
        wrong.append(bool(random.random() < 1 / (1 + np.exp(0.8 * words - 0.15 * fast - 1))))
    return items, wrong


def correct(
    cases: Cases, log: InferenceLog, wrong: Sequence[bool], *, method: str = "manual"
) -> None:
    """A person says of the newest so many what was spoken; `wrong` in the order of capture."""
    rows = reversed(log.recent(limit=len(wrong)))
    cases.correct(
        [
            Correction(
                inference_id=row.id,
                reference="other words" if is_wrong else row.text,
                author="ann",
                method=method,
            )
            for row, is_wrong in zip(rows, wrong, strict=True)
        ]
    )


def digest(engine: Engine, suspicions: Suspicions, **rules: Any) -> Digest:
    return Digest(engine, rules=DigestRules(**rules), scorer=suspicions.score)
