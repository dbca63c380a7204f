"""A page in Chromium, with all that it complains of and asks for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

WIDTHS = (390, 1200)
SCHEMES = ("light", "dark")


class Opened:
    """A page that a browser has opened, with all that it complained of and asked for."""

    def __init__(self, browser: Any, file: Path, **context: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}} | context)
        self.complaints: list[str] = []
        self.asked: list[str] = []
        # A browser is one of many processes, on a machine that may be busy with others.
        self.context.set_default_timeout(120_000)
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(file.as_uri())

    def asked_elsewhere(self, file: Path) -> list[str]:
        """What was requested beyond the page itself."""
        return [url for url in self.asked if not url.startswith("data:") and url != file.as_uri()]

    def assert_it_fits(self, width: int, scheme: str) -> None:
        """Nothing is wider than the screen, and light is light."""
        widest = self.page.evaluate("document.documentElement.scrollWidth")
        beyond = self.page.evaluate(
            """(width) => [...document.querySelectorAll("main *:not(.visually-hidden)")]
                 .filter((node) => node.getBoundingClientRect().right > width + 1)
                 .filter((node) => !node.closest("thead, .visually-hidden, .scroll"))
                 .map((node) => node.outerHTML.slice(0, 80))""",
            width,
        )
        paper = self.page.evaluate("getComputedStyle(document.body).backgroundColor")
        ink = self.page.evaluate("getComputedStyle(document.body).color")
        assert widest <= width and beyond == []
        assert (_brightness(paper) > _brightness(ink)) == (scheme == "light")


def _brightness(color: str) -> int:
    return sum(int(part) for part in color.removeprefix("rgb(").removesuffix(")").split(","))


needs_browser = pytest.mark.skipif(
    shutil.which("chromium") is None,
    reason="no chromium here; CI installs it (apt-get install chromium)",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, driven by Playwright.

    Closed after each module: while it is open, Playwright's event loop runs in this thread, and
    nothing else can start one of its own.
    """
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - slow, and few tests need it

    with sync_playwright() as playwright:
        made = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"],
            timeout=180_000,
        )
        yield made
        made.close()
