"""Rows of `hourly` and of the audit, as the digest and the queue write them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Engine, insert

from misheard.capture.inferences import Inference
from misheard.database import latencies
from misheard.database.engine import writing
from misheard.database.schema import hourly
from misheard.database.totals import SUMMED, Totals


def an_hour(engine: Engine, hour: datetime, version_id: str = "v-1", **sums: Any) -> None:
    """One row."""
    hours(engine, [(hour, version_id, sums)])


def of_audit(one: Inference) -> dict[str, Any]:
    """What a labelled audit has from its transcript."""
    return {
        "heard_at": one.created_at,
        "version_id": one.version_id,
        "speaker_group": one.speaker_group,
    }


def hours(engine: Engine, told: list[tuple[datetime, str, dict[str, Any]]]) -> None:
    """Many rows; what is not given is 100 transcripts of 2 s without anything remarkable."""
    rows = []
    for hour, version_id, sums in told:
        count = sums.get("inferences", 100)
        known = {
            "slice": "",
            "inferences": count,
            "empty": 0,
            "audio_s": 2.0 * count,
            "timed": count,
            "latency_s": 0.5 * count,
            "least_latency_s": 0.1,
            "most_latency_s": 0.9,
            "compute_s": 0.6 * count,
            "computed_audio_s": 2.0 * count,
            "suspected": count,
            "suspicion": 0.2 * count,
            "suspicion_squared": 0.05 * count,
            "scored": count,
            "avg_logprob": -0.5 * count,
            "errors": 0,
            "corrected": 0,
        }
        row = {"hour": hour, "version_id": version_id, **known, **sums}
        row.setdefault("latency_counts", {latencies.bucket_of(0.5): row["timed"]})
        rows.append(row)
    with writing(engine) as connection:
        connection.execute(insert(hourly), rows)
        totals = Totals()
        for row in rows:
            if not row["slice"]:
                totals.add(row["version_id"], **{name: row[name] for name in SUMMED})
                counts = row["latency_counts"].items()
                of_version = {(row["version_id"], bucket): count for bucket, count in counts}
                latencies.add_to_totals(connection, of_version)
        totals.write(connection)
