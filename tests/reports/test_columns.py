"""Columns over time: as high as their values, and nothing where there is none."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree as ET

from misheard.reports.columns import Column, columns


def drawn(*values: float, name: str = "an hour") -> ET.Element:
    shown = [Column(name=name, values=[(value, "baseline")], tick="12:00") for value in values]
    made = columns(shown, label="Transcripts", tick_text="{:g}".format)
    return ET.fromstring(re.sub(r"^<svg ", '<svg xmlns="" ', made))


def heights(picture: ET.Element) -> list[float]:
    bars = picture.iterfind(".//rect[@class='bar baseline']")
    return [float(one.get("height", "")) for one in bars]


def test_heights_are_in_the_proportion_of_the_values() -> None:
    low, high = heights(drawn(10, 40))
    assert high == 4 * low


def test_what_is_unknown_or_nothing_has_no_column_and_little_has_one() -> None:
    least, most = heights(drawn(math.nan, 0.0, 1e-6, 1000.0))
    assert 1 <= least < most


def test_each_says_what_it_is_and_no_word_is_markup() -> None:
    picture = drawn(1.0, name="<b>12:00</b> & on")
    assert [one.text for one in picture.iter("title")] == ["<b>12:00</b> & on"]


def test_of_nothing_there_is_no_chart() -> None:
    empty = [Column(name="", values=[(math.nan, "")]), Column(name="", values=[(0.0, "")])]
    assert columns(empty, label="x", tick_text=str) == columns([], label="x", tick_text=str) == ""
