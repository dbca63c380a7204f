"""Whoever asks how often the traffic is wrong is told the same, and it is so. Simulated, seeded."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from statistics import fmean

import pytest
from sqlalchemy import update

from misheard.capture.captured import Captured
from misheard.cases import audited
from misheard.cases.records import Correction
from misheard.cases.review import Stream
from misheard.database.engine import now, writing
from misheard.database.schema import deployments
from misheard.monitoring import readings
from misheard.monitoring.trends import Metric, Period
from misheard.reports.status import status
from misheard.triggers import Name
from misheard.workspace import Workspace
from tests import tiny
from tests.clock import wait_for_room

Interval = tuple[float, float, float]
"""An estimate with its ends."""

ON_BOTH_DATABASES = True


@dataclass(frozen=True)
class Told:
    """What each of those who ask is told."""

    error_rates: dict[str, Interval]
    wers: dict[str, Interval]
    expected_wer: float
    """What the expected gain of a training goes by."""


def monday() -> datetime:
    """Of last week."""
    return Period.WEEK.start_of(now() - timedelta(days=7))


def make(root: Path) -> Workspace:
    """One whose live version is older than its traffic."""
    wait_for_room(Period.WEEK, 300.0)
    workspace = tiny.make(root)
    with writing(workspace._engine) as connection:
        connection.execute(update(deployments).values(created_at=monday() - timedelta(hours=1)))
    return workspace


def hear(
    workspace: Workspace,
    draw: random.Random,
    *,
    day: int,
    wrong: float,
    audit_share: float,
    count: int = 750,
    each: int = 1,
) -> tuple[int, int, int]:
    """A day's traffic; how many were wrong, and how many words were wrong and spoken.

    Speakers say `each` utterances, and are misheard always or never.
    """
    items, words, word_errors, errors = [], 0, 0, 0
    for number in range(count):
        if number % each == 0:
            is_wrong = draw.random() < wrong
        said = draw.randint(1, 9)
        words += said
        word_errors += 2 * is_wrong
        errors += is_wrong
        last = "was wrong" if is_wrong else "is right"
        items.append(
            Captured(
                audio=f"{day}-{number}.wav",
                text=f"{'so ' * said}{last}",
                heard_at=monday() + timedelta(days=day, seconds=number),
                speaker=f"{day}-{number // each}",
            )
        )
    workspace.capture(items)
    workspace.configured({"capture": {"audit_share": audit_share}}).digest.catch_up()
    return errors, word_errors, words + 2 * count


def label(workspace: Workspace) -> None:
    """By somebody who hears all that was drawn."""
    while items := workspace.review.page(Stream.AUDIT, limit=1_000).items:
        workspace.cases.correct(
            [
                Correction(
                    inference_id=one.inference_id,
                    reference=one.text.replace("was wrong", "is right"),
                    author="ann",
                )
                for one in items
            ]
        )


def told(workspace: Workspace) -> Told:
    rates, wers = {}, {}
    live = workspace.deployments.live().version_id
    by_version = workspace.labels.audited_by_version()
    for name, found in {
        "review": workspace.labels.audited(),
        "review, the version": by_version[live],
        "status": status(workspace).audited,
    }.items():
        rates[name], wers[name] = _interval(found.error_rate), _interval(found.wer)
    decision = workspace.cycles.check_trigger(expect=True)
    assert decision.circumstances.audited is not None
    rates["trigger"] = _interval(decision.circumstances.audited)
    with workspace._engine.connect() as connection:
        alerts = workspace.settings.alerts
        read = readings.read(
            connection, settings=alerts, channels=[], root=workspace.root, moment=now()
        )
    rates["alert"] = _interval(read.audited)
    for metric, into in ((Metric.AUDITED_ERROR_RATE, rates), (Metric.AUDITED_WER, wers)):
        line = workspace.trends.of(metric, since=monday(), until=monday(), period=Period.WEEK)
        (point,) = line.points
        into["trend"] = point.value, point.low, point.high
    families = {one.name: one for one in workspace.metrics.families()}
    for name, into in (("audited_error_rate", rates), ("audited_word_error_rate", wers)):
        ends = [families[f"misheard_{name}{end}"].samples[0].value for end in ("", "_low", "_high")]
        into["metrics"] = ends[0], ends[1], ends[2]
    assert decision.expected is not None
    assert decision.expected.wer is not None
    return Told(error_rates=rates, wers=wers, expected_wer=decision.expected.wer)


def _interval(found: object) -> Interval:
    return found.estimate, found.low, found.high  # type: ignore[attr-defined]


def agreed(found: dict[str, Interval]) -> Interval:
    """What all were told."""
    first = found["review"]
    for who, one in found.items():
        # Sums in another order.
        assert one == pytest.approx(first, rel=1e-9), who
    return first


@pytest.fixture
def seeded(monkeypatch: pytest.MonkeyPatch) -> Iterator[random.Random]:
    """What is drawn for an audit hangs on the random part of its id, and so on this."""
    draw = random.Random(20_261_126)
    monkeypatch.setattr(os, "urandom", draw.randbytes)
    yield draw


def test_all_agree_and_are_right_when_another_share_is_drawn_in_between(
    seeded: random.Random, tmp_path: Path
) -> None:
    """Half of a good day is drawn, and a tenth of a bad one.

    Of all labels eleven in a hundred are wrong, and of the traffic more than twenty.
    """
    rates, wers = [], []
    for number in range(8):
        workspace = make(tmp_path / str(number))
        good = hear(workspace, seeded, day=0, wrong=0.05, audit_share=0.5)
        bad = hear(workspace, seeded, day=2, wrong=0.4, audit_share=0.1)
        label(workspace)
        errors, word_errors, words = (a + b for a, b in zip(good, bad, strict=True))
        found = told(workspace)
        rates.append((*agreed(found.error_rates), errors / 1_500))
        wers.append((*agreed(found.wers), word_errors / words))
        assert found.expected_wer == pytest.approx(found.wers["review"][0])
    for replicates in (rates, wers):
        estimates, lows, highs, truths = zip(*replicates, strict=True)
        assert fmean(estimates) == pytest.approx(fmean(truths), rel=0.15)
        held = [low < truth < high for low, truth, high in zip(lows, truths, highs, strict=True)]
        assert sum(held) >= 7


def test_speakers_who_are_alike_within_make_all_less_certain(
    seeded: random.Random, tmp_path: Path
) -> None:
    widths = []
    for number, each in enumerate((1, 50)):
        workspace = make(tmp_path / str(number))
        # The second's draws do not hang on how many ids the first has needed.
        seeded.seed(each)
        hear(workspace, seeded, day=1, wrong=0.2, audit_share=0.5, each=each)
        label(workspace)
        found = told(workspace)
        widths.append([high - low for _, low, high in map(agreed, (found.error_rates, found.wers))])
    for alone, clustered in zip(*widths, strict=True):
        # By the root of the 25 that were drawn of each, were the shares of both the same.
        assert 3 < clustered / alone < 8


def test_the_trigger_looks_at_so_many_labels_and_as_many_as_it_is_to_wait_for(
    seeded: random.Random, tmp_path: Path
) -> None:
    workspace = make(tmp_path)
    count = audited.NEWEST + 50
    hear(workspace, seeded, day=1, wrong=0.5, audit_share=1.0, count=count)
    label(workspace)

    def looked_at(**triggers: int) -> int:
        cycles = workspace.configured({"triggers": triggers}).cycles
        found = cycles.check_trigger()
        assert found.circumstances.audited is not None
        assert Name.AUDITED_RATE in {one.name for one in found.conditions}
        return found.circumstances.audited.n

    assert looked_at() == audited.NEWEST
    assert looked_at(min_audited=count) == count
