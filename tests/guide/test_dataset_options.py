"""What the fields about datasets do to the dataset of a job."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from misheard.datasets.manifest import Row
from src.data.data_manager import DataManager
from src.data.finetuning_orchestrator import FinetuningJob, FinetuningOrchestrator
from tests.guide.conftest import EASY, sentence

Fill = Callable[..., list[str]]


def prepared(data: DataManager, **changed: Any) -> tuple[FinetuningJob, list[Row]]:
    orchestrator = FinetuningOrchestrator(data, dataclasses.replace(EASY, **changed))
    job = orchestrator.trigger_finetuning(force=True)
    assert job is not None
    if job.dataset_id is None:
        return job, []
    datasets = orchestrator.workspace.datasets
    return job, datasets.rows(datasets.get(job.dataset_id))


@pytest.mark.parametrize(
    ("train", "val", "test", "split"),
    [(1, 0, 0, "train"), (0, 1, 0, "validation"), (0, 0, 1, "test")],
)
def test_a_split_that_is_given_everything_has_everything(
    data: DataManager, fill: Fill, train: float, val: float, test: float, split: str
) -> None:
    fill(range(30))
    _, found = prepared(data, train_ratio=train, val_ratio=val, test_ratio=test)
    assert Counter(row.split for row in found) == {split: 30}


def test_ratios_are_kept_about_and_no_sentence_is_left_out(data: DataManager, fill: Fill) -> None:
    fill(range(60))
    _, found = prepared(data, train_ratio=0.5, val_ratio=0.25, test_ratio=0.25)
    assert sorted(row.reference for row in found) == sorted(map(sentence, range(60)))
    counts = Counter(str(row.split) for row in found)
    assert 20 <= counts["train"] <= 40
    assert min(counts["validation"], counts["test"]) >= 7
    _, as_usual = prepared(data)
    assert Counter(str(row.split) for row in as_usual)["train"] > counts["train"]


def test_rare_types_of_error_weigh_more_and_no_correction_is_left_out(
    data: DataManager, fill: Fill
) -> None:
    fill(range(18))
    fill([18, 19], original_transcript="quite another thing")
    _, found = prepared(data, balance_error_types=True)
    assert len(found) == 20
    rare = {sentence(18), sentence(19)}
    assert all(row.weight > 1 for row in found if row.reference in rare)
    assert all(row.weight == 1 for row in found if row.reference not in rare)


def test_without_balance_every_utterance_weighs_the_same(data: DataManager, fill: Fill) -> None:
    fill(range(18))
    fill([18, 19], original_transcript="quite another thing")
    _, found = prepared(data, balance_error_types=False)
    assert [row.weight for row in found] == [1.0] * 20


def test_a_dataset_below_the_quality_that_is_wanted_fails_the_job_and_loses_no_case(
    data: DataManager, fill: Fill, clip: Callable[[int], str], everything: Callable[[], Any]
) -> None:
    fill(range(3))
    data.store_failed_case(clip(3), "what", "nobody can say as much as this in a single second")
    before = everything()
    job, _ = prepared(data, min_dataset_quality=0.9)
    assert job.status == "failed"
    assert "quality 75.0% (1 text too long for its audio)" in str(job.error_message)
    assert everything() == before
    orchestrator = FinetuningOrchestrator(data, EASY)
    assert orchestrator.start_training(job.job_id) is False


def test_a_lower_quality_may_be_asked_for(
    data: DataManager, fill: Fill, clip: Callable[[int], str]
) -> None:
    fill(range(3))
    data.store_failed_case(clip(3), "what", "nobody can say as much as this in a single second")
    job, found = prepared(data, min_dataset_quality=0.75)
    assert (job.status, len(found)) == ("ready", 4)
