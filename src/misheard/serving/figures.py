"""What one server process alone knows of itself, for Prometheus."""

from __future__ import annotations

from collections.abc import Mapping

from misheard.fleet import ServerState
from misheard.monitoring.metrics import MetricFamily, Sample

OUTCOMES = ("answered", "rejected", "refused", "failed", "abandoned")
"""Rejected is what is wrong with the request, refused what is one too many."""


def families(
    state: ServerState, *, outcomes: Mapping[str, int], in_flight: int, not_captured: int
) -> list[MetricFamily]:
    """The metrics of a process; `outcomes` counts its requests by `OUTCOMES`."""
    here = {"server": state.id}
    return [
        MetricFamily(
            name="misheard_server_requests_total",
            kind="counter",
            help="Transcriptions that were asked for, by what became of them.",
            samples=tuple(
                Sample(value=outcomes[outcome], labels={**here, "outcome": outcome})
                for outcome in OUTCOMES
            ),
        ),
        MetricFamily(
            name="misheard_server_not_captured_total",
            kind="counter",
            help="Transcripts that were answered and could not be kept.",
            samples=(Sample(value=not_captured, labels=here),),
        ),
        MetricFamily(
            name="misheard_server_in_flight",
            kind="gauge",
            help="Transcriptions that wait or are under way.",
            samples=(Sample(value=in_flight, labels=here),),
        ),
        MetricFamily(
            name="misheard_server_loaded",
            kind="gauge",
            help="Versions that are loaded; 1 for what answers.",
            samples=tuple(
                Sample(
                    value=version_id == state.version_id,
                    labels={**here, "version": version_id},
                )
                for version_id in state.loaded
            ),
        ),
    ]
