"""Each kind of model once round: imported, heard, tuned on real clips, served where nothing is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from misheard import audio
from misheard.audio import Recording
from misheard.datasets.datasets import Dataset, Purpose
from misheard.datasets.manifest import Row
from misheard.datasets.split import Split
from misheard.errors import (
    InvalidSettingError,
    JobFailedError,
    UnspeakableTextError,
    UnsupportedModelError,
)
from misheard.finetune.families.family import IGNORED_LABEL, Example, family_name, open_family
from misheard.finetune.jobs import Job
from misheard.finetune.recipe import Recipe
from misheard.speech.context import read_card
from misheard.speech.decoding import DecodingOptions
from misheard.speech.engines import open_transcriber
from misheard.speech.families.known import MODEL_TYPES
from misheard.workspace import Workspace
from tests.conftest import Prompt
from tests.tiny_speech import ctc_model, moonshine_model, multilingual_whisper

pytestmark = pytest.mark.model

# Nothing but the clips themselves, so that they can be learnt by heart.
BY_HEART = Recipe(
    epochs=6,
    batch_size=2,
    learning_rate=5e-3,
    average_decay=0.0,
    mask_time_share=0.0,
    mask_frequency_share=0.0,
    speed_range=0.0,
    joined_share=0.0,
    non_speech_share=0.0,
    time_share=0.0,
    sweep=False,
    frozen_tokens=False,  # random weights
    threads=1,
    precision="float32",
)
TEXT = "Drück eins."


@pytest.fixture(scope="session")
def make_model(
    short_prompts: list[Prompt], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    texts = [prompt.reference for prompt in short_prompts]
    made: dict[str, Path] = {}

    def make(kind: str) -> Path:
        if kind not in made:
            folder = tmp_path_factory.mktemp("models") / kind
            if kind == "moonshine":
                made[kind] = moonshine_model(folder, texts)
            elif kind == "whisper":
                made[kind] = multilingual_whisper(folder, [*texts, TEXT])
            else:
                model_type, _, norm = kind.partition(" ")
                made[kind] = ctc_model(folder, model_type, feat_extract_norm=norm or "group")
        return made[kind]

    return make


@dataclass(frozen=True)
class Round:
    """A workspace with one job that has ended."""

    workspace: Workspace
    dataset: Dataset
    job: Job

    @property
    def model(self) -> Path:
        return self.workspace.jobs.paths(self.job.id).model

    @property
    def losses(self) -> list[float]:
        events = self.workspace.jobs.events(self.job.id)
        return [event.loss for event in events if event.loss is not None]


def once_round(
    root: Path,
    model: Path,
    prompts: list[Prompt],
    recipe: Recipe,
    *,
    validation: int = 0,
    weight: float = 1.0,
    language: str = "en",
) -> Round:
    """Tune on all prompts but the last `validation`."""
    settings = {"speech": {"language": language, "threads": 1}, "backend": "inprocess"}
    workspace = Workspace.create(root, model=str(model), settings=settings, actor="ann")
    heard = workspace.transcribe([Recording(data=p.data, name=p.id) for p in prompts])
    rows = [
        Row(
            audio_sha256=inference.audio_sha256,
            reference=prompt.reference,
            split=Split.TRAIN if number < len(prompts) - validation else Split.VALIDATION,
            kind="error",
            speaker_group=prompt.group,
            duration_s=prompt.duration_s,
            weight=weight,
        )
        for number, (prompt, inference) in enumerate(zip(prompts, heard, strict=True))
    ]
    dataset = workspace.datasets.add("prompts", Purpose.TRAINING, rows)
    live = workspace.deployments.live().version_id
    workspace.jobs.submit("job", live, dataset, recipe)
    return Round(workspace, dataset, workspace.jobs.wait("job"))


def spoken(text: str) -> str:
    return text.upper().rstrip(".")


@pytest.mark.parametrize("kind", ["wav2vec2", "wav2vec2 layer", "hubert", "moonshine"])
def test_a_model_learns_clips_by_heart_and_says_them_in_a_fresh_process(
    kind: str,
    make_model: Callable[[str], Path],
    short_prompts: list[Prompt],
    tmp_path: Path,
) -> None:
    prompts = short_prompts[20:22]
    ended = once_round(tmp_path / "ws", make_model(kind), prompts, BY_HEART, weight=60.0)
    assert ended.losses[-1] < 0.5 * ended.losses[0]
    workspace = ended.workspace
    version = workspace.registry.register(
        ended.model, name=kind, source="job", actor="ann", dataset_id=ended.dataset.id
    )
    check = workspace.check_files(version.id, ended.dataset.id)
    assert check is not None
    assert check.passed, check.detail
    said = {spoken(clip["text"]) for clip in check.figures["clips"]}
    assert said == {spoken(prompt.reference) for prompt in prompts}


@pytest.mark.parametrize("kind", ["hubert", "moonshine"])
def test_a_recipe_as_it_stands_trains_every_kind(
    kind: str,
    make_model: Callable[[str], Path],
    short_prompts: list[Prompt],
    tmp_path: Path,
) -> None:
    recipe = Recipe(epochs=2, threads=1, gradient_accumulation=2, batch_size=2)
    ended = once_round(
        tmp_path / "ws", make_model(kind), short_prompts[20:30], recipe, validation=2
    )
    assert ended.job.result is not None
    assert ended.job.result["training_clips"] == 8
    assert len(ended.job.result["validation_wer"]) == 2
    assert all(np.isfinite(ended.losses))
    card = read_card(ended.model)
    assert card is not None
    assert card.context is None
    clip = audio.decode(short_prompts[20].data)
    assert open_transcriber(ended.model).transcribe([clip])[0].avg_logprob is not None


@pytest.mark.parametrize("kind", ["wav2vec2", "moonshine"])
@pytest.mark.parametrize("changes", [{"method": "lora"}, {"frozen_encoder_layers": 1}])
def test_what_a_recipe_keeps_of_the_weights_is_as_it_was(
    changes: dict[str, Any],
    kind: str,
    make_model: Callable[[str], Path],
    short_prompts: list[Prompt],
    tmp_path: Path,
) -> None:
    recipe = Recipe.from_dict(BY_HEART.to_dict() | changes | {"epochs": 2})
    ended = once_round(tmp_path / "ws", make_model(kind), short_prompts[20:22], recipe)
    old, new = weights(make_model(kind)), weights(ended.model)
    assert old.keys() == new.keys()
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert any(".layers.1." in name for name in changed)
    if "method" in changes:
        adapted = ("proj.weight", "fc1.weight", "fc2.weight", "dense.weight")
        assert all(name.endswith(adapted) for name in changed)
    else:
        assert not any("encoder.layers.0." in name or "conv_layers" in name for name in changed)


def weights(directory: Path) -> dict[str, Any]:
    from safetensors.torch import load_file  # noqa: PLC0415

    return dict(load_file(directory / "model.safetensors"))


def test_a_text_that_cannot_be_spelt_is_left_out_with_the_reason(
    make_model: Callable[[str], Path], short_prompts: list[Prompt], tmp_path: Path
) -> None:
    good, other = short_prompts[20:22]
    digits = replace(other, reference="Press 1.")
    recipe = Recipe.from_dict(BY_HEART.to_dict() | {"epochs": 1})
    ended = once_round(tmp_path / "ws", make_model("wav2vec2"), [good, digits], recipe)
    assert ended.job.result is not None
    assert ended.job.result["left_out"] == 1
    (refused,) = ended.job.result["refused"]
    assert "The vocabulary has no '1'" in refused["reason"]
    with pytest.raises(JobFailedError, match="The vocabulary has no '1'"):
        once_round(tmp_path / "none", make_model("wav2vec2"), [digits], recipe)


@pytest.mark.parametrize("kind", ["wav2vec2", "wav2vec2 layer", "hubert", "moonshine"])
def test_padding_changes_neither_text_nor_loss_where_it_is_masked(
    kind: str, make_model: Callable[[str], Path], tmp_path: Path
) -> None:
    family = open_family(make_model(kind), scratch=tmp_path, language="en", recipe=BY_HEART)
    noise = np.random.default_rng(0).standard_normal(24_000).astype(np.float32) / 10
    short, long = (
        Example(features=family.features(noise[:count]), labels=family.labels(text))
        for count, text in ((16_000, "Press one"), (24_000, ""))
    )
    batch = family.collate([short, long])
    assert batch["input_values"].shape == batch["attention_mask"].shape == (2, 24_000)
    assert batch["attention_mask"].sum(-1).tolist() == [16_000, 24_000]
    assert batch["labels"].shape == (2, len(short.labels))
    ignored = (batch["labels"][1] == IGNORED_LABEL).sum()
    assert ignored == len(short.labels) - len(long.labels)
    with torch.inference_mode():
        both = family.model(**batch).loss
        apart = [family.model(**family.collate([one])).loss for one in (short, long)]
    assert torch.isfinite(both)
    if kind == "wav2vec2 layer":
        assert both == pytest.approx(float(sum(apart)) / 2, abs=1e-4)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_every_kind_has_a_loss_layers_to_freeze_and_layers_to_adapt(
    model_type: str, make_model: Callable[[str], Path], tmp_path: Path
) -> None:
    base = make_model(model_type)
    assert family_name(base) == model_type
    family = open_family(base, scratch=tmp_path, language="en", recipe=Recipe())
    noise = np.random.default_rng(0).standard_normal(24_000).astype(np.float32) / 10
    examples = [
        Example(features=family.features(noise[:count]), labels=family.labels(text))
        for count, text in ((1, ""), (24_000, "Press one"))
    ]
    family.model.train()
    for batch in (examples, examples[:1]):
        family.model(**family.collate(batch)).loss.backward()
    front, *layers = family.encoder_layers()
    assert len(layers) == 2
    assert sum(one.numel() for one in front.parameters()) > 0
    for layer in layers:
        assert all(one.grad is not None for one in layer.parameters() if one.requires_grad)
    linear = {
        name.rpartition(".")[2]
        for name, module in family.model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    assert set(family.adapter_targets) <= linear


def test_what_is_no_known_kind_cannot_be_trained(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}), encoding="utf-8")
    with pytest.raises(UnsupportedModelError, match=r"'bert'.*moonshine.*wav2vec2.*whisper"):
        family_name(tmp_path)


def test_a_whisper_of_many_languages_is_taught_and_served_in_its_own(
    make_model: Callable[[str], Path], short_prompts: list[Prompt], tmp_path: Path
) -> None:
    from transformers import AutoTokenizer  # noqa: PLC0415

    tokenizer = AutoTokenizer.from_pretrained(make_model("whisper"))
    prompt = replace(short_prompts[20], reference=TEXT)
    recipe = Recipe.from_dict(BY_HEART.to_dict() | {"epochs": 2, "learning_rate": 1e-2})
    ended = once_round(
        tmp_path / "ws", make_model("whisper"), [prompt], recipe, weight=80.0, language="de"
    )
    live = ended.workspace.registry.directory(ended.workspace.deployments.live().version_id)
    family = open_family(live, scratch=tmp_path / "scratch", language="de", recipe=recipe)
    before, after = family.labels(TEXT)[:3], family.labels(TEXT)[-1]
    assert tokenizer.convert_ids_to_tokens(before) == [
        "<|de|>",
        "<|transcribe|>",
        "<|notimestamps|>",
    ]
    assert tokenizer.convert_ids_to_tokens(after) == "<|endoftext|>"
    assert tokenizer.decode(family.labels(TEXT)[3:-1]) == f" {TEXT}"
    assert ended.losses[-1] < 0.5 * ended.losses[0]
    options = DecodingOptions(language="de", max_tokens=20)
    tuned = open_transcriber(ended.model, options=options, threads=1)
    (heard,) = tuned.transcribe([audio.decode(prompt.data)])
    assert (heard.text, heard.language) == (TEXT, "de")
    with pytest.raises(InvalidSettingError, match=r"speech\.language = 'xx'"):
        open_transcriber(ended.model, options=DecodingOptions(language="xx"))
    with pytest.raises(UnspeakableTextError, match=r"<\|xx\|>"):
        open_family(live, scratch=tmp_path / "other", language="xx", recipe=recipe)
