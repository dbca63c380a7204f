"""The report on a validation in Chromium: it is whole, plays, filters, and fetches nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from misheard.reports.validation_page import validation_page
from tests.reports import browsing
from tests.reports.browsing import needs_browser
from tests.reports.conftest import ATTACK, QUOTES, Bench, calls

pytestmark = needs_browser


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page as it lies on somebody's disk."""
    folder = tmp_path_factory.mktemp("validation")
    bench = Bench(folder / "workspace")
    validation = bench.recorded(f"calls {QUOTES}", calls())
    made = folder / "page.html"
    made.write_text(validation_page(bench.workspace, validation.id), encoding="utf-8")
    return made


class Opened(browsing.Opened):
    """A page on a validation that a browser has opened."""

    def shown(self) -> int:
        """Clips that the filters leave, whether or not their list is folded."""
        return int(self.page.locator(".clip:not([hidden])").count())

    def count(self) -> str:
        return str(self.page.locator("#shown").inner_text())

    def choose(self, turn: str) -> None:
        self.page.locator(f"input[name=turn][value='{turn}']").check()


@pytest.fixture
def opened(browser: Any, file: Path) -> Iterator[Opened]:
    made = Opened(browser, file)
    yield made
    made.context.close()
    assert made.complaints == []
    assert made.asked_elsewhere(file) == []


def test_it_renders_without_a_complaint_or_a_request(opened: Opened) -> None:
    assert opened.page.locator("h1").inner_text().startswith("Passed, with")
    assert opened.page.locator("header").bounding_box()["y"] == 0
    assert opened.shown() == 25 and opened.count() == "25 clips"
    assert opened.page.locator("svg.chart").count() > 5


def test_text_that_means_ill_does_nothing(opened: Opened) -> None:
    assert opened.page.locator("img").count() == 0
    assert opened.page.locator("h4", has_text="<script>").inner_text() == ATTACK
    # Even a script that got in would not run.
    opened.page.evaluate(
        """() => {
          const script = document.createElement("script");
          script.textContent = "window.hacked = true";
          document.body.append(script);
        }"""
    )
    assert opened.page.evaluate("window.hacked") is None
    (refused,) = opened.complaints
    assert "Content Security Policy" in refused
    opened.complaints.clear()


def test_recordings_play_to_their_end(opened: Opened) -> None:
    lengths = opened.page.evaluate(
        """async () => {
          const found = [];
          for (const clip of [...document.querySelectorAll(".clip")].slice(0, 4)) {
            const audio = clip.querySelector("audio");
            audio.playbackRate = 8;
            const ended = new Promise((resolve) => audio.addEventListener("ended", resolve));
            await audio.play();
            await ended;
            const told = parseFloat(clip.querySelector(".about").textContent);
            found.push([audio.duration, audio.currentTime, told]);
          }
          return found;
        }"""
    )
    assert len(lengths) == 4
    for duration_s, heard_s, told_s in lengths:
        assert duration_s == pytest.approx(told_s, rel=0.1)
        assert heard_s == pytest.approx(duration_s, rel=0.1)


def test_one_recording_plays_at_a_time(opened: Opened) -> None:
    playing = opened.page.evaluate(
        """async () => {
          const [one, other] = document.querySelectorAll("audio");
          // Slowly, so that neither has ended before it is looked at.
          one.playbackRate = other.playbackRate = 0.1;
          await one.play();
          await other.play();
          return [!one.paused, !other.paused];
        }"""
    )
    assert playing == [False, True]


@pytest.mark.parametrize(
    ("turn", "amount"), [("broken", 2), ("worse", 1), ("better", 2), ("fixed", 20)]
)
def test_clips_are_chosen_by_what_became_of_them(opened: Opened, turn: str, amount: int) -> None:
    opened.choose(turn)
    assert opened.shown() == amount and opened.count() == f"{amount} of 25 clips"
    assert opened.page.locator(".turn:visible").count() == 1
    assert opened.page.locator(".clip:visible").count() == amount, "folded ones are unfolded"
    noun = "clip" if amount == 1 else "clips"
    assert (
        opened.page.locator(".turn:visible .count").inner_text() == f"{amount} of {amount} {noun}"
    )
    opened.choose("")
    assert opened.shown() == 25 and opened.count() == "25 clips"
    assert opened.page.locator(".clip:visible").count() < 25, "folded again"


def test_clips_are_chosen_by_slice(opened: Opened) -> None:
    part = opened.page.locator("#part")
    by_kind = opened.page.evaluate(
        """() => [...document.querySelectorAll("#part optgroup")].map((group) =>
             [group.label, [...group.children].map((option) => option.textContent)])"""
    )
    assert [kind for kind, _ in by_kind] == ["group", "length", QUOTES, "channel"]
    assert dict(by_kind)["channel"] == ["landline", "mobile"]
    shown = []
    for name in ("landline", "mobile"):
        part.select_option(label=name)
        shown.append(opened.shown())
        assert opened.count() == f"{shown[-1]} of 25 clips"
        tags = opened.page.locator(".clip:visible .about").all_inner_texts()
        assert len(tags) == shown[-1] > 5 and all(f"channel: {name}" in tag for tag in tags)
    # The text that means ill and the silence are on no channel.
    assert sum(shown) == 23
    part.select_option(label="call 3")
    assert opened.shown() == 2
    opened.choose("broken")
    assert opened.shown() == 0 and opened.count() == "0 of 25 clips"
    assert opened.page.locator(".turn:visible").count() == 0


@pytest.mark.parametrize(
    ("words", "amount"),
    [
        ("MUMBLED", 20),
        ("  press   POUND ", 1),
        ("channel: mobile", 11),
        ("alert(1)", 1),
        ("zyzzyva", 0),
    ],
)
def test_clips_are_found_by_their_words(opened: Opened, words: str, amount: int) -> None:
    opened.page.locator("#search").fill(words)
    assert opened.shown() == amount and opened.count() == f"{amount} of 25 clips"
    opened.page.locator("#search").fill("")
    assert opened.count() == "25 clips"


def test_a_keyboard_reaches_everything(opened: Opened) -> None:
    keyboard, page = opened.page.keyboard, opened.page
    page.locator("nav a", has_text="Clips").focus()
    keyboard.press("Enter")
    page.wait_for_url("**#clips")
    page.locator("input[name=turn]:checked").focus()
    keyboard.press("ArrowRight")
    assert opened.count() == "2 of 25 clips"
    keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "part"
    keyboard.press("Tab")
    keyboard.type("mumbled")
    assert opened.count() == "2 of 25 clips"
    keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") == "AUDIO"
    # Slowly, so that it has not ended before it is looked at.
    page.evaluate("document.activeElement.playbackRate = 0.1")
    keyboard.press("Space")
    page.wait_for_function("!document.activeElement.paused")


@pytest.mark.parametrize("scheme", browsing.SCHEMES)
@pytest.mark.parametrize("width", browsing.WIDTHS)
def test_nothing_is_wider_than_the_screen(
    browser: Any, file: Path, width: int, scheme: str
) -> None:
    size = {"width": width, "height": 844}
    opened = Opened(browser, file, viewport=size, color_scheme=scheme)
    opened.page.locator("summary").click()
    opened.assert_it_fits(width, scheme)
    opened.context.close()


def test_without_scripts_everything_can_be_read(browser: Any, file: Path) -> None:
    opened = Opened(browser, file, java_script_enabled=False)
    page = opened.page
    assert page.locator("#filters").is_hidden()
    page.locator("summary").click()
    assert page.locator(".clip:visible").count() == 25
    assert page.locator("audio:visible").count() == 25
    opened.context.close()
