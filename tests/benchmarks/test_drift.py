"""The committed simulation of the drift chart, in its quick mode."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import drift


def test_the_quick_simulation_ends_with_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    drift.main(["--quick"])
    printed = capsys.readouterr().out
    figures = json.loads(printed.splitlines()[-1])
    rates = figures["false_alarms_a_month"]
    assert set(rates) == {one.name for one in drift.TRAFFICS}
    # 224 months of each: two or three alarms are asked for, nine are chance once in thousands.
    usual = {name: rate for name, rate in rates.items() if "two days" not in name}
    assert max(usual.values()) <= 9 / 224
    assert min(figures["naive_false_alarms_a_month"].values()) > 1
    assert figures["median_delay_days"]["x1.5 after 28"] <= 3
    for name in rates:
        assert f"| {name} |" in printed


def test_the_made_up_traffic_has_the_means_that_are_asked_for() -> None:
    traffic = drift.Traffic(name="", hour_mood=0.0)
    sums, counts = traffic.draw(np.random.default_rng(1), 28, change_at=14, factor=2.0)
    before, after = slice(0, 14 * 24), slice(14 * 24, None)
    ratio = (sums[after].sum() / counts[after].sum()) / (sums[before].sum() / counts[before].sum())
    assert ratio == pytest.approx(2.0, rel=0.02)
    assert counts.mean() == pytest.approx(200 * 0.55 * (5 + 2 * 0.4) / 7, rel=0.02)
