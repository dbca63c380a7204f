"""Charts: the marks stand where the numbers are, and text from outside stays text."""

import math
import re
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misheard.reports.charts import (
    Bar,
    Estimate,
    OutcomeRow,
    bars,
    interval_plot,
    outcome_rows,
)
from misheard.reports.curves import line_chart, time_chart
from misheard.reports.figures import number, percent, tick_percent, when
from misheard.reports.svg import ticks

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


def moments(*values: float) -> list[tuple[datetime, float]]:
    return [(datetime(2026, 3, 1 + day, tzinfo=UTC), value) for day, value in enumerate(values)]


def timed(*values: float) -> str:
    return time_chart(
        moments(*values), label="WER", as_text=percent, tick_text=tick_percent, time_text=when
    )


def test_a_line_over_time_names_its_ends_and_leaves_out_what_is_no_number() -> None:
    root = drawn(timed(0.4, NAN, 0.2))
    text = "".join(root.itertext())
    assert "1 Mar 2026" in text and "3 Mar 2026" in text and "2 Mar 2026" not in text
    (path,) = [element.get("points") or "" for element in root.iter("polyline")]
    (first, high), (last, low) = (map(float, point.split(",")) for point in path.split())
    assert first < last and high < low, "later is right, more is up"


def test_time_between_points_is_room_between_points() -> None:
    (begin, _), (end, _) = moments(0.1, 0.1)
    middle = begin + (end - begin) / 4
    root = drawn(
        time_chart(
            [(begin, 0.1), (middle, 0.1), (end, 0.1)],
            label="WER",
            as_text=percent,
            tick_text=tick_percent,
            time_text=when,
        )
    )
    first, second, last = share(root, "circle", "cx")
    assert (second - first) / (last - first) == pytest.approx(1 / 4, abs=1e-3)


def test_one_moment_is_a_dot_with_its_time() -> None:
    root = drawn(timed(0.3))
    assert len(root.findall("circle")) == 1
    assert "".join(root.itertext()).count("1 Mar 2026") == 1
    assert timed() == timed(NAN) == ""


def test_many_points_are_a_line_with_two_dots() -> None:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    line = [(at + timedelta(hours=n), 0.1) for n in range(500)]
    root = drawn(
        time_chart(line, label="WER", as_text=percent, tick_text=tick_percent, time_text=when)
    )
    assert len(root.findall("circle")) == 2


def test_each_run_has_its_mark_the_newest_where_there_is_no_room_for_all() -> None:
    passed = [True, False, True]
    root = drawn(outcome_rows([OutcomeRow(name="<b>", passed=passed, note="&")], label="Runs"))
    assert len(root.findall("circle[@class='mark good']")) == 2
    assert len(list(root.iter("path"))) == 1
    first, last = share(root, "circle", "cx")
    (cross,) = [float((found.get("x") or "").removesuffix("%")) for found in root.findall("svg")]
    assert first < cross < last <= 100
    assert "<b>" in "".join(root.itertext()) and not list(root.iter("b"))
    many = OutcomeRow(name="x", passed=[False] * 200 + [True] * 30, note="")
    root = drawn(outcome_rows([many], label="Runs"))
    assert not list(root.iter("path")) and max(share(root, "circle", "cx")) <= 100
    assert outcome_rows([], label="Runs") == ""


def test_bars_are_written_as_asked() -> None:
    made = bars([("", [Bar(name="live", value=0.25, role="baseline")])], label="x", as_text=percent)
    assert "".join(drawn(made).itertext()) == "25.0% live"
