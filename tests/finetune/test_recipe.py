from __future__ import annotations

import json
import math
from dataclasses import fields, replace

import pytest

from misheard.errors import InvalidSettingError
from misheard.finetune.recipe import Recipe
from misheard.speech.context import Context


def test_a_recipe_comes_back_from_storage_with_the_same_id() -> None:
    recipe = Recipe(epochs=3, learning_rate=1e-5)
    back = Recipe.from_dict(json.loads(json.dumps(recipe.to_dict())))
    assert back == recipe
    assert back.id == recipe.id


@pytest.mark.parametrize("field", [f.name for f in fields(Recipe) if f.name != "precision"])
def test_every_setting_changes_the_id(field: str) -> None:
    changed = replace(Recipe(), **{field: getattr(Recipe(), field) + 1})
    assert changed.id != Recipe().id


def test_the_context_is_the_one_that_the_recipe_trains() -> None:
    assert Recipe(margin_s=0.5, round_to=32).context == Context(margin_s=0.5, round_to=32)


def test_an_unknown_setting_is_an_error_that_names_the_known() -> None:
    with pytest.raises(InvalidSettingError, match=r"no recipe\.epoch\. Known: epochs, "):
        Recipe.from_dict({"epoch": 3})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("epochs", 2.0),
        ("epochs", True),
        ("epochs", "3"),
        ("batch_size", 0),
        ("round_to", 0),
        ("learning_rate", -1e-5),
        ("learning_rate", math.nan),
        ("learning_rate", math.inf),
        ("learning_rate", "fast"),
        ("margin_s", -0.1),
        ("max_clip_s", 0.0),
        ("precision", "float8"),
        ("precision", 16),
    ],
)
def test_values_that_cannot_be_are_errors_by_name(field: str, value: object) -> None:
    with pytest.raises(InvalidSettingError, match=rf"recipe\.{field}"):
        Recipe.from_dict({field: value})


def test_a_whole_number_is_taken_where_a_fraction_may_stand() -> None:
    assert Recipe.from_dict({"margin_s": 2}).margin_s == 2
