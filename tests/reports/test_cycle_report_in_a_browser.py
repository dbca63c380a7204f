"""The report on a cycle in Chromium: it is whole, fits the screen, and fetches nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from misheard.cycle.states import CycleState
from misheard.finetune.events import TrainingEvent, append_event
from misheard.finetune.recipe import Recipe
from misheard.reports.cycle_report import cycle_report
from tests.reports.browsing import SCHEMES, WIDTHS, Opened, needs_browser
from tests.reports.conftest import QUOTES, TOLD, Bench, swept

pytestmark = needs_browser


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page as it lies on somebody's disk, with all that a job can tell."""
    folder = tmp_path_factory.mktemp("cycle")
    bench = Bench(folder / "workspace")
    held_out = bench.dataset("held out", ["press pound", "hold the line"])
    bench.heard(bench.live, held_out, ["press pond", "hold line"], 0.5)
    bench.heard(bench.candidate, held_out, ["press pound", "hold line"], 0.25)
    cycle = bench.begin(held_out)
    training = bench.dataset("training", ["one", "two", "three"], training=True)
    refused = [{"audio": f"{n:064d}", "reason": f"it is {n} s long {QUOTES}"} for n in range(9)]
    # One chart is cut, one falls steeply and then goes on level.
    points = swept([0.09, 8.654, 2.936, 0.064, 0.077], [0.261, 0.214, 0.158, 0.142, 0.139])
    told = TOLD | {"left_out": 9, "refused": refused, "sweep": points}
    job_id = bench.trained(cycle, training, told=told, recipe=Recipe(epochs=6))
    for epoch in range(3, 11):
        event = TrainingEvent(
            at_s=epoch, phase="train", step=10 * epoch, epoch=epoch, loss=0.4, validation_wer=0.3
        )
        append_event(bench.workspace.jobs.paths(job_id).events, event)
    made = bench.validations.run(bench.candidate, bench.live, held_out)
    bench.put(
        cycle,
        CycleState.REFUSED,
        "the words are few",
        dataset_id=training.id,
        job_id=job_id,
        version_id=bench.candidate,
        validation_id=made.id,
    )
    page = folder / "page.html"
    page.write_text(cycle_report(bench.workspace, cycle.id), encoding="utf-8")
    return page


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_the_screen_without_a_complaint_or_a_request(
    browser: Any, file: Path, width: int, scheme: str
) -> None:
    size = {"width": width, "height": 844}
    opened = Opened(browser, file, viewport=size, color_scheme=scheme)
    for summary in opened.page.locator("summary").all():
        summary.click()
    opened.assert_it_fits(width, scheme)
    charts = opened.page.locator("section[aria-labelledby=shipped] svg.chart")
    assert charts.count() == 2 and all(one.is_visible() for one in charts.all())
    assert opened.page.locator("img").count() == 0
    opened.context.close()
    assert opened.complaints == [] and opened.asked_elsewhere(file) == []


@pytest.mark.parametrize("width", WIDTHS)
def test_no_two_words_of_a_chart_lie_on_one_another(browser: Any, file: Path, width: int) -> None:
    opened = Opened(browser, file, viewport={"width": width, "height": 844})
    crossed = opened.page.evaluate(
        """() => [...document.querySelectorAll("svg.chart")]
             .flatMap((chart) => {
               const words = [...chart.querySelectorAll("text")];
               const boxes = words.map((one) => one.getBoundingClientRect());
               return boxes.flatMap((one, i) => boxes.slice(i + 1)
                 .map((other, j) => [one, other, words[i], words[i + 1 + j]])
                 .filter(([a, b]) => a.left < b.right && b.left < a.right
                   && a.top + 4 < b.bottom - 4 && b.top + 4 < a.bottom - 4)
                 .map(([, , a, b]) => `${a.textContent} / ${b.textContent}`));
             })"""
    )
    opened.context.close()
    assert crossed == []


def test_refused_rows_unfold(browser: Any, file: Path) -> None:
    opened = Opened(browser, file)
    rows = opened.page.locator("section[aria-labelledby=training] .plain li:visible")
    assert rows.count() == 5
    opened.page.locator("summary", has_text="4 more refused rows").click()
    assert rows.count() == 9
    opened.context.close()
