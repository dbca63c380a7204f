"""Batches in windows of their own; Transformers' Whisper cut to them and put back."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from misheard import audio
from misheard.datasets.datasets import Purpose
from misheard.datasets.split import Split
from misheard.finetune.recipe import Recipe
from misheard.speech.features import log_mel

pytestmark = pytest.mark.model


def test_clips_are_padded_to_the_longest_of_their_batch_and_labels_are_masked() -> None:
    from misheard.finetune.trainer import Example, collate  # noqa: PLC0415

    short = Example(features=np.full((80, 128), -0.5, np.float32), labels=[1, 2])
    long = Example(features=np.zeros((80, 256), np.float32), labels=[3, 4, 5])
    batch = collate([short, long])
    assert tuple(batch["input_features"].shape) == (2, 80, 256)
    assert batch["labels"].tolist() == [[1, 2, -100], [3, 4, 5]]
    assert batch["input_features"][0, :, 128:].unique().tolist() == [-0.5]


def test_every_clip_is_seen_once_an_epoch_among_clips_of_like_length() -> None:
    from misheard.finetune.trainer import BatchesByLength  # noqa: PLC0415

    positions = [64 * (1 + number % 4) for number in range(40)]
    sampler = BatchesByLength(positions, 10, seed=0)
    first, second = list(sampler), list(sampler)
    assert sorted(first) == sorted(second) == list(range(40))
    assert first != second
    for start in range(0, 40, 10):
        assert len({positions[index] for index in first[start : start + 10]}) == 1
    assert list(BatchesByLength(positions, 10, seed=0)) == first
    assert list(BatchesByLength(positions, 10, seed=1)) != first


def test_heavier_clips_are_shown_more_often_and_every_clip_in_each_epoch() -> None:
    from misheard.finetune.trainer import BatchesByLength  # noqa: PLC0415

    positions = [64 * (1 + number % 4) for number in range(40)]
    weights = [3.0] * 4 + [1.5] * 8 + [1.0] * 28
    sampler = BatchesByLength(positions, 10, seed=0, weights=weights)
    shown: Counter[int] = Counter()
    epochs = 400
    for _ in range(epochs):
        epoch = list(sampler)
        assert len(epoch) == len(sampler) == 40 + 4 * 2 + 8 * 0.5
        assert set(epoch) == set(range(40))
        shown.update(epoch)
    for index, weight in enumerate(weights):
        assert shown[index] / epochs == pytest.approx(weight, abs=0.2)
    assert all(shown[index] == epochs for index in range(12, 40))


def test_batches_hold_clips_of_like_length_whatever_their_weights() -> None:
    from misheard.finetune.trainer import BatchesByLength  # noqa: PLC0415

    positions = [64] * 10 + [128] * 10
    weights = [2.0] * 10 + [1.0] * 10
    epoch = list(BatchesByLength(positions, 10, seed=0, weights=weights))
    batches = [epoch[start : start + 10] for start in range(0, 30, 10)]
    assert sorted(len({positions[i] for i in batch}) for batch in batches) == [1, 1, 1]


def test_weights_of_one_give_the_very_order_that_no_weights_give() -> None:
    from misheard.finetune.trainer import BatchesByLength  # noqa: PLC0415

    positions = [64 * (1 + number % 4) for number in range(37)]
    plain = BatchesByLength(positions, 10, seed=3)
    weighted = BatchesByLength(positions, 10, seed=3, weights=[1.0] * 37)
    for _ in range(4):
        assert list(plain) == list(weighted)
    assert len(plain) == len(weighted) == 37


def test_weights_that_add_up_to_less_than_half_a_clip_show_none_twice() -> None:
    from misheard.finetune.trainer import BatchesByLength  # noqa: PLC0415

    sampler = BatchesByLength([64] * 4, 2, seed=0, weights=[1.1, 1.1, 1.1, 1.1])
    assert sorted(sampler) == [0, 1, 2, 3]
    assert len(sampler) == 4


def test_a_cut_window_gives_the_same_numbers_as_a_whole_one_that_is_cut_afterwards(
    converted: Path, short_prompts: list
) -> None:
    """Without attention beyond the window, the first layers see the same positions."""
    import torch  # noqa: PLC0415
    from transformers import WhisperForConditionalGeneration  # noqa: PLC0415

    from misheard.finetune.trainer import right_sized  # noqa: PLC0415

    model = WhisperForConditionalGeneration.from_pretrained(converted).eval()
    encoder = model.get_encoder()
    whole, full = encoder.embed_positions, encoder.config.max_source_positions
    samples = audio.decode(short_prompts[0].data).samples
    features = torch.from_numpy(log_mel(samples, 192))[None]
    with torch.inference_mode(), right_sized(model, 192):
        made = encoder(features).last_hidden_state
        assert torch.equal(encoder.embed_positions.weight, whole.weight[:192])
    assert tuple(made.shape) == (1, 192, 384)
    assert encoder.embed_positions is whole
    assert encoder.config.max_source_positions == full == 1_500
    with pytest.raises(ValueError, match="3000"):
        encoder(features)


def test_the_whole_window_is_put_back_after_an_error(converted: Path) -> None:
    from transformers import WhisperForConditionalGeneration  # noqa: PLC0415

    from misheard.finetune.trainer import right_sized  # noqa: PLC0415

    model = WhisperForConditionalGeneration.from_pretrained(converted)
    whole = model.get_encoder().embed_positions
    with pytest.raises(RuntimeError), right_sized(model, 64):
        raise RuntimeError
    assert model.get_encoder().embed_positions is whole


def test_a_training_shows_the_heavier_clips_of_its_dataset_more_often(studio: Any) -> None:
    from misheard.finetune.backends.inprocess import InProcessBackend  # noqa: PLC0415

    light = studio.datasets.rows(studio.dataset)
    trained = [row for row in light if row.split is Split.TRAIN]
    heavy = [replace(row, weight=3.0) for row in trained[:4]]
    steps = {}
    for name, rows in {"plain": trained, "weighted": [*heavy, *trained[4:]]}.items():
        dataset = studio.datasets.add(f"{name} clips", Purpose.TRAINING, rows)
        jobs = studio.jobs(InProcessBackend())
        job_id = f"job-{name}-clips"
        jobs.submit(job_id, studio.base.id, dataset, Recipe(epochs=1, batch_size=2))
        assert jobs.wait(job_id).result["training_clips"] == 12
        steps[name] = max(event.steps for event in jobs.events(job_id))
    # Two clips a step: twelve clips, and four of them twice more.
    assert steps == {"plain": 6, "weighted": 10}
