"""Batches in windows of their own; Transformers' Whisper cut to them and put back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from misheard import audio
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
