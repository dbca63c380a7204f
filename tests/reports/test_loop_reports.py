"""The reports on the whole loop: the dicts have their keys, and the pages say what they say."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, update

from misheard import audio
from misheard.capture.inferences import Heard
from misheard.cases.records import Correction
from misheard.database.engine import now, writing
from misheard.database.schema import observations, suite_runs
from misheard.errors import BadInputError
from misheard.gates.suites import SuiteKind
from misheard.gates.verdict import Answer, Criterion
from misheard.reports import loop_facts
from misheard.reports.loop_pages import as_html
from misheard.reports.loop_reports import (
    REPORTS,
    deployment_report,
    performance_report,
    regression_report,
    to_json,
    validation_report,
)
from misheard.speech.transcriber import Transcript
from tests.reports.browsing import needs_browser
from tests.reports.conftest import ATTACK, Bench, Page, judge_again, photograph

KEYS = {
    "validation": {
        "generated_at", "config", "total_validations", "passed_validations",
        "failed_validations", "recent_validations", "best_wer_model", "best_cer_model",
    },
    "deployment": {
        "generated_at", "active_version", "total_versions", "versions_by_status",
        "deployment_history", "config",
    },
    "regression": {
        "generated_at", "config", "registered_tests", "total_test_runs", "passed_runs",
        "failed_runs", "pass_rate", "degradation_stats", "recent_results_7days",
        "recent_pass_rate",
    },
    "performance": {
        "generated_at", "trends", "inference_statistics", "learning_summary", "models",
    },
}  # fmt: skip
# So many that groups which all point one way are more than chance.
GROUPS = ("front desk", "night line", "billing <b>", *(f"line {number}" for number in range(5)))
SPOKEN = [f"please press {key} to reach the front desk" for key in ("star", "pound", "hash")] * 20
SPOKEN.append("thank you for calling")
DAY = timedelta(days=1)


def misheard(texts: list[str], share: float) -> list[str]:
    """The texts with a wrong and a missing word in this share of them."""
    wanted = share * len(texts)
    return [
        text.replace("press", "dress").replace("front ", "")
        if 37 * n % len(texts) < wanted
        else text
        for n, text in enumerate(texts)
    ]


@pytest.fixture
def filled(bench: Bench, tone: Callable[..., bytes]) -> Bench:
    """Four versions on two sets, two suites, three deployments, and some traffic."""
    workspace = bench.workspace
    calls = bench.dataset("calls", SPOKEN, groups=GROUPS)
    quiet = bench.dataset("night calls", [*SPOKEN[:6], ""], groups=GROUPS[:2])
    bad, second = (bench.version(name, parent=bench.live) for name in ("bad", "second"))
    every = {bench.live: 0.6, bench.candidate: 0.3, bad: 0.9, second: 0.1}
    for version, share in every.items():
        bench.heard(version, calls, misheard(SPOKEN, share), 0.3)
        bench.heard(version, quiet, [*misheard(SPOKEN[:6], share), ""], 0.3)
    for kind, name in ((SuiteKind.CRITICAL, "digits"), (SuiteKind.EDGE_CASE, "silence & noise")):
        bench.suites.add(name, kind, quiet, description="<i>must</i> work")
    bench.validations.run(bench.candidate, bench.live, calls)
    bench.suites.run_all(bench.candidate, bench.live)
    workspace.deployments.deploy(bench.candidate, actor="ana", reason="passed every gate")
    bench.validations.run(bad, bench.candidate, calls)
    bench.suites.run_all(bad, bench.candidate)
    bench.validations.run(second, bench.candidate, quiet)
    bench.validations.run(second, bench.candidate, calls)
    bench.suites.run_all(second, bench.candidate)
    workspace.deployments.deploy(second, actor="ben", reason=ATTACK)
    workspace.deployments.roll_back(actor="ben", reason="complaints")
    for share in (0.25, 0.125, 0.0625):
        workspace.observations.record_performance(bench.live, wer=share, cer=share / 3)
    workspace.observations.record_learning("tuning", {"loss": 0.5, "note": ATTACK})
    workspace.observations.record_model_version(
        "theirs", model_name=ATTACK, training_data_size=70, performance={"wer": 0.5}
    )
    heard = [
        Heard(
            data=data,
            audio=audio.decode(data),
            transcript=Transcript(text="dress one", latency_s=0.5, compute_s=0.1),
        )
        for data in (tone(hertz=300 + 10 * n) for n in range(8))
    ]
    logged = workspace.inferences.record(bench.live, heard)
    workspace.cases.correct(
        [
            Correction(inference_id=logged[0].id, reference="press one", author="ana"),
            Correction(inference_id=logged[1].id, reference="dress one", author="ana"),
        ]
    )
    return bench


@pytest.fixture(params=list(REPORTS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_report_has_exactly_its_keys_and_json_takes_it(filled: Bench, name: str) -> None:
    report = REPORTS[name](filled.workspace)
    assert set(report) == KEYS[name]
    assert json.loads(to_json(report)).keys() == KEYS[name]
    assert "NaN" not in to_json(report)
    json.dumps(report)


def test_of_an_empty_workspace_every_key_is_there(bench: Bench, name: str) -> None:
    report = REPORTS[name](bench.workspace)
    assert set(report) == KEYS[name]
    assert json.loads(to_json(report)).keys() == KEYS[name]


def test_validations_are_told(filled: Bench) -> None:
    report = validation_report(filled.workspace)
    counts = ("total_validations", "passed_validations", "failed_validations")
    assert [report[key] for key in counts] == [4, 2, 2]
    newest = report["recent_validations"][0]
    kept = filled.workspace.validations.listed(limit=1)[0]
    assert newest["model_id"] == kept.candidate_id
    assert newest["wer_improvement"] == pytest.approx(newest["baseline_wer"] - newest["model_wer"])
    assert newest["passed"] and newest["failure_reason"] is None and newest["is_significant"]
    refused = report["recent_validations"][2]
    assert not refused["passed"] and "no improvement" in refused["failure_reason"]
    assert report["best_wer_model"]["model_id"] == kept.candidate_id
    assert report["best_wer_model"]["wer"] == kept.comparison.candidate.wer
    assert report["config"] == filled.workspace.settings.validation.model_dump()


def test_deployments_are_told(filled: Bench) -> None:
    report = deployment_report(filled.workspace)
    assert report["active_version"]["version_id"] == filled.candidate
    assert report["total_versions"] == 4
    assert report["versions_by_status"] == {"archived": 2, "deployed": 1, "failed": 1}
    assert [one["action"] for one in report["deployment_history"]] == [
        "rollback", "deploy", "deploy", "deploy",
    ]  # fmt: skip
    newest = report["deployment_history"][0]
    assert (newest["version_id"], newest["deployed_by"]) == (filled.candidate, "ben")
    assert newest["status"] == "deployed" and newest["validation_passed"] is True


def test_suites_are_told(filled: Bench) -> None:
    report = regression_report(filled.workspace)
    runs = filled.workspace.suites.runs()
    assert (report["registered_tests"], report["total_test_runs"]) == (2, 6)
    assert report["failed_runs"] == sum(not run.verdict.passed for run in runs) == 2
    assert report["pass_rate"] == pytest.approx(4 / 6)
    rises = [run.wer_degradation for run in runs]
    assert report["degradation_stats"]["wer"]["max"] == max(rises) > 0
    assert report["degradation_stats"]["wer"]["mean"] == pytest.approx(sum(rises) / 6)
    with writing(filled.engine) as connection:
        old = suite_runs.c.candidate_id == filled.candidate
        connection.execute(update(suite_runs).where(old).values(created_at=now() - 8 * DAY))
    report = regression_report(filled.workspace)
    assert (report["total_test_runs"], report["recent_results_7days"]) == (6, 4)
    assert report["recent_pass_rate"] == pytest.approx(2 / 4)


def test_performance_is_told(filled: Bench) -> None:
    report = performance_report(filled.workspace)
    assert report["trends"]["wer"]["values"] == [0.25, 0.125, 0.0625]
    day = report["inference_statistics"]
    assert (day["total_inferences"], day["errors_detected"]) == (8, 1)
    assert day["error_detection_rate"] == pytest.approx(1 / 8)
    assert day["avg_inference_time"] == 0.5
    assert report["models"][-1]["version_id"] == "theirs"
    assert report["learning_summary"]["learning"]["tuning"]["metrics"]["loss"] == 0.5


def test_rates_that_do_not_exist_are_no_numbers(bench: Bench) -> None:
    report = regression_report(bench.workspace)
    assert math.isnan(report["pass_rate"])
    assert math.isnan(report["degradation_stats"]["cer"]["mean"])
    assert json.loads(to_json(report))["pass_rate"] is None
    assert validation_report(bench.workspace)["best_wer_model"] is None


def test_a_page_is_whole_and_points_nowhere(filled: Bench, name: str) -> None:
    html = as_html(name, filled.workspace)
    page = Page(html)
    assert html.startswith("<!doctype html>") and html.rstrip().endswith("</html>")
    for _, attributes in page.tags:
        for attribute in ("src", "href", "srcset", "action", "data", "xlink:href"):
            assert attributes.get(attribute, "data:,").startswith(("data:", "#"))
    assert "@import" not in html and "url(" not in html and "http" not in page.words
    assert "default-src 'none'" in html
    assert len(html) < 100_000
    assert not re.search(r"\bnan\b", page.words.lower())


def test_text_from_outside_stays_text(filled: Bench, name: str) -> None:
    page = Page(as_html(name, filled.workspace))
    assert page.count("script") == page.count("b") == page.count("i") == 0
    told = {
        "validation": "billing <b>",
        "deployment": ATTACK,
        "regression": "<i>must</i> work",
        "performance": ATTACK,
    }
    assert told[name] in page.words


def test_those_who_cannot_see_it_are_told(filled: Bench, name: str) -> None:
    page = Page(as_html(name, filled.workspace))
    assert page.count("table") == page.count("caption") > 0
    charts = [found for tag, found in page.tags if tag == "svg" and found.get("role") == "img"]
    assert all(found["aria-label"] for found in charts)
    assert (
        len(charts) == {"validation": 5, "deployment": 0, "regression": 1, "performance": 3}[name]
    )
    assert all(found.get("scope") for tag, found in page.tags if tag == "th")
    identifiers = [found["id"] for _, found in page.tags if "id" in found]
    assert len(identifiers) == len(set(identifiers))
    named = {found["aria-labelledby"] for _, found in page.tags if "aria-labelledby" in found}
    assert named <= set(identifiers)


EMPTY = {
    "validation": ("No version was validated yet", "misheard cycle begin"),
    "deployment": ("Nothing is live yet", "misheard deploy VERSION"),
    "regression": ("There is no regression suite yet", "misheard suite add"),
    "performance": ("Nothing was recorded yet", "misheard transcribe"),
}


def test_an_empty_page_says_what_to_do(bench: Bench, name: str) -> None:
    if name == "deployment":
        with writing(bench.engine) as connection:
            connection.exec_driver_sql("DELETE FROM deployments")
    page = Page(as_html(name, bench.workspace))
    sentence, command = EMPTY[name]
    assert page.by_tag["h1"] == [sentence]
    assert command in page.by_tag["code"][0]
    assert page.count("svg") == 0
    assert not re.search(r"\bnan\b", page.words.lower())


def test_the_validation_page_compares_like_with_like(filled: Bench) -> None:
    kept = filled.workspace.validations.listed(limit=10)
    order = [row["version_id"] for row in filled.workspace.observations.model_rows()]
    calls, quiet = loop_facts.by_set(kept, order)
    assert (calls.name, quiet.name) == ("calls", "night calls")
    assert [version for version, _ in calls.sides] == order[:4]
    assert {version for version, _ in quiet.sides} == {filled.candidate, order[3]}
    words = Page(as_html("validation", filled.workspace)).words
    for version, side in calls.sides:
        low, high = side.wer_interval
        live = " · live" if version == filled.candidate else ""
        assert f"{version}{live} {side.wer:.1%}{low:.1%} to {high:.1%}" in words
    assert "calls 484 words in 61 utterances" in words
    for one in kept[0].comparison.slices:
        if one.words:
            assert f"{one.name} · {one.words} words" in words
            assert f"{one.candidate_errors / one.words:.1%} candidate" in words


def test_an_inconclusive_validation_is_its_own_answer(filled: Bench) -> None:
    newest = filled.workspace.validations.listed(limit=1)[0]
    unsettled = Criterion(name="wer", answer=Answer.INCONCLUSIVE, reason="it may be chance")
    judge_again(filled, newest, unsettled)
    page = Page(as_html("validation", filled.workspace))
    assert page.count("header", "wait") == 1
    assert "● inconclusive" in page.by_tag["header"][0]
    table = page.words.partition("What the gate said")[2]
    assert "? inconclusive" in table
    assert f"misheard report {newest.id}" in page.words


def test_a_set_scored_otherwise_stands_by_itself(filled: Bench) -> None:
    kept = filled.workspace.validations.listed(limit=10)
    other = kept[0].comparison.from_dict(asdict(kept[0].comparison) | {"normalizer": "none"})
    changed = type(kept[0])(**vars(kept[0]) | {"comparison": other})
    assert len(loop_facts.by_set([changed, *kept[1:]], [])) == len(loop_facts.by_set(kept, [])) + 1


def test_the_deployment_page_tells_who_was_live_how_long(filled: Bench) -> None:
    history = filled.workspace.deployments.history()
    stays = loop_facts.stays(history, history[0].created_at + DAY)
    assert stays[0].live_s == DAY.total_seconds()
    assert stays[1].live_s == (history[0].created_at - history[1].created_at).total_seconds()
    assert sum(one.share for one in stays) == pytest.approx(1)
    page = Page(as_html("deployment", filled.workspace))
    assert page.by_tag["h1"] == [f"{filled.candidate} is live"]
    assert "rolled back by ben" in page.words and "complaints" in page.words
    statuses = ("live", "was live", "refused")
    assert all(status in page.words for status in statuses)


def test_the_regression_page_shows_every_run(filled: Bench) -> None:
    html = as_html("regression", filled.workspace)
    page = Page(html)
    assert page.by_tag["h1"] == ["Both suites passed last time"]
    assert page.count("circle", "good") == 4 and page.count("path", "bad") == 2
    assert "2 of 3 runs passed" in page.words


def test_a_suite_that_failed_last_time_heads_the_page(bench: Bench) -> None:
    digits = bench.dataset("digits", ["hold the line please"])
    bench.heard(bench.live, digits, ["hold the line please"], 0.1)
    bench.heard(bench.candidate, digits, ["hold a lion please"], 0.1)
    bench.suites.add("digits", SuiteKind.CRITICAL, digits)
    assert Page(as_html("regression", bench.workspace)).by_tag["h1"] == ["1 suite, and no run yet"]
    bench.suites.run_all(bench.candidate, bench.live)
    page = Page(as_html("regression", bench.workspace))
    assert page.by_tag["h1"] == ["1 of 1 suite failed last time"]
    (run,) = bench.suites.runs()
    assert f"digits: {run.verdict.failures[0]}" in page.words


def test_the_performance_page_shows_trends_and_types(filled: Bench) -> None:
    page = Page(as_html("performance", filled.workspace))
    assert page.by_tag["h1"] == ["Word error rate fell from 25.0% to 6.2%"]
    assert "1 error case, 1 of them corrected" in page.words
    assert "1 substitution" in page.words
    assert "told, not measured here" in page.words


def test_a_trend_over_weeks_is_drawn_by_days(filled: Bench) -> None:
    begun = now() - 20 * DAY
    with writing(filled.engine) as connection:
        values = {"kind": "performance", "subject": "v", "wer": 0.5, "details": {}}
        connection.execute(insert(observations).values(**values, created_at=begun))
    words = Page(as_html("performance", filled.workspace)).words
    assert f"{begun.day} {begun:%b %Y} " in words


def test_an_unknown_report_names_the_known_ones(bench: Bench) -> None:
    with pytest.raises(BadInputError, match="validation, deployment, regression, performance"):
        as_html("progress", bench.workspace)


@needs_browser
@pytest.mark.parametrize("width", [390, 1200])
def test_a_real_browser_draws_it(filled: Bench, name: str, tmp_path: Path, width: int) -> None:
    assert photograph(as_html(name, filled.workspace), tmp_path, width) > 30_000


def _types_of(value: Any) -> set[str]:
    if isinstance(value, dict):
        return {kind for item in value.values() for kind in _types_of(item)}
    if isinstance(value, list):
        return {kind for item in value for kind in _types_of(item)}
    return {type(value).__name__}


def test_a_report_holds_plain_values(filled: Bench, name: str) -> None:
    assert _types_of(REPORTS[name](filled.workspace)) <= {"str", "int", "float", "bool", "NoneType"}
