"""Whatever a caller wants remembered comes back as JSON has it, or is refused."""

from __future__ import annotations

import math
from collections import OrderedDict
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, insert, select

from misheard.database.details import checked_details
from misheard.database.engine import now, writing
from misheard.database.schema import observations
from misheard.errors import BadInputError

ON_BOTH_DATABASES = True

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(texts, plain, max_size=4))
def test_json_is_given_back_as_it_was(details: dict[str, Any]) -> None:
    assert checked_details(details, what="a case") == details


def test_what_is_given_back_is_a_copy() -> None:
    inner = [1]
    kept = checked_details({"a": inner}, what="a case")
    inner.append(2)
    assert kept == {"a": [1]}


def test_nothing_is_an_empty_object() -> None:
    assert checked_details(None, what="a case") == checked_details({}, what="a case") == {}


def test_any_mapping_will_do_and_tuples_become_lists() -> None:
    assert checked_details(MappingProxyType({"a": (1, 2)}), what="a case") == {"a": [1, 2]}
    assert checked_details(OrderedDict(b=1), what="a case") == {"b": 1}
    assert checked_details({1: "a", None: "b"}, what="a case") == {"1": "a", "null": "b"}


@pytest.mark.parametrize(
    "details",
    [
        [("a", 1)],
        "text",
        7,
        {"a": b"bytes"},
        {"a": {1, 2}},
        {"a": math.nan},
        {"a": [math.inf]},
        {"a": datetime(2026, 1, 1, tzinfo=UTC)},
        {"a": Path("a")},
        {"a": np.float32(1)},
        {"a": np.zeros(2)},
        {("a", "b"): 1},
        pytest.param({"a": object()}, id="{'a': object()}"),
    ],
    ids=repr,
)
def test_what_json_has_no_word_for_is_refused_by_the_name_of_its_owner(details: Any) -> None:
    with pytest.raises(BadInputError, match="The details of 'call 7'"):
        checked_details(details, what="'call 7'")


@given(st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=3))
def test_any_text_can_be_stored_and_read_back(details: dict[str, str]) -> None:
    """Lone halves of a surrogate pair and NUL too: JSON has an escape for each."""
    assert checked_details(details, what="a case") == details


def test_odd_text_survives_the_database(engine: Engine) -> None:
    details = checked_details({"\ud800": "nul \0", "naïve": "👂\u2028"}, what="a case")
    with writing(engine) as connection:
        row = {"created_at": now(), "kind": "learning", "subject": "x", "details": details}
        connection.execute(insert(observations).values(**row))
    with engine.connect() as connection:
        assert connection.execute(select(observations.c.details)).scalar_one() == details
