"""Figures for Prometheus, in its text format (version 0.0.4).

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Engine, func, select

from misheard.cases.audited import audited_rates
from misheard.cases.review import COUNTED_AT_MOST, Stream, count_waiting
from misheard.database import latencies, tallies
from misheard.database.engine import now
from misheard.database.schema import (
    alerts,
    cycles,
    deliveries,
    deployments,
    hourly,
    latency_totals,
    traffic_totals,
    versions,
)
from misheard.database.schema import tallies as tallied
from misheard.monitoring import traffic

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_RECENT = timedelta(hours=24)
_AUDITED = timedelta(days=28)
_H = hourly.c
_CASES = ("open", "corrected", "confirmed")
_BOUNDS = (-48, -36, -24, -18, -12, -6, 0, 6, 12, 18, 24, 36, 48)
"""Buckets of latencies: 10 ms to 100 s, two a decade, and four where recognisers are."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One value of a metric."""

    value: float
    labels: dict[str, str] = field(default_factory=dict)
    suffix: str = ""
    """Of a histogram: _bucket, _sum or _count."""


@dataclass(frozen=True, kw_only=True)
class MetricFamily:
    """A metric with all its values."""

    name: str
    kind: str
    """counter, gauge or histogram."""
    help: str
    samples: tuple[Sample, ...]


class Metrics:
    """Reads them from the database, so that any process may serve them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def families(self) -> list[MetricFamily]:
        """Every metric; one without a value is left out."""
        with self._engine.connect() as connection:
            found = [*_traffic(connection), *_live(connection), *_recent(connection)]
            found += [*_queues(connection), *_alerts(connection)]
        return [family for family in found if family.samples]

    def text(self) -> str:
        """All of it, for `/metrics`."""
        return exposed(self.families())


def exposed(families: Iterable[MetricFamily]) -> str:
    r"""The text of some metrics.

    >>> sample = Sample(value=2.0, labels={"version": 'a"b'})
    >>> one = MetricFamily(name="heard_total", kind="counter", help="Heard.", samples=(sample,))
    >>> print(exposed([one]), end="")
    # HELP heard_total Heard.
    # TYPE heard_total counter
    heard_total{version="a\"b"} 2
    """
    lines = []
    for family in families:
        told = family.help.replace("\\", r"\\").replace("\n", r"\n")
        lines += [f"# HELP {family.name} {told}", f"# TYPE {family.name} {family.kind}"]
        for sample in family.samples:
            labels = ",".join(f'{key}="{_escaped(text)}"' for key, text in sample.labels.items())
            shown = f"{{{labels}}}" if labels else ""
            lines.append(f"{family.name}{sample.suffix}{shown} {_number(sample.value)}")
    return "".join(f"{line}\n" for line in lines)


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) else repr(value)


def _traffic(connection: Connection) -> Iterator[MetricFamily]:
    """As the digest counted it, since ever."""
    query = select(traffic_totals).order_by(traffic_totals.c.version_id)
    rows = [dict(row) for row in connection.execute(query).mappings()]
    told = (
        ("inferences_total", "counter", "inferences", "Transcripts."),
        ("empty_transcripts_total", "counter", "empty", "Transcripts without a word."),
        ("audio_seconds_total", "counter", "audio_s", "Audio that was transcribed."),
        ("compute_seconds_total", "counter", "compute_s", "Compute spent on transcribing."),
        (
            "computed_audio_seconds_total",
            "counter",
            "computed_audio_s",
            "Audio that compute_seconds_total was spent on.",
        ),
        # A case that is confirmed was no error, so these may fall.
        ("errors", "gauge", "errors", "Transcripts believed or known to be wrong."),
        ("corrected", "gauge", "corrected", "Transcripts that somebody has corrected."),
    )
    for name, kind, column, about in told:
        samples = [_of(row, row[column]) for row in rows]
        yield _family(name, kind, about, samples)
    times = list(_latencies(connection, {row["version_id"]: row["latency_s"] for row in rows}))
    yield _family("latency_seconds", "histogram", "How long callers waited.", times)


def _latencies(connection: Connection, sums_s: dict[str, float]) -> Iterator[Sample]:
    """Cumulative counts at the bounds of buckets, so that none is cut through; then sum, count."""
    totals: defaultdict[str, Counter[int]] = defaultdict(Counter)
    column = latency_totals.c
    query = select(column.version_id, column.bucket, column["count"])
    for version_id, bucket, count in connection.execute(query):
        totals[version_id][bucket] += count
    for version_id, sum_s in sums_s.items():
        counts, version = totals[version_id], {"version": version_id}
        for bound in _BOUNDS:
            below = sum(count for bucket, count in counts.items() if bucket <= bound)
            labels = version | {"le": _number(latencies.upper_bound_s(bound))}
            yield Sample(value=below, labels=labels, suffix="_bucket")
        yield Sample(value=counts.total(), labels=version | {"le": "+Inf"}, suffix="_bucket")
        yield Sample(value=float(sum_s), labels=version, suffix="_sum")
        yield Sample(value=counts.total(), labels=version, suffix="_count")


def _live(connection: Connection) -> Iterator[MetricFamily]:
    newest = select(func.max(deployments.c.number)).group_by(deployments.c.slot)
    query = (
        select(deployments, versions.c.name)
        .join(versions, versions.c.id == deployments.c.version_id)
        .where(deployments.c.number.in_(newest))
        .order_by(deployments.c.slot)
    )
    rows = connection.execute(query).all()
    info = [
        Sample(value=1, labels={"slot": row.slot, "version": row.version_id, "name": row.name})
        for row in rows
    ]
    yield _family("live_version_info", "gauge", "What is live.", info)
    since = [Sample(value=row.created_at.timestamp(), labels={"slot": row.slot}) for row in rows]
    yield _family("live_since_timestamp_seconds", "gauge", "Since when it is live.", since)


def _recent(connection: Connection) -> Iterator[MetricFamily]:
    first = now() - _RECENT
    query = (
        select(_H.version_id, func.sum(_H.suspicion), func.sum(_H.suspected))
        .where(_H.hour >= first, _H.slice == "")
        .group_by(_H.version_id)
        .order_by(_H.version_id)
    )
    samples = [
        Sample(value=float(total) / float(count), labels={"version": version_id})
        for version_id, total, count in connection.execute(query)
        if count
    ]
    about = "Mean suspicion of the last 24 hours."
    yield _family("suspicion_mean", "gauge", about, samples)
    yield from _audited(connection)


def _audited(connection: Connection) -> Iterator[MetricFamily]:
    found = audited_rates(connection, now() - _AUDITED, count_drawn=False)
    labelled = [Sample(value=one.labelled, labels={"version": name}) for name, one in found.items()]
    about = "Transcripts of 28 days that were drawn at random and looked at."
    yield _family("audited", "gauge", about, labelled)
    errors = {name: one.error_rate for name, one in found.items()}
    words = {name: one.wer for name, one in found.items() if not math.isnan(one.wer.estimate)}
    for metric, about, rates in (
        ("audited_error_rate", "Share of transcripts of 28 days that are wrong", errors),
        ("audited_word_error_rate", "WER of 28 days", words),
    ):
        for suffix, end, told in (
            ("", "estimate", ""),
            ("_low", "low", ", lower end of its 95 % interval"),
            ("_high", "high", ", upper end of its 95 % interval"),
        ):
            samples = [
                Sample(value=getattr(rate, end), labels={"version": name})
                for name, rate in rates.items()
            ]
            yield _family(f"{metric}{suffix}", "gauge", f"{about}, by the audit{told}.", samples)


def _queues(connection: Connection) -> Iterator[MetricFamily]:
    waiting = [
        Sample(value=count_waiting(connection, stream).count, labels={"stream": stream})
        for stream in (Stream.AUDIT, Stream.SUSPICIOUS)
    ]
    about = f"Transcripts that wait for a person to look at them, up to {COUNTED_AT_MOST:,}."
    yield _family("review_queue", "gauge", about, waiting)
    kinds = tallied.c.kind
    cases = select(kinds, func.sum(tallied.c.count)).where(kinds.in_(_CASES))
    yield _family("error_cases", "gauge", "Error cases.", _by(connection, cases, kinds, "status"))
    states = select(cycles.c.state, func.count())
    samples = _by(connection, states, cycles.c.state, "state")
    yield _family("cycles", "gauge", "Cycles by where they stand.", samples)
    behind = Sample(value=tallies.behind(connection))
    yield _family("digest_behind", "gauge", "Transcripts that wait to be counted.", [behind])
    last = traffic.last_heard_at(connection)
    at = [Sample(value=last.timestamp())] if last is not None else []
    yield _family("last_inference_timestamp_seconds", "gauge", "When the newest was heard.", at)


def _alerts(connection: Connection) -> Iterator[MetricFamily]:
    rule = alerts.c.rule
    firing = select(rule, func.count()).where(alerts.c.resolved_at.is_(None))
    samples = _by(connection, firing, rule, "rule")
    yield _family("alerts_firing", "gauge", "Alerts that are open.", samples)
    channel = deliveries.c.channel
    waiting = select(channel, func.count()).where(deliveries.c.next_at.is_not(None))
    samples = _by(connection, waiting, channel, "channel")
    yield _family("deliveries_waiting", "gauge", "Alerts that are still to be told.", samples)


def _by(connection: Connection, query: Any, column: Any, label: str) -> list[Sample]:
    rows = connection.execute(query.group_by(column).order_by(column))
    return [Sample(value=float(count), labels={label: name}) for name, count in rows]


def _of(row: dict[str, Any], value: Any) -> Sample:
    return Sample(value=float(value), labels={"version": row["version_id"]})


def _family(name: str, kind: str, about: str, samples: Iterable[Sample]) -> MetricFamily:
    return MetricFamily(name=f"misheard_{name}", kind=kind, help=about, samples=tuple(samples))
