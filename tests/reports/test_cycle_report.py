"""The report on a cycle says what the workspace says, and nothing else."""

from pathlib import Path

import pytest
from sqlalchemy import insert

from misheard.cycle.states import Cycle, CycleState
from misheard.database.engine import now, writing
from misheard.database.schema import audit
from misheard.errors import UnknownIdError
from misheard.finetune.recipe import Recipe
from misheard.gates.suites import SuiteKind
from misheard.gates.validation import Validation
from misheard.gates.verdict import Answer, Criterion
from misheard.reports.changes import SHOWN, changes
from misheard.reports.cycle_report import cycle_report
from misheard.reports.facts import NEWEST
from tests.reports.browsing import needs_browser
from tests.reports.conftest import ATTACK, Bench, Page, judge_again, photograph

REFERENCES = ["press pound", "the caller was here", ATTACK, "hold the line", "thank you", ""]
LIVE = ["press pond", "the color was", "script alert 1 script press pound", "hold line", "", ""]
CANDIDATE = ["press pound", "the caller was hear", "press pond", "hold the line", "thank you", "a"]


def validated(bench: Bench) -> tuple[Cycle, Validation]:
    """A cycle that is validated on `REFERENCES`, with a suite that its candidate has run."""
    held_out = bench.dataset("held out", REFERENCES)
    digits = bench.dataset("digits", ["one two", "three"])
    bench.heard(bench.live, held_out, LIVE, 0.5)
    bench.heard(bench.candidate, held_out, CANDIDATE, 0.25)
    bench.heard(bench.live, digits, ["one two", "three"], 0.5)
    bench.heard(bench.candidate, digits, ["one two", "tree"], 0.25)
    bench.suites.add("digits", SuiteKind.CRITICAL, digits, description="numbers & <b>such</b>")
    cycle = bench.begin(held_out)
    training = bench.dataset("training", ["one", "two", "three"], training=True)
    job_id = bench.trained(cycle, training)
    bench.put(cycle, CycleState.DATASET, "3 utterances", dataset_id=training.id, job_id=job_id)
    made = bench.validations.run(bench.candidate, bench.live, held_out)
    bench.suites.run_all(bench.candidate, bench.live, cycle_id=cycle.id)
    bench.put(
        cycle,
        CycleState.AWAITING_APPROVAL,
        version_id=bench.candidate,
        validation_id=made.id,
    )
    return cycle, made


def test_the_figures_are_those_of_the_workspace(bench: Bench) -> None:
    cycle, validation = validated(bench)
    page, figures = bench.page(cycle), validation.comparison
    before, after = figures.baseline, figures.candidate
    assert f"{before.wer:.1%} → {after.wer:.1%}" in page.words
    assert f"Relative reduction {figures.relative_reduction:.1%}".replace("-", "−") in page.words
    assert f"p-value {figures.p_value:.2g}" in page.words
    assert "Speed-up 2×" in page.words
    assert f"{figures.words} words in {figures.utterances} utterances" in page.words
    low, high = before.wer_interval
    assert f"{low:.1%} to {high:.1%}" in page.words
    for side in (before, after):
        for amount in (side.substitutions, side.deletions, side.insertions):
            assert f"{amount} {'live' if side is before else 'candidate'}" in page.words
    assert all(reason in page.words for reason in validation.verdict.reasons)
    assert bench.candidate in page.words and bench.live in page.words


def test_the_headline_asks_for_the_decision(bench: Bench) -> None:
    cycle, _ = validated(bench)
    assert bench.page(cycle).by_tag["h1"][0].startswith("Awaiting approval")
    assert f"misheard cycle approve {cycle.id}" in bench.page(cycle).words


def test_after_approval_the_headline_says_what_is_live(bench: Bench) -> None:
    cycle, validation = validated(bench)
    bench.workspace.cycles.approve(cycle.id, actor="ben")
    page = bench.page(cycle)
    share = f"{validation.comparison.relative_reduction:.1%}"
    assert page.by_tag["h1"][0] == f"Deployed: {share} fewer word errors on held-out speech"
    assert "Approved by ben. It is what production uses now." in page.words
    bench.workspace.roll_back(actor="ben", reason="<em>complaints</em>")
    page = bench.page(cycle)
    assert "rolled back" in page.by_tag["h1"][0]
    assert "ben: <em>complaints</em>" in page.words


def test_the_headline_warns_where_the_gain_may_be_chance(bench: Bench) -> None:
    cycle, validation = validated(bench)
    low, high = validation.comparison.reduction_interval
    assert low <= 0 < high
    page = bench.page(cycle)
    assert f"may be chance (p = {validation.comparison.p_value:.2g})" in page.words
    assert "The interval of the difference includes zero" in page.words


def test_a_refusal_names_its_gate_and_reason(bench: Bench) -> None:
    cycle, validation = validated(bench)
    judge_again(bench, validation, Criterion.of("cer", True, "CER falls"))
    bench.put(cycle, CycleState.REFUSED, "digits: 1 word error where the live version makes 0")
    page = bench.page(cycle)
    assert page.by_tag["h1"][0] == "Refused by a regression suite; the live version stays"
    assert "Because of digits: 1 word error" in page.words


def test_what_is_not_settled_is_no_failure(bench: Bench) -> None:
    cycle, validation = validated(bench)
    settled = judge_again(bench, validation, Criterion.of("cer", False, "CER rises"))
    assert not settled.verdict.passed
    bench.put(cycle, CycleState.REFUSED, "CER rises")
    page = bench.page(cycle)
    assert page.by_tag["h1"] == ["Refused by validation; the live version stays"]
    assert page.count("header", "bad") == 1 and "✗ failed" in page.words
    judge_again(
        bench,
        validation,
        Criterion(name="significance", answer=Answer.INCONCLUSIVE, reason="p = 0.3"),
    )
    page = bench.page(cycle)
    assert page.by_tag["h1"] == ["Not settled by validation; the live version stays"]
    assert page.count("header", "wait") == 1 and "? inconclusive" in page.words
    assert f"misheard report {validation.id}" in page.words


def test_files_that_do_not_work_refuse_by_themselves(bench: Bench) -> None:
    cycle, validation = validated(bench)
    judge_again(bench, validation, Criterion.of("cer", True, "CER falls"))
    bench.put(cycle, CycleState.REGRESSION, "passed every suite")
    bench.put(cycle, CycleState.REFUSED, "does not work in a fresh process")
    assert bench.page(cycle).by_tag["h1"] == [
        "Refused by the check of its files; the live version stays"
    ]


def test_every_changed_utterance_stands_with_its_wrong_words(bench: Bench) -> None:
    cycle, validation = validated(bench)
    page = bench.page(cycle)
    better, worse = changes(validation.comparison)
    assert page.count("li", "change") == better.total + worse.total
    assert (better.total, worse.total) == (5, 1)
    # One of each stands in the legend.
    marks = [words for item in better.shown + worse.shown for words in item.before + item.after]
    for kind, tag in (("wrong", "mark"), ("extra", "mark"), ("missing", "del")):
        assert page.count(tag, kind) == 1 + sum(words.kind == kind for words in marks)
    assert "(silence)" in page.words and "newly broken" in page.words and "fixed" in page.words


def test_long_lists_are_capped_and_say_so(bench: Bench) -> None:
    amount = SHOWN + 7
    held_out = bench.dataset("held out", [f"please press {n}" for n in range(amount)])
    bench.heard(bench.live, held_out, [f"please {n}" for n in range(amount)], 0.5)
    bench.heard(bench.candidate, held_out, [f"please press {n}" for n in range(amount)], 0.5)
    cycle = bench.begin(held_out)
    made = bench.validations.run(bench.candidate, bench.live, held_out)
    bench.put(cycle, CycleState.VALIDATED, version_id=bench.candidate, validation_id=made.id)
    page = bench.page(cycle)
    assert page.count("li", "change") == SHOWN
    assert "and 7 more that are not on this page" in page.words
    assert f"{amount} utterances" in page.words


def test_text_from_outside_stays_text(bench: Bench) -> None:
    cycle, _ = validated(bench)
    bench.put(cycle, CycleState.REJECTED, "<img src=x onerror=alert(1)>")
    page = bench.page(cycle)
    assert page.count("script") == page.count("img") == page.count("b") == 0
    assert ATTACK in page.words
    assert "numbers & <b>such</b>" in page.words
    assert "<img src=x onerror=alert(1)>" in page.words


def test_nothing_on_the_page_points_outside(bench: Bench) -> None:
    cycle, _ = validated(bench)
    html = cycle_report(bench.workspace, cycle.id)
    for _, attributes in Page(html).tags:
        for name in ("src", "href", "srcset", "action", "data", "xlink:href"):
            assert attributes.get(name, "data:,").startswith(("data:", "#"))
    assert "@import" not in html and "url(" not in html
    assert "default-src 'none'" in html


def test_those_who_cannot_see_it_are_told(bench: Bench) -> None:
    cycle, _ = validated(bench)
    page = bench.page(cycle)
    assert page.count("table") == page.count("caption")
    charts = [attributes for tag, attributes in page.tags if attributes.get("role") == "img"]
    assert len(charts) == 5
    assert all(attributes["aria-label"] for attributes in charts)
    assert all(attributes.get("scope") for tag, attributes in page.tags if tag == "th")
    identifiers = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    named = [attributes.get("aria-labelledby") for _, attributes in page.tags]
    assert {name for name in named if name} <= identifiers


def test_only_the_last_attempt_at_training_is_drawn(bench: Bench) -> None:
    cycle, _ = validated(bench)
    page = bench.page(cycle)
    assert "1.61" in page.words and "0.41" in page.words and "9.87" not in page.words
    assert "3 clips in 1 min 23 s; 1 clip set aside" in page.words


def test_recipe_dataset_steps_and_suites_are_told(bench: Bench) -> None:
    cycle, _ = validated(bench)
    page = bench.page(cycle)
    assert f"epochs 2 default {Recipe().epochs}" in page.words
    assert "train 3 0 3 4 s" in page.words
    assert "after 1 min 05 s" in page.words
    assert "digits critical · 2 utterances" in page.words
    (run,) = bench.suites.runs()
    assert run.verdict.failures and all(reason in page.words for reason in run.verdict.reasons)


def test_labelling_is_counted_and_not_listed(bench: Bench) -> None:
    cycle, _ = validated(bench)
    entry = {"created_at": now(), "actor": "importer", "subject": "inf-7", "from_value": "a",
             "to_value": "b", "reason": "", "evidence": {}}  # fmt: skip
    with writing(bench.engine) as connection:
        for action, amount in (("correct", 5), ("confirm", 30), ("delete", NEWEST + 3)):
            connection.execute(insert(audit), [entry | {"action": action}] * amount)
    page = bench.page(cycle)
    assert "30 “confirm” rows, 5 “correct” rows" in page.words
    assert page.words.count("importer") == NEWEST


def test_a_cycle_that_has_just_begun_has_a_page(bench: Bench) -> None:
    cycle = bench.begin(bench.dataset("held out", ["hello"]))
    page = bench.page(cycle)
    assert page.by_tag["h1"] == ["Begun; no dataset has been built yet"]
    assert "Error cases 0" in page.words
    assert page.count("svg") == 0 and "nan" not in page.words.lower()


@pytest.mark.parametrize("state", list(CycleState))
def test_every_state_has_a_page_with_and_without_its_rows(bench: Bench, state: CycleState) -> None:
    bare = bench.begin(bench.dataset("another", ["hello"]))
    bench.put(bare, state, "as it came")
    full, _ = validated(bench)
    bench.put(full, state, "as it came")
    for cycle in (bare, full):
        assert state.replace("_", " ") in bench.page(cycle).words


def test_a_failed_job_is_told_with_its_error(bench: Bench) -> None:
    cycle = bench.begin(bench.dataset("held out", ["hello"]))
    training = bench.dataset("training", ["one"], training=True)
    job_id = bench.trained(cycle, training, error="MemoryError: no room")
    bench.put(cycle, CycleState.FAILED, "it went wrong", dataset_id=training.id, job_id=job_id)
    page = bench.page(cycle)
    assert page.by_tag["h1"] == ["Failed in training; the live version stays"]
    assert page.by_tag["pre"] == ["MemoryError: no room"]


def test_held_out_speech_without_a_word_has_no_rates(bench: Bench) -> None:
    held_out = bench.dataset("held out", ["", ""])
    bench.heard(bench.live, held_out, ["", ""], 0.0)
    bench.heard(bench.candidate, held_out, ["", "oh"], 0.0)
    cycle = bench.begin(held_out)
    made = bench.validations.run(bench.candidate, bench.live, held_out)
    bench.put(cycle, CycleState.REFUSED, version_id=bench.candidate, validation_id=made.id)
    page = bench.page(cycle)
    assert "– → –" in page.words
    assert "Speed-up –" in page.words
    assert "there is no word error rate" in page.words
    assert "1 of 2" in page.words


def test_an_unknown_cycle_is_an_error(bench: Bench) -> None:
    with pytest.raises(UnknownIdError):
        cycle_report(bench.workspace, "cycle-nowhere")


def test_the_page_is_small_and_whole(bench: Bench) -> None:
    cycle, _ = validated(bench)
    html = cycle_report(bench.workspace, cycle.id)
    assert html.startswith("<!doctype html>") and html.rstrip().endswith("</html>")
    assert len(html) < 100_000


@needs_browser
@pytest.mark.parametrize("width", [390, 1200])
def test_a_real_browser_draws_it(bench: Bench, tmp_path: Path, width: int) -> None:
    cycle, _ = validated(bench)
    assert photograph(cycle_report(bench.workspace, cycle.id), tmp_path, width) > 30_000
