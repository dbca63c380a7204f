"""Charts: the marks stand where the numbers are, and text from outside stays text."""

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misheard.reports.charts import Bar, Estimate, bars, interval_plot, line_chart, ticks
from misheard.reports.figures import number, percent, tick_percent

NAN = float("nan")
FINITE = st.floats(-1e6, 1e6).map(lambda value: round(value, 4))


def drawn(svg: str) -> ElementTree.Element:
    """The SVG as a tree: it must be well-formed, and named for those who cannot see it."""
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img" and root.get("aria-label")
    return root


def estimate(value: float, low: float, high: float, name: str = "Live") -> Estimate:
    return Estimate(name=name, value=value, low=low, high=high, role="baseline")


def plot(*estimates: Estimate, zero: bool = False) -> str:
    return interval_plot(estimates, label="WER", as_text=percent, tick_text=tick_percent, zero=zero)


def line(*points: tuple[float, float]) -> str:
    return line_chart(points, label="Loss", as_text=number, tick_text=number, x_name="epoch")


def share(root: ElementTree.Element, path: str, attribute: str) -> list[float]:
    found = [element.get(attribute) or "" for element in root.findall(path)]
    return [float(text.removesuffix("%")) for text in found]


@given(FINITE, FINITE)
def test_ticks_are_few_rise_and_span_what_is_shown(one: float, other: float) -> None:
    low, high = sorted((one, other))
    made = ticks(low, high)
    slack = 1e-6 * max(abs(low), abs(high), 1.0)
    assert made[0] <= low + slack and made[-1] >= high - slack
    assert 2 <= len(made) <= 10
    assert made == sorted(set(made))


def test_a_dot_lies_between_the_ends_of_its_whisker_in_proportion() -> None:
    root = drawn(plot(estimate(0.2, 0.1, 0.4)))
    (left,), (right,) = (
        share(root, "line[@class='whisker baseline']", end) for end in ("x1", "x2")
    )
    (dot,) = share(root, "circle", "cx")
    assert 0 <= left < dot < right <= 100
    assert (dot - left) / (right - left) == pytest.approx(1 / 3, abs=1e-3)


def test_the_difference_is_drawn_against_zero() -> None:
    root = drawn(plot(estimate(0.02, -0.01, 0.05), zero=True))
    (zero,), (dot,) = share(root, "line[@class='zero']", "x1"), share(root, "circle", "cx")
    assert zero < dot
    assert "0%" in ElementTree.tostring(root, encoding="unicode")


def test_an_estimate_without_interval_has_a_dot_and_no_whisker() -> None:
    root = drawn(plot(estimate(0.2, NAN, NAN)))
    assert len(root.findall("circle")) == 1
    assert not root.findall("line[@class='whisker baseline']")


def test_bars_start_at_zero_and_are_as_long_as_their_values() -> None:
    group = [
        Bar(name="live", value=30, role="baseline"),
        Bar(name="new", value=15, role="candidate"),
    ]
    root = drawn(bars([("Substitutions", group)], label="Errors"))
    first, second = share(root, "rect", "width")
    assert first == pytest.approx(2 * second)
    assert set(share(root, "rect", "x")) == {0}


def test_bars_of_nothing_but_zeros_are_still_drawn() -> None:
    group = [Bar(name="live", value=0, role="baseline")]
    assert len(drawn(bars([("Insertions", group)], label="Errors")).findall("rect")) == 1


def test_a_line_leaves_out_what_is_no_number() -> None:
    root = drawn(line((0.5, 2.0), (1.0, NAN), (1.5, math.inf), (2.0, 1.0)))
    (path,) = [element.get("points") or "" for element in root.iter("polyline")]
    assert len(path.split()) == 2
    heights = [float(point.split(",")[1]) for point in path.split()]
    assert heights[0] < heights[1], "a higher loss stands higher"


def test_a_line_of_one_point_is_a_dot() -> None:
    assert len(drawn(line((1.0, 0.3))).findall("circle")) == 1


@pytest.mark.parametrize(
    "svg", [plot(), plot(estimate(NAN, NAN, NAN)), line(), line((1.0, NAN)), bars([], label="x")]
)
def test_a_chart_of_nothing_is_nothing(svg: str) -> None:
    assert svg == ""


def test_text_from_outside_stays_text() -> None:
    made = plot(estimate(0.2, 0.1, 0.3, name="<script>alert(1)</script>&"))
    root = drawn(made)
    assert not list(root.iter("script"))
    assert "<script>alert(1)</script>&" in "".join(root.itertext())


@given(st.lists(st.tuples(FINITE.map(abs), FINITE.map(abs)), min_size=1, max_size=20))
def test_every_mark_stays_inside_the_picture(points: list[tuple[float, float]]) -> None:
    made = line(*points)
    assert "nan" not in made and "inf" not in made
    assert all(0 <= float(x) <= 100 for x in re.findall(r'cx="([^"%]+)%"', made))
