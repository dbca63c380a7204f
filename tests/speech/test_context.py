from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misheard.errors import ModelCorruptError
from misheard.speech.context import (
    CARD_NAME,
    FULL_CONTEXT,
    FULL_POSITIONS,
    POSITIONS_PER_S,
    Context,
    ModelCard,
    read_card,
)

CARD = ModelCard(
    base="v-1",
    dataset_id="ds-1",
    recipe_id="recipe-1",
    context=Context(margin_s=1.0, round_to=64),
)


@given(st.floats(0, 30), st.floats(0, 3), st.sampled_from([1, 16, 64, 250]))
def test_a_window_holds_the_clip_and_its_margin_or_is_the_full_one(
    duration_s: float, margin_s: float, round_to: int
) -> None:
    positions = Context(margin_s=margin_s, round_to=round_to).positions(duration_s)
    assert positions <= FULL_POSITIONS
    if positions < FULL_POSITIONS:
        assert positions % round_to == 0
        assert positions >= (duration_s + margin_s) * POSITIONS_PER_S
        assert positions < (duration_s + margin_s) * POSITIONS_PER_S + round_to + 1


@given(st.floats(0, 1e6))
def test_what_has_learnt_nothing_else_always_gets_30_s(duration_s: float) -> None:
    assert FULL_CONTEXT.positions(duration_s) == 1_500


def test_a_card_comes_back(tmp_path: Path) -> None:
    CARD.write(tmp_path)
    assert read_card(tmp_path) == CARD


def test_a_model_without_a_card_has_none(tmp_path: Path) -> None:
    assert read_card(tmp_path) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json",
        "[]",
        "{}",
        '{"context": 5}',
        json.dumps({"context": {"margin_s": 1.0, "round_to": 64}}),
        json.dumps({"context": {"margin_s": 1.0}, "base": "", "dataset_id": "", "recipe_id": ""}),
    ],
)
def test_a_damaged_card_is_an_error_and_not_a_full_window(tmp_path: Path, text: str) -> None:
    (tmp_path / CARD_NAME).write_text(text, encoding="utf-8")
    with pytest.raises(ModelCorruptError, match=CARD_NAME):
        read_card(tmp_path)


@pytest.mark.parametrize(
    ("margin_s", "round_to"), [(1.0, 0), ("wide", 64), (-50.0, 64), (1.0, "x")]
)
def test_a_card_with_a_window_that_cannot_be_is_an_error(
    tmp_path: Path, margin_s: object, round_to: object
) -> None:
    fields = {"base": "", "dataset_id": "", "recipe_id": ""}
    context = {"margin_s": margin_s, "round_to": round_to}
    (tmp_path / CARD_NAME).write_text(json.dumps(fields | {"context": context}), encoding="utf-8")
    with pytest.raises(ModelCorruptError):
        read_card(tmp_path)
