"""How often does the drift test call for nothing, and how soon does it find a change? Simulated.

    python -m benchmarks.drift [--quick]

Tables in Markdown; the last line is JSON with the main figures. docs/monitoring.md has them.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from misheard.monitoring.drift import Block, Direction, DriftRules, follow

if TYPE_CHECKING:
    from numpy.typing import NDArray

START = datetime(2026, 1, 5, tzinfo=UTC)
DAYS = 112
MONTH_DAYS = 30
RULES = DriftRules()
DAILY = DriftRules(block_hours=24)
MEAN = 0.2
SPREAD = 0.2
"""Mean suspicion and its standard deviation over transcripts."""
NAIVE_P = 0.01


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Hourly traffic with days, weekends, and moods that last.

    The mean of an hour is MEAN, times 1.2 at night and 0.8 by day (a cosine), times 1.15 at
    weekends, times the exponential of a mood: an AR(1) of hours with standard deviation
    `hour_mood` and `persistence` from one hour to the next, and a mood of the whole day with
    standard deviation `day_mood`, from Student's t with 3 degrees of freedom where `heavy`.
    """

    name: str
    an_hour: int = 200
    """Transcripts, on average; a tenth of it in the night, 40 % at weekends."""
    hour_mood: float = 0.1
    persistence: float = 0.0
    day_mood: float = 0.0
    heavy: bool = False

    def draw(
        self, random: np.random.Generator, days: int, *, change_at: int = 0, factor: float = 1.0
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Sums and counts of each hour; from day `change_at` on the mean is `factor` times."""
        hours = np.arange(24 * days)
        day, of_day = hours // 24, hours % 24
        weekend = (day + START.weekday()) % 7 >= 5
        busy = 0.55 - 0.45 * np.cos(2 * np.pi * (of_day - 2) / 24)
        counts = random.poisson(self.an_hour * busy * np.where(weekend, 0.4, 1.0))
        noise = random.standard_normal(len(hours))
        mood = np.empty(len(hours))
        mood[0] = noise[0]
        kept = math.sqrt(1 - self.persistence**2)
        for hour in range(1, len(hours)):
            mood[hour] = self.persistence * mood[hour - 1] + kept * noise[hour]
        whole = (
            random.standard_t(3, days) / math.sqrt(3) if self.heavy else random.normal(size=days)
        )
        usual = MEAN * (1 + 0.2 * np.cos(2 * np.pi * (of_day - 2) / 24))
        usual = usual * np.where(weekend, 1.15, 1.0)
        means = usual * np.exp(self.hour_mood * mood + self.day_mood * whole[day])
        if factor != 1.0:
            means = means * np.where(day >= change_at, factor, 1.0)
        sums = counts * means + SPREAD * np.sqrt(counts) * random.standard_normal(len(hours))
        return sums, counts


TRAFFICS = (
    Traffic(name="hours of their own"),
    Traffic(name="moods of hours (0.7 from one to the next)", persistence=0.7),
    Traffic(name="moods of half a day (0.9)", persistence=0.9),
    Traffic(name="moods of two days (0.98)", persistence=0.98),
    Traffic(name="moods of days", day_mood=0.1),
    Traffic(name="moods of days, now and then wild ones", day_mood=0.1, heavy=True),
    Traffic(name="little traffic: 10 an hour", an_hour=10),
)
TYPICAL = TRAFFICS[1]


def blocks(
    sums: NDArray[np.float64], counts: NDArray[np.int64], rules: DriftRules = RULES
) -> Iterator[Block]:
    """Blocks of `rules.block_hours`."""
    step = rules.block_hours
    for at in range(0, len(sums), step):
        count = int(counts[at : at + step].sum())
        if count:
            total = float(sums[at : at + step].sum())
            yield Block(start=START + timedelta(hours=at), total=total, count=count)


def alarms(found: Iterator[Block], rules: DriftRules = RULES) -> list[datetime]:
    """When rises were told of, each at the end of its block."""
    begun, last = [], Direction.NONE
    kept = list(found)
    for block, drift in zip(kept, follow(kept, rules), strict=True):
        if drift.direction is Direction.RISE and last is not Direction.RISE:
            begun.append(block.start + timedelta(hours=rules.block_hours))
        last = drift.direction
    return begun


def naive_alarms(sums: NDArray[np.float64], counts: NDArray[np.int64]) -> int:
    """Each hour, a z-test of the last day's transcripts against those of the 28 days before."""
    total, number = np.cumsum(np.r_[0.0, sums]), np.cumsum(np.r_[0, counts])
    now = np.arange(29 * 24, len(sums) + 1)
    day = (total[now] - total[now - 24]) / (number[now] - number[now - 24])
    before_count = number[now - 24] - number[now - 29 * 24]
    before = (total[now - 24] - total[now - 29 * 24]) / before_count
    error = SPREAD * np.sqrt(1 / (number[now] - number[now - 24]) + 1 / before_count)
    above = (day - before) / error > NormalDist().inv_cdf(1 - NAIVE_P)
    return int(above[0]) + int(np.sum(above[1:] & ~above[:-1]))


def false_alarms(traffic: Traffic, series: int, seed: int) -> tuple[float, float, float]:
    """False alarms a month of the chart, of one with blocks of a day, and of the naive test."""
    random = np.random.default_rng(seed)
    ours = daily = naive = 0
    for _ in range(series):
        sums, counts = traffic.draw(random, DAYS)
        ours += len(alarms(blocks(sums, counts)))
        daily += len(alarms(blocks(sums, counts, DAILY), DAILY))
        naive += naive_alarms(sums, counts)
    months = series * DAYS / MONTH_DAYS
    return ours / months, daily / months, naive / (series * (DAYS - 29) / MONTH_DAYS)


def delays(
    traffic: Traffic, factor: float, quiet_days: int, series: int, seed: int
) -> NDArray[np.float64]:
    """Days from a change until it is told of, 28 at most; infinity where it is not."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(series):
        sums, counts = traffic.draw(random, quiet_days + 28, change_at=quiet_days, factor=factor)
        changed = START + timedelta(days=quiet_days)
        after = [at for at in alarms(blocks(sums, counts)) if at > changed]
        found.append((after[0] - changed) / timedelta(days=1) if after else math.inf)
    return np.array(found)


def main(arguments: list[str] | None = None) -> None:
    """Simulate, print tables, and end with the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a tenth of the series")
    quick = parser.parse_args(arguments).quick
    series, changes = (60, 30) if quick else (600, 200)
    started = time.perf_counter()
    rates = _false_alarm_table(series)
    shown = _delay_table(changes)
    print(
        json.dumps(
            {
                "asked_for_a_month": RULES.false_alarms_a_month,
                "months_each": round(series * DAYS / MONTH_DAYS),
                "false_alarms_a_month": {name: ours for name, (ours, _, _) in rates.items()},
                "daily_false_alarms_a_month": {
                    name: daily for name, (_, daily, _) in rates.items()
                },
                "naive_false_alarms_a_month": {name: other for name, (*_, other) in rates.items()},
                "median_delay_days": shown,
                "seconds": round(time.perf_counter() - started),
            }
        )
    )


def _false_alarm_table(series: int) -> dict[str, tuple[float, float, float]]:
    print(f"{series * DAYS / MONTH_DAYS:,.0f} months of each kind of traffic, without a change\n")
    print("| traffic | chart | with blocks of a day | z-test of the last day, each hour |")
    print("| --- | ---: | ---: | ---: |")
    rates = {}
    for number, traffic in enumerate(TRAFFICS):
        ours, daily, naive = false_alarms(traffic, series, seed=number)
        rates[traffic.name] = round(ours, 4), round(daily, 4), round(naive, 2)
        print(f"| {traffic.name} | {ours:.4f} | {daily:.4f} | {naive:.1f} |", flush=True)
    return rates


def _delay_table(series: int) -> dict[str, float | None]:
    print(f"\nDays until a lasting change is told of ({TYPICAL.name}; {series} changes each)\n")
    print("| change | quiet days before | found in 28 days | median | 90 % within |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    medians: dict[str, float | None] = {}
    for factor in (1.05, 1.1, 1.25, 1.5, 2.0):
        for quiet_days in (14, 28, 84):
            found = delays(TYPICAL, factor, quiet_days, series, seed=quiet_days)
            middle, late = np.quantile(found, (0.5, 0.9), method="higher")
            medians[f"x{factor} after {quiet_days}"] = _days(middle)
            print(
                f"| +{factor - 1:.0%} | {quiet_days} | {np.isfinite(found).mean():.0%} "
                f"| {_shown(middle)} | {_shown(late)} |",
                flush=True,
            )
    return medians


def _days(value: float) -> float | None:
    return round(float(value), 2) if math.isfinite(value) else None


def _shown(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else "–"


if __name__ == "__main__":
    main()
