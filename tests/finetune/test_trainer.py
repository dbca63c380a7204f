"""Batches in windows of their own; Whisper cut to them and put back; the gradients of a step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from misheard import audio
from misheard.datasets.split import Split
from misheard.finetune.backends.inprocess import InProcessBackend
from misheard.finetune.families.family import Example, open_family
from misheard.finetune.plan import Clip, Plan
from misheard.speech.features import log_mel
from tests.finetune.conftest import Workshop, quick


def test_clips_are_padded_to_the_longest_of_their_batch_and_labels_are_masked() -> None:
    from misheard.finetune.families.whisper import collate  # noqa: PLC0415 - torch

    short = Example(features=np.full((80, 128), -0.5, np.float32), labels=[1, 2])
    long = Example(features=np.zeros((80, 256), np.float32), labels=[3, 4, 5])
    batch = collate([short, long])
    assert tuple(batch["input_features"].shape) == (2, 80, 256)
    assert batch["labels"].tolist() == [[1, 2, -100], [3, 4, 5]]
    assert batch["input_features"][0, :, 128:].unique().tolist() == [-0.5]


def test_the_sampler_gives_the_batches_of_the_plan_in_any_epoch_it_is_told() -> None:
    from misheard.finetune.trainer import Batches  # noqa: PLC0415 - torch

    clips = [Clip(path=Path("a"), reference="a", duration_s=1.0 + n % 3) for n in range(11)]
    plan = Plan(clips, quick())
    sampler = Batches(plan, 4)
    assert len(sampler) == len(plan) == 11
    for epoch in (2, 0, 1, 2):
        sampler.set_epoch(epoch)
        assert list(sampler) == [one for batch in plan.batches(epoch, 4) for one in batch]


@pytest.mark.model
def test_a_cut_window_gives_the_same_numbers_as_a_whole_one_that_is_cut_afterwards(
    converted: Path, short_prompts: list
) -> None:
    """Without attention beyond the window, the first layers see the same positions."""
    import torch  # noqa: PLC0415
    from transformers import WhisperForConditionalGeneration  # noqa: PLC0415

    from misheard.finetune.families.whisper import right_sized  # noqa: PLC0415

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


def test_the_whole_window_is_put_back_after_an_error(tiny_base: Path, tmp_path: Path) -> None:
    model = _family(tiny_base, tmp_path).model
    from misheard.finetune.families.whisper import right_sized  # noqa: PLC0415

    whole = model.get_encoder().embed_positions
    with pytest.raises(RuntimeError), right_sized(model, 64):
        raise RuntimeError
    assert model.get_encoder().embed_positions is whole
    with pytest.raises(ValueError, match="1501"), right_sized(model, 1_501):
        pass


def _family(base: Path, scratch: Path, **settings: Any) -> Any:
    return open_family(base, scratch=scratch / "w", language="en", recipe=quick(**settings))


class Given:
    """Examples that are shown in the order in which they are given."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        return self._examples[index]

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self._examples)))

    def set_epoch(self, epoch: int) -> None:
        pass


def gradients(base: Path, scratch: Path, examples: list[Example], *, size: int) -> dict[str, Any]:
    """Of the first step over all `examples`, so many in each pass."""
    from transformers import TrainerCallback, TrainingArguments  # noqa: PLC0415

    from misheard.finetune.trainer import FamilyTrainer  # noqa: PLC0415

    seen: dict[str, Any] = {}

    class Looks(TrainerCallback):
        def on_pre_optimizer_step(
            self, args: Any, state: Any, control: Any, model: Any = None, **_: Any
        ) -> None:
            seen.update(
                {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
            )

    family = _family(base, scratch)
    family.model.config.apply_spec_augment = False  # it hides parts at random
    given: Any = Given(examples)
    trainer = FamilyTrainer(
        family,
        given,
        model=family.model,
        args=TrainingArguments(
            output_dir=str(scratch / "out"),
            num_train_epochs=1,
            per_device_train_batch_size=size,
            gradient_accumulation_steps=len(examples) // size,
            max_grad_norm=0.0,
            learning_rate=1e-6,
            remove_unused_columns=False,
            report_to=[],
            disable_tqdm=True,
            save_strategy="no",
            dataloader_pin_memory=False,
            use_cpu=True,
        ),
        train_dataset=given,
        callbacks=[Looks()],
    )
    trainer.train()
    return seen


def test_two_passes_of_four_give_the_gradients_of_one_of_eight(
    tiny_base: Path, tmp_path: Path
) -> None:
    import torch  # noqa: PLC0415

    family = _family(tiny_base, tmp_path / "labels")
    noise = np.random.default_rng(0)
    examples = [
        Example(
            features=noise.standard_normal((80, 128)).astype(np.float32) / 4,
            labels=family.labels(f"press {number}"),
        )
        for number in range(8)
    ]
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one = gradients(tiny_base, tmp_path / "one", examples, size=8)
    two = gradients(tiny_base, tmp_path / "two", examples, size=4)
    assert one.keys() == two.keys()
    assert len(one) > 20
    for name, value in one.items():
        assert torch.allclose(two[name], value, rtol=1e-3, atol=1e-6), name
    assert max(value.abs().max() for value in one.values()) > 1e-3


def test_a_large_batch_is_computed_twice_and_its_gradients_are_the_same(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch  # noqa: PLC0415

    from misheard.finetune.families import whisper  # noqa: PLC0415

    family = _family(tiny_base, tmp_path)
    model = family.model.train()
    model.config.apply_spec_augment = False
    noise = np.random.default_rng(0)
    examples = [
        Example(
            features=noise.standard_normal((80, 256)).astype(np.float32) / 4,
            labels=family.labels(f"press {number}"),
        )
        for number in range(3)
    ]
    batch = family.collate(examples)
    found, calls = {}, []
    again = whisper._compute_again
    monkeypatch.setattr(
        whisper, "_compute_again", lambda *a, **k: calls.append(1) or again(*a, **k)
    )
    for kept in (3 * 128, 3 * 128 - 1):
        monkeypatch.setattr(whisper, "_KEPT_POSITIONS", kept)
        model.zero_grad()
        with family.window(model, batch):
            loss = model(**batch).loss
        loss.backward()
        found[len(calls)] = {
            name: value.grad.clone()
            for name, value in model.named_parameters()
            if value.grad is not None
        }
    # Both layers of the encoder, once the batch is larger than what is kept.
    assert found.keys() == {0, 2}
    assert all(torch.equal(found[0][name], found[2][name]) for name in found[0])


def test_a_training_shows_the_heavier_clips_of_its_dataset_more_often(workshop: Workshop) -> None:
    light = workshop.datasets.rows(workshop.dataset)
    trained = [row for row in light if row.split is Split.TRAIN]
    heavy = [replace(row, weight=3.0) for row in trained[:4]]
    steps = {}
    for name, rows in {"plain": trained, "weighted": [*heavy, *trained[4:]]}.items():
        dataset = workshop.put(f"{name} clips", rows)
        jobs = workshop.jobs(InProcessBackend())
        job_id = f"job-{name}-clips"
        jobs.submit(job_id, workshop.base.id, dataset, quick(epochs=1, batch_size=2))
        result = jobs.wait(job_id).result
        assert result is not None
        assert result["training_clips"] == 12
        steps[name] = max(event.steps for event in jobs.events(job_id))
    # Two clips a step: twelve clips, and four of them twice more.
    assert steps == {"plain": 6, "weighted": 10}
