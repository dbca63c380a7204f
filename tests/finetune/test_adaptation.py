"""Which weights change: all, all but frozen layers, or those that low-rank adapters change."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from misheard import audio
from misheard.errors import InvalidSettingError, JobFailedError, MissingExtraError
from misheard.finetune.adaptation import adapted, freeze, merged
from misheard.finetune.backends.inprocess import InProcessBackend
from misheard.finetune.families.family import open_family
from misheard.finetune.paths import JobPaths
from misheard.speech.convert import Variables, read_variables
from misheard.speech.engines import open_transcriber
from tests.conftest import make_wav
from tests.finetune.conftest import Workshop, quick


def trained(workshop: Workshop, job_id: str, **settings: Any) -> JobPaths:
    jobs = workshop.jobs(InProcessBackend())
    recipe = quick(epochs=1, learning_rate=1e-2, **settings)
    jobs.submit(job_id, workshop.base.id, workshop.dataset, recipe)
    jobs.wait(job_id)
    return jobs.paths(job_id)


def weights(paths: JobPaths) -> tuple[Variables, Variables]:
    return read_variables(paths.base / "model.bin"), read_variables(paths.model / "model.bin")


def changed(paths: JobPaths) -> set[str]:
    before, after = weights(paths)
    assert before.keys() == after.keys()
    assert all(before[name].shape == after[name].shape for name in before)
    return {name for name in before if not np.array_equal(before[name], after[name])}


def tables(names: set[str], where: str) -> set[str]:
    return {name for name in names if name.startswith(where)}


def test_full_fine_tuning_changes_every_layer_of_both_sides(workshop: Workshop) -> None:
    paths = trained(workshop, "job-full")
    names = changed(paths)
    for layer in (0, 1):
        for side in ("encoder", "decoder"):
            assert tables(names, f"{side}/layer_{layer}/"), (side, layer)
    assert "encoder/conv1/weight" in names
    assert "encoder/position_encodings/encodings" not in names


@pytest.mark.parametrize(("layers", "frozen"), [(1, (0,)), (2, (0, 1)), (-1, (0, 1))])
def test_frozen_layers_are_bit_equal_afterwards_and_others_are_not(
    workshop: Workshop, layers: int, frozen: tuple[int, ...]
) -> None:
    names = changed(trained(workshop, f"job-frozen-{layers}", frozen_encoder_layers=layers))
    assert not tables(names, "encoder/conv")
    for layer in (0, 1):
        assert bool(tables(names, f"encoder/layer_{layer}/")) is (layer not in frozen)
        assert tables(names, f"decoder/layer_{layer}/")


def test_more_frozen_layers_than_there_are_is_an_error_with_the_number(workshop: Workshop) -> None:
    jobs = workshop.jobs(InProcessBackend())
    recipe = quick(frozen_encoder_layers=3)
    jobs.submit("job-frozen-too-many", workshop.base.id, workshop.dataset, recipe)
    with pytest.raises(JobFailedError, match="frozen_encoder_layers is 3, and the encoder has 2"):
        jobs.wait("job-frozen-too-many")


def test_lora_ships_plain_weights_that_differ_from_the_base_and_decode(workshop: Workshop) -> None:
    paths = trained(workshop, "job-lora", method="lora", lora_rank=4)
    names = changed(paths)
    for side in ("encoder", "decoder"):
        assert tables(names, f"{side}/layer_1/self_attention")
        assert tables(names, f"{side}/layer_1/ffn")
    # Nothing but the layers that are adapted.
    assert not tables(names, "encoder/conv") | tables(names, "decoder/embeddings")
    assert not {name for name in names if "layer_norm" in name}
    (heard,) = open_transcriber(paths.model).transcribe([audio.decode(make_wav(seconds=1.0))])
    assert isinstance(heard.text, str)


def test_lora_leaves_frozen_layers_as_they_are(workshop: Workshop) -> None:
    paths = trained(
        workshop, "job-lora-frozen", method="lora", lora_rank=4, frozen_encoder_layers=1
    )
    names = changed(paths)
    assert not tables(names, "encoder/layer_0/")
    assert tables(names, "encoder/layer_1/")


def test_a_merged_copy_computes_what_the_adapted_model_does(
    tiny_base: Path, tmp_path: Path
) -> None:
    import torch  # noqa: PLC0415 - heavy

    recipe = quick(method="lora", lora_rank=4)
    family = open_family(tiny_base, scratch=tmp_path / "w", language="en", recipe=recipe)
    model = adapted(family, recipe).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_B" in name:
                value.normal_(std=0.1)
    features = torch.randn(1, 80, 3_000, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[300, 1, 2]])
    with torch.no_grad():
        wanted = model(input_features=features, labels=labels).logits
        plain = merged(model)
        made = plain(input_features=features, labels=labels).logits
        assert torch.allclose(made, wanted, atol=1e-5)
        assert not any("lora" in name for name, _ in plain.named_parameters())
        # The one that is trained goes on with its adapters.
        assert torch.equal(model(input_features=features, labels=labels).logits, wanted)


def test_a_model_without_adapters_is_its_own_merged_copy(tiny_base: Path, tmp_path: Path) -> None:
    family = open_family(tiny_base, scratch=tmp_path / "w", language="en", recipe=quick())
    assert merged(adapted(family, quick())) is family.model


def test_freezing_nothing_leaves_all_that_was_trained_trainable(
    tiny_base: Path, tmp_path: Path
) -> None:
    family = open_family(tiny_base, scratch=tmp_path / "w", language="en", recipe=quick())
    before = [value.requires_grad for value in family.model.parameters()]
    freeze(family, quick(frozen_tokens=False))
    assert [value.requires_grad for value in family.model.parameters()] == before
    with pytest.raises(InvalidSettingError, match="is 9, and the encoder has 2"):
        freeze(family, quick(frozen_encoder_layers=9))


@pytest.mark.parametrize("frozen", [True, False])
def test_the_table_of_tokens_stays_as_it_is_where_the_recipe_says_so(
    workshop: Workshop, frozen: bool
) -> None:
    paths = trained(workshop, f"job-tokens-{frozen}", frozen_tokens=frozen)
    names = changed(paths)
    assert ("decoder/embeddings/weight" in names) is not frozen
    assert "decoder/layer_0/ffn/linear_0/weight" in names


def test_without_peft_lora_says_what_to_install(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = quick(method="lora")
    family = open_family(tiny_base, scratch=tmp_path / "w", language="en", recipe=recipe)
    # As Python finds it after `pip install misheard`.
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'misheard\[lora\]'"):
        adapted(family, recipe)
