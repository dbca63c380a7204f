"""How many cases there are, and how they stand."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, func, or_, select

from misheard.cases import queries
from misheard.cases.records import CaseCounts, CaseStandings, CaseStatus, CaseTotals
from misheard.database import tallies
from misheard.database.schema import case_types, corrections, error_cases
from misheard.database.schema import tallies as tallies_table


def counts(
    connection: Connection, *, since: datetime | None, min_suspicion: float | None
) -> CaseCounts:
    """Counts of everything, or of what was opened or labelled since then; see `Cases.counts`."""
    newest = queries.NEWEST
    not_confirmed = or_(newest.c.is_error.is_(None), newest.c.is_error.is_(True))
    counted: list[Any] = [not_confirmed]
    if min_suspicion is not None:
        suspicion = error_cases.c.suspicion
        sure = or_(suspicion.is_(None), suspicion >= min_suspicion)
        counted.append(or_(newest.c.is_error.is_(True), sure))
    window: list[Any] = [] if since is None else [queries.touched(since)]
    cases = queries.CASES_WITH_NEWEST
    total: Any = (
        select(func.count(), func.count().filter(newest.c.is_error.is_(True)))
        .select_from(cases)
        .where(*counted, *window)
    )
    confirmed: Select[Any] = select(func.count()).select_from(cases)
    confirmed = confirmed.where(newest.c.is_error.is_(False), *window)
    named = select(case_types.c.case_id, case_types.c.name).distinct().subquery()
    types: Select[Any] = (
        select(named.c.name, func.count())
        .select_from(cases.join(named, named.c.case_id == error_cases.c.id))
        .where(*counted, *window)
        .group_by(named.c.name)
    )
    error_count, corrected = connection.execute(total).one()
    return CaseCounts(
        error_cases=error_count,
        corrected=corrected,
        confirmations=connection.execute(queries.confirmations(since)).scalar_one(),
        confirmed_cases=connection.execute(confirmed).scalar_one(),
        by_type=dict(sorted((name, n) for name, n in connection.execute(types))),
    )


def since_cycle(connection: Connection, *, min_suspicion: float) -> tuple[int, int]:
    """Error cases, and corrected ones, since the newest cycle began; see `Cases.since_cycle`."""
    cycle_id = tallies.current_era(connection).cycle_id
    found = tallies.tallied(connection, cycle_id)
    corrected = sum(n for (kind, _), n in found.items() if kind == CaseStatus.CORRECTED)
    least = math.ceil(min_suspicion * 100 - 1e-9)
    still_open = sum(
        n
        for (kind, percent), n in found.items()
        if kind == CaseStatus.OPEN and (percent == tallies.NO_SUSPICION or percent >= least)
    )
    return still_open + corrected, corrected


def standings(connection: Connection) -> CaseStandings:
    """How many cases stand how, of all that there ever were."""
    column = tallies_table.c
    query = select(column.kind, func.sum(column.count)).group_by(column.kind)
    found = {row[0]: int(row[1]) for row in connection.execute(query)}
    corrected = found.get(CaseStatus.CORRECTED, 0)
    return CaseStandings(
        error_cases=found.get(CaseStatus.OPEN, 0) + corrected,
        corrected=corrected,
        confirmed=found.get(CaseStatus.CONFIRMED, 0),
    )


def totals(connection: Connection) -> CaseTotals:
    """Everything that was ever kept."""
    labelled = select(corrections.c.inference_id).distinct()
    types: Any = select(case_types.c.name, func.count(case_types.c.case_id.distinct()))
    types = types.group_by(case_types.c.name)

    def one(query: Any) -> Any:
        return connection.execute(query).scalar_one()

    newest = [one(select(func.max(table.c.created_at))) for table in (error_cases, corrections)]
    all_cases = select(func.count()).select_from(error_cases)
    return CaseTotals(
        cases=one(all_cases),
        labelled_cases=one(all_cases.where(error_cases.c.inference_id.in_(labelled))),
        corrections=one(select(func.count()).select_from(corrections)),
        by_type=dict(sorted((name, n) for name, n in connection.execute(types))),
        last_changed=max((at for at in newest if at is not None), default=None),
    )
