"""What rented machines have cost, and what the next one may."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from misheard.database.engine import now
from misheard.finetune.rented.rentals import Rental, Rentals, Spent, Wanted, month_of


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one job's machines came to in one month."""

    month: str
    """As in 2026-11; UTC."""
    job_id: str
    machines: int
    hours: float
    usd: float
    is_final: bool
    """Whether all of them are gone."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a training may cost."""

    wanted: Wanted
    """The machine; `most_usd` of it is the worst case."""
    likely_hours: float | None
    """By what past trainings on such machines took; None before the first."""
    stands: Spent
    budget_usd: float
    """Of a month; 0: no limit."""

    @property
    def likely_usd(self) -> float | None:
        """What it probably costs; None where nothing is known."""
        if self.likely_hours is None:
            return None
        return self.likely_hours * self.wanted.usd_per_hour

    @property
    def is_refused(self) -> bool:
        """Whether the budget has no room for the worst case."""
        after = self.stands.total_usd + self.wanted.most_usd
        return bool(self.budget_usd) and after > self.budget_usd


def costs(rentals: Rentals) -> list[Cost]:
    """By month and job, the newest month first; in it, the dearest job."""
    parts: dict[tuple[str, str], list[tuple[Rental, float, float]]] = defaultdict(list)
    for one in rentals.listed():
        if one.ending is not None and one.ending.is_free:
            continue
        begins, last = one.running_at or one.asked_at, one.ended_at or now()
        while True:
            since, until = month_of(begins)
            key = (f"{since:%Y-%m}", one.job_id)
            parts[key].append((one, one.hours(since, until), one.usd(since, until)))
            if until >= last:
                break
            begins = until
    made = [
        Cost(
            month=month,
            job_id=job_id,
            machines=len(found),
            hours=sum(hours for _, hours, _ in found),
            usd=sum(usd for _, _, usd in found),
            is_final=not any(one.is_open for one, _, _ in found),
        )
        for (month, job_id), found in parts.items()
    ]
    by_cost = sorted(made, key=lambda cost: -cost.usd)
    return sorted(by_cost, key=lambda cost: cost.month, reverse=True)


def estimate(
    rentals: Rentals,
    wanted: Wanted,
    *,
    budget_usd: float,
    audio_hours: float = 0.0,
    epochs: int = 0,
) -> Estimate:
    """What a machine may cost for a training of so many epochs on so much audio."""
    rate = rentals.hours_by_audio(wanted.machine_type) if audio_hours else None
    hours = None if rate is None else min(rate * audio_hours * epochs, wanted.max_hours)
    return Estimate(
        wanted=wanted, likely_hours=hours, stands=rentals.spent(), budget_usd=budget_usd
    )
