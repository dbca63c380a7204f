"""What the benchmark of suspicion judges, and how; its figures need the real model."""

from __future__ import annotations

import json

import numpy as np
from benchmarks.phone import NORMALIZER, prompts_of
from benchmarks.scoring import TRANSCRIPTS
from benchmarks.suspicion import AT, as_table, examples_of, gain, rankings, second_texts

from misheard.capture.captured import Captured
from misheard.capture.ranking import SHARES
from misheard.datasets.split import Split
from misheard.scoring.normalize import normalizer


def test_each_prompt_of_the_test_split_and_no_other_has_a_second_text() -> None:
    prompts = [*prompts_of(Split.TRAIN), *prompts_of(Split.TEST)]
    texts = second_texts(prompts)
    assert [text is not None for text in texts] == [one.split is Split.TEST for one in prompts]
    heard = [json.loads(line)["candidate"] for line in TRANSCRIPTS.open(encoding="utf-8")]
    assert set(texts) - {None} <= set(heard)


def test_the_second_model_heard_most_of_it_right() -> None:
    """So that texts and prompts belong together."""
    prompts = prompts_of(Split.TEST)
    clean = normalizer(NORMALIZER)
    right = [
        clean(text or "") == clean(prompt.reference)
        for text, prompt in zip(second_texts(prompts), prompts, strict=True)
    ]
    assert np.mean(right) > 0.8


def test_rankings_are_compared_on_the_test_split_alone() -> None:
    prompts = [*prompts_of(Split.VALIDATION), *prompts_of(Split.TEST)]
    # Every fifth is told wrongly, and its recogniser doubts it.
    told = [
        {
            "audio": prompt.id,
            "text": prompt.reference if number % 5 else "something else",
            "avg_logprob": -0.1 if number % 5 else -1.5,
            "duration_s": prompt.duration_s,
        }
        for number, prompt in enumerate(prompts)
    ]
    scores, examples = rankings(prompts, told)
    assert len(examples) == len(prompts_of(Split.TEST))
    assert all(len(one) == len(examples) for one in scores.values())
    table = as_table(scores, examples)
    assert len(table.splitlines()) == 2 + len(scores)
    assert f"{SHARES[-1]:.0%}" in table
    found, low, high = gain(scores["log-probability"], scores["random"], examples)
    assert found > 0.5
    assert low <= found <= high


def test_formatting_is_no_error() -> None:
    prompts = prompts_of(Split.VALIDATION)[:3]
    rows = [
        Captured(audio=one.id, text=one.reference.upper(), heard_at=AT, duration_s=1.0)
        for one in prompts
    ]
    assert not examples_of(prompts, rows).errors.any()
