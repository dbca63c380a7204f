"""The line between two models: what matters is readable, and what is far above is an arrow."""

import math
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misheard.reports.curves import Mark, line_chart, reach, stops_chart
from misheard.reports.figures import percent, tick_percent
from tests.reports.test_charts import drawn, share

NAMES = ("old", "¼", "½", "¾", "new")
RATES = st.lists(st.floats(0, 20).map(lambda value: round(value, 4)), min_size=5, max_size=5)


def stops(*rates: float, top: float, mark: int = 4, limit: float | None = None) -> str:
    return stops_chart(
        list(zip(NAMES, rates, strict=False)),
        label="WER",
        as_text=percent,
        tick_text=tick_percent,
        top=top,
        mark=Mark(x=mark, text="shipped"),
        limit=limit,
    )


def texts(root: ElementTree.Element) -> list[str]:
    return ["".join(one.itertext()) for one in root.iter("text")]


def test_each_stop_has_its_name_its_dot_and_its_value() -> None:
    root = drawn(stops(0.3, 0.28, 0.25, 0.2, 0.22, top=0.3, mark=3))
    assert set(NAMES) <= set(texts(root))
    assert {"30.0%", "28.0%", "25.0%", "20.0%", "22.0%", "shipped"} <= set(texts(root))
    places = share(root, "circle", "cx")
    assert places == sorted(places) and len(places) == 5
    gaps = [right - left for left, right in pairwise(places)]
    assert gaps == pytest.approx([gaps[0]] * 4, abs=1e-3)
    (chosen,) = [one for one in root.findall("circle") if one.get("r") == "6.5"]
    (guide,) = share(root, "line[@class='guide']", "x1")
    assert float((chosen.get("cx") or "").removesuffix("%")) == guide == places[3]


def test_what_is_beyond_the_chart_is_an_arrow_with_its_value_and_no_wall_of_a_line() -> None:
    root = drawn(stops(0.09, 8.65, 2.94, 0.064, 0.077, top=0.09, mark=3))
    arrows = [one for one in root.iter("path") if one.get("class") == "beyond"]
    assert len(arrows) == 2 and len(root.findall("circle")) == 3
    assert {"865.0%", "294.0%"} <= set(texts(root))
    (line,) = [one.get("points") or "" for one in root.iter("polyline")]
    assert len(line.split()) == 2, "only the two at the end are neighbours on the chart"
    # The axis is that of what matters.
    assert "10%" in texts(root) and "1000%" not in texts(root)


def test_the_limit_is_drawn_where_it_is_and_left_out_beyond_the_chart() -> None:
    root = drawn(stops(0.3, 0.3, 0.3, 0.3, 0.3, top=0.4, limit=0.4))
    (limit,) = root.findall("line[@class='limit']")
    heights = [float(one.get("cy") or "") for one in root.findall("circle")]
    assert all(float(limit.get("y1") or "") < height for height in heights)
    assert "limit" not in stops(0.3, 0.3, 0.3, 0.3, 0.3, top=0.3, limit=7.0)


def test_no_value_is_crossed_by_the_limit() -> None:
    root = drawn(stops(0.082, 0.085, 0.08, 0.0, 0.0, top=0.092, limit=0.092))
    (limit,) = [float(one.get("y1") or "") for one in root.findall("line[@class='limit']")]
    values = [one for one in root.iter("text") if (one.get("class") or "").startswith("value")]
    assert len(values) == 5
    for one in values:
        foot = float(one.get("y") or "")
        assert not foot - 10 <= limit <= foot, "".join(one.itertext())


@given(RATES, st.integers(0, 4), st.floats(0.01, 5))
def test_everything_stays_inside_the_picture(rates: list[float], mark: int, top: float) -> None:
    root = drawn(stops(*rates, top=top, mark=mark))
    beyond = sum(rate > reach(top) for rate in rates)
    assert len([one for one in root.iter("path") if one.get("class") == "beyond"]) == beyond
    height = float(root.get("height") or "")
    for one in root.iter("circle"):
        assert 0 <= float(one.get("cy") or "") <= height
    assert all(0 <= float(one.get("y") or "") <= height for one in root.iter("text"))


def test_what_is_no_number_is_left_out() -> None:
    assert stops(*[math.nan] * 5, top=1.0) == ""
    root = drawn(stops(0.3, math.nan, 0.2, 0.1, 0.1, top=0.3))
    assert len(root.findall("circle")) == 4 and "nan" not in "".join(root.itertext())


def test_a_marked_point_of_a_line_is_named_below_the_axis() -> None:
    root = drawn(
        line_chart(
            [(1, 0.3), (2, 0.1), (3, 0.2)],
            label="WER",
            as_text=percent,
            tick_text=tick_percent,
            x_name="epoch",
            mark=Mark(x=2, text="best: 10.0%"),
        )
    )
    (name,) = [one for one in root.iter("text") if one.text == "best: 10.0%"]
    assert float(name.get("y") or "") > 178
    assert [one.get("r") for one in root.findall("circle")] == ["4", "6.5", "4"]
