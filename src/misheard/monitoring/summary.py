"""The loop at a glance: how much of everything there is, and every model version in one table."""

from __future__ import annotations

import math
from typing import Any

from sqlalchemy import Column, Connection, Select, func, select

from misheard.database.schema import (
    corrections,
    cycles,
    datasets,
    deployments,
    jobs,
    observations,
    validations,
    versions,
)

_PRODUCTION = "production"


def learning(connection: Connection) -> dict[str, Any]:
    """Counts of cycles, jobs, versions, datasets and corrections, and the stages of learning.

    `corrections` counts utterances by the newest word on each; `learning` has for each stage how
    often it was recorded, and its newest metrics.
    """
    wrong = _counted(connection, _newest_corrections())
    return {
        "cycles": _by(connection, cycles.c.state),
        "jobs": _by(connection, jobs.c.state),
        "versions": _total(connection, versions.c.id),
        "datasets": _by(connection, datasets.c.purpose),
        "corrections": {
            "total": sum(wrong.values()),
            "errors": wrong.get(True, 0),
            "confirmations": wrong.get(False, 0),
        },
        "learning": _stages(connection),
    }


def models(connection: Connection) -> list[dict[str, Any]]:
    """One dict a version, oldest first: registered ones, then those only told of.

    A registered version has the figures of its newest validation. Its `status` is `deployed` while
    it is live in production, `archived` when it was, `failed` when a gate refused it, and otherwise
    `registered`. What is unknown is None, and a rate NaN.
    """
    live, ever = _deployed(connection)
    verdicts = {row["candidate_id"]: dict(row) for row in _newest_validations(connection)}
    rows = [
        _registered(dict(row), verdicts.get(row["version_id"]), live=live, ever=ever)
        for row in connection.execute(_versions()).mappings()
    ]
    known = {row["version_id"] for row in rows}
    return rows + [row for row in _told(connection) if row["version_id"] not in known]


def _versions() -> Select[Any]:
    column = versions.c
    return (
        select(
            column.id.label("version_id"),
            column.name.label("model_name"),
            column.created_at,
            column.source,
            column.parent_id,
            column.dataset_id,
            column.job_id,
            column.verdict,
            datasets.c.counts,
        )
        .outerjoin(datasets, datasets.c.id == column.dataset_id)
        .order_by(column.created_at, column.id)
    )


def _newest_validations(connection: Connection) -> Any:
    """The newest validation of each candidate; of its figures, only the few that are needed."""
    column = validations.c
    rank = func.row_number().over(
        partition_by=column.candidate_id, order_by=(column.created_at.desc(), column.id.desc())
    )
    numbered = select(column.id, rank.label("rank")).subquery()
    newest = select(numbered.c.id).where(numbered.c.rank == 1)
    figures = column.figures
    query = select(
        column.candidate_id,
        column.baseline_id,
        column.passed,
        column.created_at,
        column.set_name,
        figures[("candidate", "wer")].as_float().label("wer"),
        figures[("candidate", "cer")].as_float().label("cer"),
        figures[("baseline", "wer")].as_float().label("baseline_wer"),
        figures["p_value"].as_float().label("p_value"),
    ).where(column.id.in_(newest))
    return connection.execute(query).mappings()


def _registered(
    row: dict[str, Any], validation: dict[str, Any] | None, *, live: str | None, ever: set[str]
) -> dict[str, Any]:
    elsewhere, counts = row.pop("verdict") or {}, row.pop("counts") or {}
    found = validation or {
        "wer": elsewhere.get("model_wer"),
        "cer": elsewhere.get("model_cer"),
        "baseline_wer": elsewhere.get("baseline_wer"),
        "p_value": elsewhere.get("p_value"),
        "passed": elsewhere.get("passed"),
    }
    is_live, passed = row["version_id"] == live, found.get("passed")
    if is_live:
        status = "deployed"
    elif row["version_id"] in ever:
        status = "archived"
    else:
        status = "failed" if passed is False else "registered"
    return {
        **row,
        "training_data_size": counts.get("train"),
        "status": status,
        "is_live": is_live,
        "wer": _number(found.get("wer")),
        "cer": _number(found.get("cer")),
        "baseline_id": found.get("baseline_id"),
        "baseline_wer": _number(found.get("baseline_wer")),
        "p_value": _number(found.get("p_value")),
        "validation_passed": passed,
        "validated_at": found.get("created_at"),
        "validation_set": found.get("set_name"),
    }


def _told(connection: Connection) -> list[dict[str, Any]]:
    """Versions of `record_model_version`, the newest word on each, oldest first."""
    query = select(observations).where(observations.c.kind == "model_version")
    rows = connection.execute(query.order_by(observations.c.created_at)).mappings()
    newest = {row["subject"]: row for row in rows}
    return [
        {
            **row["details"]["performance"],
            "version_id": row["subject"],
            "model_name": row["details"]["model_name"],
            "created_at": row["created_at"],
            "source": None,
            "parent_id": None,
            "dataset_id": None,
            "job_id": None,
            "training_data_size": row["details"]["training_data_size"],
            "status": "told",
            "is_live": False,
            "wer": _number(row["wer"]),
            "cer": _number(row["cer"]),
            "baseline_id": None,
            "baseline_wer": math.nan,
            "p_value": math.nan,
            "validation_passed": None,
            "validated_at": None,
            "validation_set": None,
        }
        for row in newest.values()
    ]


def _stages(connection: Connection) -> dict[str, dict[str, Any]]:
    """For each stage: how often it was recorded, when last, and with which metrics."""
    of_learning = observations.c.kind == "learning"
    tally = (
        select(func.max(observations.c.number), func.count())
        .where(of_learning)
        .group_by(observations.c.subject)
    )
    times = {row[0]: row[1] for row in connection.execute(tally)}
    newest = select(observations).where(observations.c.number.in_(times))
    return {
        row["subject"]: {
            "count": times[row["number"]],
            "recorded_at": row["created_at"],
            "metrics": row["details"]["metrics"],
        }
        for row in connection.execute(newest.order_by(observations.c.number)).mappings()
    }


def _deployed(connection: Connection) -> tuple[str | None, set[str]]:
    """What is live in production, and all that ever was."""
    log = select(deployments.c.version_id).where(deployments.c.slot == _PRODUCTION)
    ordered = list(connection.execute(log.order_by(deployments.c.number)).scalars())
    return (ordered[-1] if ordered else None), set(ordered)


def _newest_corrections() -> Select[Any]:
    last = select(func.max(corrections.c.number)).group_by(corrections.c.inference_id)
    chosen = corrections.c.number.in_(last)
    return (
        select(corrections.c.is_error, func.count()).where(chosen).group_by(corrections.c.is_error)
    )


def _by(connection: Connection, column: Column[Any]) -> dict[str, Any]:
    counts = _counted(connection, select(column, func.count()).group_by(column).order_by(column))
    return {"total": sum(counts.values()), "by_" + column.name: counts}


def _counted(connection: Connection, query: Select[Any]) -> dict[Any, int]:
    return {row[0]: row[1] for row in connection.execute(query)}


def _total(connection: Connection, column: Column[Any]) -> int:
    return connection.execute(select(func.count(column))).scalar_one()


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
