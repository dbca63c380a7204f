"""Prometheus' text: what is in it is what the workspace holds, and a parser can read it."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event, insert, text

from misheard.capture.captured import Captured
from misheard.cases import review
from misheard.database.engine import now, writing
from misheard.database.schema import selections
from misheard.monitoring.metrics import MetricFamily, Sample, exposed
from misheard.reports.status import status
from misheard.workspace import Workspace
from tests import tiny
from tests.monitoring.traffic import an_hour, hours, of_audit

ON_BOTH_DATABASES = True
LINE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\.)*",?)+)\})? (\S+)')


@pytest.fixture
def workspace(tmp_path: Path, database_url: str) -> Workspace:
    return tiny.make(tmp_path / "ws", database={"url": database_url})


def parsed(exposition: str) -> dict[str, float]:
    """Name and labels → value; every line is a comment or a sample."""
    assert exposition.endswith("\n")
    found = {}
    kinds: dict[str, str] = {}
    for line in exposition.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name not in kinds
            kinds[name] = kind
        elif not line.startswith("# HELP "):
            match = LINE.fullmatch(line)
            assert match, line
            assert re.sub(r"_(bucket|sum|count)$", "", match[1]) in kinds or match[1] in kinds, line
            key = match[1] + (f"{{{match[2]}}}" if match[2] else "")
            assert key not in found
            found[key] = float(match[3])
    return found


def test_a_new_workspace(workspace: Workspace) -> None:
    found = parsed(workspace.metrics.text())
    version = workspace.deployments.live().version_id
    name = workspace.registry.get(version).name
    info = f'misheard_live_version_info{{slot="production",version="{version}",name="{name}"}}'
    assert found[info] == 1
    assert found["misheard_digest_behind"] == 0
    assert "misheard_last_inference_timestamp_seconds" not in found


def test_traffic_by_version_since_ever(workspace: Workspace) -> None:
    engine, moment = workspace._engine, now().replace(minute=0, second=0, microsecond=0)
    an_hour(engine, moment, "v-1", suspicion=30.0, errors=3)
    an_hour(engine, moment - timedelta(days=400), "v-1", suspicion=90.0, empty=7)
    an_hour(engine, moment, 'ven"dor\\', inferences=5)
    an_hour(engine, moment, "v-1", slice="channel=mobile")
    found = parsed(workspace.metrics.text())
    assert found['misheard_inferences_total{version="v-1"}'] == 200
    assert found['misheard_inferences_total{version="ven\\"dor\\\\"}'] == 5
    assert found['misheard_empty_transcripts_total{version="v-1"}'] == 7
    assert found['misheard_errors{version="v-1"}'] == 3
    assert found['misheard_latency_seconds_sum{version="v-1"}'] == 100
    assert found['misheard_latency_seconds_count{version="v-1"}'] == 200
    assert found['misheard_compute_seconds_total{version="v-1"}'] == pytest.approx(120)
    assert found['misheard_suspicion_mean{version="v-1"}'] == pytest.approx(0.3)


def test_how_long_callers_waited_is_a_cumulative_histogram(workspace: Workspace) -> None:
    drawn = np.random.default_rng(1).lognormal(mean=-1.0, sigma=1.5, size=3_000)
    items = [
        Captured(audio="a.wav", text="x", heard_at=now(), latency_s=float(one)) for one in drawn
    ]
    workspace.capture(items)
    workspace.digest.catch_up()
    version = workspace.deployments.live().version_id
    exposition = workspace.metrics.text()
    assert "# TYPE misheard_latency_seconds histogram\n" in exposition
    found = parsed(exposition)
    start = f'misheard_latency_seconds_bucket{{version="{version}",le="'
    buckets = {
        key.removeprefix(start).removesuffix('"}'): value
        for key, value in found.items()
        if key.startswith(start)
    }
    assert list(buckets)[-1] == "+Inf"
    assert {"0.01", "0.1", "1", "10", "100"} < buckets.keys()
    for bound, count in buckets.items():
        # A bucket is never cut through: the counts are those of the numbers themselves.
        assert count == np.count_nonzero(drawn <= float(bound)), bound
    assert found[f'misheard_latency_seconds_count{{version="{version}"}}'] == 3_000
    of_sum = f'misheard_latency_seconds_sum{{version="{version}"}}'
    assert found[of_sum] == pytest.approx(drawn.sum())


def test_queues_cycles_alerts_and_audits(workspace: Workspace) -> None:
    version = workspace.deployments.live().version_id
    heard = tiny.heard(workspace, 6)
    tiny.correct(workspace, heard[:2])
    with writing(workspace._engine) as connection:
        for number, one in enumerate(heard):
            row = {
                "inference_id": one.id,
                "created_at": now(),
                "stream": "audit" if number < 4 else "suspicious",
                **(of_audit(one) if number < 3 else {}),
                "probability": 1.0,
                "priority": 0.0,
                "labelled_at": now() if number < 3 else None,
                "is_error": number < 1,
                "words": 5,
                "word_errors": 2 if number < 1 else 0,
            }
            connection.execute(insert(selections).values(**row))
    begun = workspace.cycles.begin(actor="ann", force=True)
    assert begun is not None
    found = parsed(workspace.configured({"alerts": {"max_digest_behind": 1}}).metrics.text())
    assert found["misheard_digest_behind"] == 6
    assert found['misheard_review_queue{stream="audit"}'] == 1
    assert found['misheard_review_queue{stream="suspicious"}'] == 2
    assert found['misheard_error_cases{status="corrected"}'] == 2
    assert found['misheard_cycles{state="triggered"}'] == 1
    assert found[f'misheard_audited{{version="{version}"}}'] == 3
    assert found[f'misheard_audited_error_rate{{version="{version}"}}'] == pytest.approx(1 / 3)
    assert found[f'misheard_audited_word_error_rate{{version="{version}"}}'] == pytest.approx(
        2 / 15
    )
    last = found["misheard_last_inference_timestamp_seconds"]
    assert last == pytest.approx(heard[-1].created_at.timestamp())
    workspace.configured({"alerts": {"max_digest_behind": 1}}).alerts.evaluate()
    found = parsed(workspace.metrics.text())
    assert found['misheard_alerts_firing{rule="digest_behind"}'] == 1
    assert found['misheard_deliveries_waiting{channel="log"}'] == 1


def test_of_a_long_queue_no_more_is_counted_than_on_the_status_page(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = workspace.configured({"capture": {"audit_share": 1.0}})
    workspace.capture([Captured(audio="a.wav", text="x", heard_at=now()) for _ in range(5)])
    workspace.digest.catch_up()
    assert parsed(workspace.metrics.text())['misheard_review_queue{stream="audit"}'] == 5
    monkeypatch.setattr(review, "COUNTED_AT_MOST", 3)
    assert parsed(workspace.metrics.text())['misheard_review_queue{stream="audit"}'] == 3


def test_no_hour_of_long_ago_is_read(workspace: Workspace) -> None:
    """By a scrape, by the status page and by the rules, whatever is known of the tables."""
    engine, moment = workspace._engine, now().replace(minute=0, second=0, microsecond=0)
    if engine.dialect.name != "sqlite":
        pytest.skip("the plans are SQLite's")
    for slice_name in ("", "channel=mobile"):
        told = [(moment - timedelta(hours=n), "v-1", {"slice": slice_name}) for n in range(200)]
        hours(engine, told)
    asked: list[tuple[str, Any]] = []
    event.listen(engine, "before_cursor_execute", lambda *told: asked.append((told[2], told[3])))
    for analyzed in (False, True):
        if analyzed:
            with engine.begin() as connection:
                connection.execute(text("ANALYZE"))
        asked.clear()
        workspace.metrics.text()
        status(workspace)
        workspace.alerts.evaluate()
        queries = [one for one in asked if one[0].startswith("SELECT") and "hourly" in one[0]]
        assert len(queries) > 5
        with engine.connect() as connection:
            for statement, values in queries:
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
                steps = [step for *_, step in plan if " hourly" in step]
                newest_alone = "max(hourly.hour)" in statement
                assert all("hour>" in step or newest_alone for step in steps), (steps, statement)


def test_numbers_and_texts_as_the_format_wants_them() -> None:
    numbers = [1.0, 0.25, 1e18, float("nan"), float("inf"), float("-inf"), 1e-9]
    samples = tuple(Sample(value=one, labels={"n": str(n)}) for n, one in enumerate(numbers))
    made = MetricFamily(name="x", kind="gauge", help="One\nline, a \\ and more.", samples=samples)
    lines = exposed([made]).splitlines()
    assert lines[0] == "# HELP x One\\nline, a \\\\ and more."
    values = [line.split()[-1] for line in lines[2:]]
    assert values == ["1", "0.25", "1000000000000000000", "NaN", "+Inf", "-Inf", "1e-09"]
