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


def gradients(
    base: Path, scratch: Path, examples: list[Example], *, size: int, **settings: Any
) -> dict[str, Any]:
    """Of the first step over all `examples`, so many in each batch."""
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

    family = _family(base, scratch, **settings)
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


def _lengths(family: Any, lengths: Sequence[int]) -> list[Example]:
    """Noise in windows of so many positions, with texts of unlike length."""
    noise = np.random.default_rng(0)
    return [
        Example(
            features=noise.standard_normal((80, 2 * positions)).astype(np.float32) / 4,
            labels=family.labels(f"press {number} " * (1 + number % 3)),
        )
        for number, positions in enumerate(lengths)
    ]


def test_clips_of_unlike_length_are_computed_apart_and_those_of_like_length_together(
    tiny_base: Path, tmp_path: Path
) -> None:
    family = _family(tiny_base, tmp_path)

    def windows(*lengths: int) -> list[list[int]]:
        parts = family.parts(_lengths(family, lengths))
        return sorted([one.features.shape[1] // 2 for one in part] for part in parts)

    assert windows(192, 192, 160, 160) == [[192, 192, 160, 160]]
    assert windows(192, 1280, 192, 1024, 192) == [[192, 192, 192], [1280, 1024]]
    assert windows(1500) == [[1500]]
    # 120 s of windows at once.
    assert windows(*[1500] * 8) == [[1500] * 4] * 2
    assert windows(*[1500] * 9) == [[1500]] + [[1500] * 4] * 2


@pytest.mark.parametrize("at_once_s", [6.0, 25.0, 120.0])
def test_parts_waste_no_more_than_any_other_way_and_none_is_too_large(
    at_once_s: float, tiny_base: Path, tmp_path: Path
) -> None:
    from misheard.finetune.families.whisper import _PASS_POSITIONS  # noqa: PLC0415 - torch

    family = _family(tiny_base, tmp_path, seconds_at_once=at_once_s)
    most = at_once_s * 50
    generator = np.random.default_rng(0)

    def cost(parts: Sequence[Sequence[int]]) -> float:
        """Of parts of positions, longest first; infinite where one is too large."""
        sizes = [len(part) * part[0] for part in parts]
        small = all(size <= most or len(part) == 1 for size, part in zip(sizes, parts, strict=True))
        return sum(sizes) + _PASS_POSITIONS * len(parts) if small else np.inf

    for count in (1, 2, 5, 8):
        lengths = sorted(generator.integers(64, 1500, count).tolist(), reverse=True)
        every_way = []
        for cuts in range(2 ** (count - 1)):
            ends = [i + 1 for i in range(count - 1) if cuts >> i & 1]
            bounds = zip([0, *ends], [*ends, count], strict=True)
            every_way.append(cost([lengths[begin:end] for begin, end in bounds]))
        parts = family.parts(_lengths(family, lengths))
        made = [[one.features.shape[1] // 2 for one in part] for part in parts]
        assert sorted((one for part in made for one in part), reverse=True) == lengths
        assert cost(made) == min(every_way)


def test_parts_give_the_gradients_of_the_whole_batch(tiny_base: Path, tmp_path: Path) -> None:
    """Each counts by its tokens, so that no text weighs more for being computed alone."""
    import torch  # noqa: PLC0415

    examples = _lengths(_family(tiny_base, tmp_path / "labels"), [128] * 5)
    found = {}
    # 640 positions are all five at once; 256 are two and two and one.
    for number, (positions, parts) in enumerate(((640, [5]), (256, [1, 2, 2]))):
        settings = {"seconds_at_once": positions / 50}
        family = _family(tiny_base, tmp_path / f"parts {number}", **settings)
        assert sorted(map(len, family.parts(examples))) == parts
        scratch = tmp_path / str(number)
        scratch.mkdir()
        found[number] = gradients(tiny_base, scratch, examples, size=5, **settings)
    assert found[0].keys() == found[1].keys()
    assert len(found[0]) > 20
    for name, value in found[0].items():
        assert torch.allclose(found[1][name], value, rtol=1e-3, atol=1e-6), name


@pytest.mark.parametrize(
    ("precision", "positions", "kind"),
    [("bfloat16", 128, "eager"), ("bfloat16", 1500, "sdpa"), ("float32", 128, "sdpa")],
)
def test_short_windows_in_bfloat16_take_the_attention_that_is_faster_there(
    precision: str, positions: int, kind: str, tiny_base: Path, tmp_path: Path
) -> None:
    import torch  # noqa: PLC0415

    if torch.cuda.is_available():
        pytest.skip("on a GPU the fused attention is always the faster one")
    family = _family(tiny_base, tmp_path, precision=precision)
    batch = family.collate(_lengths(family, [positions]))
    with family.window(family.model, batch):
        assert family.model.config._attn_implementation == kind
        assert family.model.get_encoder().layers[0].self_attn.config is family.model.config


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
