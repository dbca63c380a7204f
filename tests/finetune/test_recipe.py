from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest

from misheard.errors import InvalidSettingError
from misheard.finetune.recipe import Recipe, explained
from misheard.speech.context import Context

NAMES = [field.name for field in fields(Recipe)]
CHOICES = {"method": "lora", "precision": "float32"}


def other_than(name: str) -> Any:
    """A value that the setting can take and that is not its default."""
    default = getattr(Recipe(), name)
    if name in CHOICES:
        return CHOICES[name]
    if isinstance(default, bool):
        return not default
    if isinstance(default, float):
        return default / 2 if default else 0.25
    return default + 1


def test_a_recipe_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Recipe().epochs = 3  # type: ignore[misc]


def test_a_recipe_comes_back_from_storage_with_the_same_id() -> None:
    recipe = Recipe(epochs=3, learning_rate=1e-5, method="lora", sweep=False)
    back = Recipe.from_dict(json.loads(json.dumps(recipe.to_dict())))
    assert back == recipe
    assert back.id == recipe.id


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_changes_the_id_and_comes_back(name: str) -> None:
    changed = replace(Recipe(), **{name: other_than(name)})
    assert changed.id != Recipe().id
    assert Recipe.from_dict(json.loads(json.dumps(changed.to_dict()))) == changed


def test_every_setting_has_its_reason_in_its_order() -> None:
    told = explained()
    assert list(told) == NAMES
    for name, reason in told.items():
        assert len(reason.split()) >= 4, name
        assert reason.endswith("."), name
    assert len(set(told.values())) == len(told)
    assert "\n" not in "".join(told.values())


def test_the_context_is_the_one_that_the_recipe_trains() -> None:
    assert Recipe(margin_s=0.5, round_to=32).context == Context(margin_s=0.5, round_to=32)


def test_what_is_hidden_from_the_model_is_what_the_recipe_says() -> None:
    hidden = Recipe(mask_time_share=0.2, mask_frequency_share=0.1).spec_augment
    assert hidden["apply_spec_augment"] is True
    assert (hidden["mask_time_prob"], hidden["mask_feature_prob"]) == (0.2, 0.1)
    none = Recipe(mask_time_share=0.0, mask_frequency_share=0.0).spec_augment
    assert none["apply_spec_augment"] is False


def test_an_unknown_setting_is_an_error_that_names_the_known() -> None:
    with pytest.raises(InvalidSettingError, match=r"no recipe\.epoch\. Known: .*\bepochs\b"):
        Recipe.from_dict({"epoch": 3})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("epochs", 2.0),
        ("epochs", True),
        ("epochs", "3"),
        ("patience", 0),
        ("batch_size", 0),
        ("gradient_accumulation", 0),
        ("processes", 0),
        ("round_to", 0),
        ("lora_rank", 0),
        ("frozen_encoder_layers", -2),
        ("learning_rate", -1e-5),
        ("learning_rate", math.nan),
        ("learning_rate", math.inf),
        ("learning_rate", "fast"),
        ("warmup_share", 1.1),
        ("average_decay", 1.0),
        ("mask_time_share", 0.6),
        ("speed_range", 0.6),
        ("telephone_share", 1.01),
        ("time_share", -0.01),
        ("full_window_share", 2),
        ("replay_ratio", -1),
        ("margin_s", -0.1),
        ("margin_s", True),
        ("max_clip_s", 0.0),
        ("sweep", 1),
        ("sweep", "yes"),
        ("precision", "float8"),
        ("precision", 16),
        ("method", "adapters"),
        ("method", True),
    ],
)
def test_values_that_cannot_be_are_errors_by_name(name: str, value: object) -> None:
    with pytest.raises(InvalidSettingError, match=rf"recipe\.{name}"):
        Recipe.from_dict({name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("frozen_encoder_layers", -1),
        ("warmup_share", 1.0),
        ("average_decay", 0.0),
        ("telephone_share", 1),
        ("speed_range", 0.0),
        ("replay_ratio", 0),
        ("margin_s", 2),
    ],
)
def test_the_ends_of_what_is_allowed_and_whole_numbers_are_taken(name: str, value: Any) -> None:
    assert getattr(Recipe.from_dict({name: value}), name) == value
