from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from misheard.errors import BadInputError
from src.data.data_manager import DataManager
from src.data.finetuning_coordinator import FinetuningCoordinator
from src.data.metadata_tracker import MetadataTracker
from tests.guide.conftest import rows

Fill = Callable[..., list[str]]


@pytest.fixture
def tracker(root: Path) -> MetadataTracker:
    return MetadataTracker(root, use_gcs=False)


def days_ago(root: Path, days: float, *, newest: int = 1) -> None:
    """What was recorded last lies so many days back."""
    rows(
        root,
        f"UPDATE observations SET created_at = datetime('now', '-{days} days') WHERE number IN "
        f"(SELECT number FROM observations ORDER BY number DESC LIMIT {newest})",
    )


@pytest.mark.parametrize(
    "metric", ["wer", "cer", "error_rate", "correction_rate", "inference_time"]
)
def test_a_trend_of_nothing_has_every_key(tracker: MetadataTracker, metric: str) -> None:
    found = tracker.get_performance_trend(metric)
    figures = {"latest", "mean", "std", "min", "max", "improvement", "improvement_percent"}
    assert set(found) == {"metric", "count", "timestamps", "values", *figures}
    assert (found["metric"], found["count"]) == (metric, 0)
    assert (found["timestamps"], found["values"]) == ([], [])
    assert all(math.isnan(found[name]) for name in figures)


def test_a_trend_says_how_a_figure_has_changed(tracker: MetadataTracker) -> None:
    for wer in (0.4, 0.3, 0.2):
        tracker.record_performance(wer, cer=wer / 2, metadata={"set": "menus"})
    found = tracker.get_performance_trend()
    times = [datetime.fromisoformat(one) for one in found.pop("timestamps")]
    assert times == sorted(times)
    assert found == {
        "metric": "wer",
        "count": 3,
        "latest": 0.2,
        "mean": pytest.approx(0.3),
        "std": pytest.approx(0.0816, abs=1e-4),
        "min": 0.2,
        "max": 0.4,
        "improvement": pytest.approx(0.2),
        "improvement_percent": pytest.approx(50.0),
        "values": [0.4, 0.3, 0.2],
    }
    assert tracker.get_performance_trend("cer")["values"] == [0.2, 0.15, 0.1]


def test_each_figure_of_a_performance_has_a_trend_of_its_own(tracker: MetadataTracker) -> None:
    tracker.record_performance(
        wer=0.1, cer=0.05, error_rate=0.2, correction_rate=0.8, inference_time=1.5
    )
    latest = {
        metric: tracker.get_performance_trend(metric)["latest"]
        for metric in ("wer", "cer", "error_rate", "correction_rate", "inference_time")
    }
    assert list(latest.values()) == [0.1, 0.05, 0.2, 0.8, 1.5]


def test_a_window_leaves_out_what_is_older(root: Path, tracker: MetadataTracker) -> None:
    for days, wer in ((40, 0.4), (20, 0.3), (0, 0.2)):
        tracker.record_performance(wer=wer)
        days_ago(root, days)
    values = [
        tracker.get_performance_trend("wer", time_window_days=window)["values"]
        for window in (None, 60, 30, 0.5)
    ]
    assert values == [[0.4, 0.3, 0.2], [0.4, 0.3, 0.2], [0.3, 0.2], [0.2]]


def test_statistics_of_no_traffic_have_every_key(tracker: MetadataTracker) -> None:
    found = tracker.get_inference_statistics()
    assert {key for key, value in found.items() if value != value} == {  # noqa: PLR0124 - NaN
        "avg_inference_time",
        "min_inference_time",
        "max_inference_time",
        "error_detection_rate",
        "correction_rate",
    }
    assert {key: value for key, value in found.items() if value == value} == {  # noqa: PLR0124
        "time_window_hours": 24,
        "total_inferences": 0,
        "errors_detected": 0,
        "corrections_applied": 0,
    }


def test_statistics_sum_up_what_was_recorded(tracker: MetadataTracker) -> None:
    for number in range(10):
        tracker.record_inference_stats(
            f"{number}.wav",
            0.1 * (number + 1),
            model_confidence=0.9,
            error_detected=number < 4,
            corrected=number < 1,
            metadata={"line": number},
        )
    assert tracker.get_inference_statistics() == {
        "time_window_hours": 24,
        "total_inferences": 10,
        "avg_inference_time": pytest.approx(0.55),
        "min_inference_time": pytest.approx(0.1),
        "max_inference_time": pytest.approx(1.0),
        "error_detection_rate": 0.4,
        "correction_rate": 0.1,
        "errors_detected": 4,
        "corrections_applied": 1,
    }


def test_statistics_leave_out_what_is_older_than_their_window(
    root: Path, tracker: MetadataTracker
) -> None:
    for days in (10, 2, 0):
        tracker.record_inference_stats("a.wav", 0.1)
        days_ago(root, days)
    totals = [
        tracker.get_inference_statistics(time_window_hours=hours)["total_inferences"]
        for hours in (24, 72, 1000, None)
    ]
    assert totals == [1, 2, 3, 3]


def test_cases_that_were_reported_are_no_traffic(tracker: MetadataTracker, fill: Fill) -> None:
    fill(range(5))
    assert tracker.get_inference_statistics()["total_inferences"] == 0


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"wer": float("nan")},
        {"wer": -0.1},
        {"cer": "low"},
        {"error_rate": 1.5},
        {"correction_rate": 2},
        {"inference_time": float("inf")},
        {"wer": 0.1, "metadata": {"at": object()}},
    ],
)
def test_a_performance_that_cannot_be_is_refused_and_not_kept(
    root: Path, tracker: MetadataTracker, given: dict[str, Any]
) -> None:
    with pytest.raises(BadInputError):
        tracker.record_performance(**given)
    assert rows(root, "SELECT count(*) FROM observations") == [(0,)]


@pytest.mark.parametrize(
    "given",
    [
        {"inference_time": None},
        {"inference_time": -1},
        {"inference_time": "fast"},
        {"model_confidence": 1.2},
        {"model_confidence": float("nan")},
        {"metadata": [1]},
    ],
)
def test_an_inference_that_cannot_be_is_refused_and_not_kept(
    root: Path, tracker: MetadataTracker, given: dict[str, Any]
) -> None:
    with pytest.raises(BadInputError):
        tracker.record_inference_stats(**{"audio_path": "a.wav", "inference_time": 0.1} | given)
    assert rows(root, "SELECT count(*) FROM observations") == [(0,)]


def test_an_unknown_metric_is_named_with_those_that_exist(tracker: MetadataTracker) -> None:
    with pytest.raises(BadInputError, match=r"'ser'.*wer, cer"):
        tracker.get_performance_trend("ser")


@pytest.mark.parametrize("metrics", [["a"], {"at": float("nan")}, "good"])
def test_progress_that_cannot_be_is_refused_and_not_kept(
    root: Path, tracker: MetadataTracker, metrics: Any
) -> None:
    with pytest.raises(BadInputError):
        tracker.record_learning_progress("pilot", metrics)
    assert rows(root, "SELECT count(*) FROM observations") == [(0,)]


def test_the_summary_of_an_empty_workspace_has_every_key(tracker: MetadataTracker) -> None:
    found = tracker.get_learning_summary()
    assert found["cycles"] == {"total": 0, "by_state": {}}
    assert found["jobs"] == {"total": 0, "by_state": {}}
    assert (found["versions"], found["datasets"]["total"]) == (1, 0)
    assert found["corrections"] == {"total": 0, "errors": 0, "confirmations": 0}
    assert found["learning"] == {}
    assert found["performance"]["wer"]["count"] == 0
    assert math.isnan(found["performance"]["wer"]["latest"])


def test_the_summary_tells_what_the_loop_has_done(
    data: DataManager,
    tracker: MetadataTracker,
    fill: Fill,
    clip: Any,
    coordinate: Callable[..., FinetuningCoordinator],
) -> None:
    fill(range(3))
    data.store_failed_case(clip(3), "Stay, there!", "stay there")
    coordinate().orchestrator.trigger_finetuning()
    tracker.record_performance(wer=0.3)
    tracker.record_performance(wer=0.2)
    tracker.record_learning_progress("pilot", {"accuracy": 0.7})
    tracker.record_learning_progress("pilot", {"accuracy": 0.8}, {"by": "ann"})
    found = tracker.get_learning_summary()
    assert found["cycles"] == {"total": 1, "by_state": {"dataset": 1}}
    assert found["corrections"] == {"total": 4, "errors": 3, "confirmations": 1}
    assert found["datasets"]["by_purpose"] == {"evaluation": 1, "training": 1}
    pilot = found["learning"]["pilot"]
    assert (pilot["count"], pilot["metrics"]) == (2, {"accuracy": 0.8})
    assert found["performance"]["wer"] == {
        "count": 2,
        "first": 0.3,
        "latest": 0.2,
        "improvement": pytest.approx(0.1),
    }


def test_models_are_compared_in_a_table_with_those_made_elsewhere(
    tracker: MetadataTracker, coordinate: Callable[..., FinetuningCoordinator], model: Any
) -> None:
    coordinator = coordinate()
    done = coordinator.run_complete_workflow(model_path=model("new"), auto_deploy=True)
    tracker.record_model_version(
        "cloud-3",
        "large",
        12_000,
        {"epochs": 3},
        performance_metrics={"wer": 0.12, "latency": 0.4},
    )
    frame = tracker.get_model_comparison().set_index("version_id")
    new = done["stages"]["deployment"]["version_id"]
    assert len(frame) == 3
    assert list(frame.loc[[new, "cloud-3"], "status"]) == ["deployed", "told"]
    assert list(frame.loc[[new, "cloud-3"], "wer"]) == [0.0, 0.12]
    assert frame.loc["cloud-3", "training_data_size"] == 12_000
    assert frame.loc["cloud-3", "latency"] == 0.4
    assert bool(frame.loc[new, "is_live"]) is True


def test_a_model_made_elsewhere_that_is_told_of_twice_is_one_row(tracker: MetadataTracker) -> None:
    for wer in (0.2, 0.1):
        tracker.record_model_version("cloud-3", "large", 10, performance_metrics={"wer": wer})
    frame = tracker.get_model_comparison()
    assert list(frame[frame["version_id"] == "cloud-3"]["wer"]) == [0.1]


@pytest.mark.parametrize("size", [-1, 2.5, "many", float("nan")])
def test_a_model_made_elsewhere_needs_a_size_that_can_be(
    root: Path, tracker: MetadataTracker, size: Any
) -> None:
    with pytest.raises(BadInputError, match="training_data_size"):
        tracker.record_model_version("cloud-3", "large", size)
    assert rows(root, "SELECT count(*) FROM observations") == [(0,)]


def test_the_report_is_written_as_figures_and_as_a_page(
    tracker: MetadataTracker, tmp_path: Path
) -> None:
    tracker.record_performance(wer=0.3)
    tracker.record_performance(wer=0.2)
    tracker.record_inference_stats("a.wav", 0.1, error_detected=True)
    path = tmp_path / "performance.json"
    found = tracker.generate_performance_report(path)
    assert found["trends"]["wer"]["count"] == 2
    assert found["inference_statistics"]["errors_detected"] == 1
    assert found["models"][0]["is_live"] is True
    written = json.loads(path.read_text())
    assert written["trends"]["wer"]["latest"] == 0.2
    assert written["trends"]["cer"]["latest"] is None
    assert "<svg" in path.with_suffix(".html").read_text()


def test_the_report_of_an_empty_workspace_is_written_too(
    tracker: MetadataTracker, tmp_path: Path
) -> None:
    found = tracker.generate_performance_report(tmp_path / "p.html")
    assert found["inference_statistics"]["total_inferences"] == 0
    assert json.loads((tmp_path / "p.json").read_text())["learning_summary"]["versions"] == 1
    assert "<html" in (tmp_path / "p.html").read_text()


def test_a_tracker_sees_what_was_recorded_by_another(root: Path, tracker: MetadataTracker) -> None:
    tracker.record_performance(wer=0.3)
    again = MetadataTracker(local_storage_dir=root, use_gcs=False)
    assert again.get_performance_trend("wer", 1)["values"] == [0.3]
