"""The reports on the whole loop as pages that open anywhere, offline: `as_html`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from misheard.database.engine import now
from misheard.errors import BadInputError
from misheard.monitoring.observations import METRICS, Trend
from misheard.reports import charts, curves, drawings, figures, loop_facts
from misheard.reports.headline import ANSWERS, Headline, effect, with_mark
from misheard.reports.loop_reports import (
    RECENT,
    STATISTICS_HOURS,
    WEEK,
    registered,
    regression_report,
)
from misheard.reports.page import drawn, render
from misheard.workspace import Workspace

_SLICES = 8
"""Slices of each kind that stand on the page, those with the most words."""


def as_html(name: str, workspace: Workspace) -> str:
    """The page of the report `name`, one of `loop_reports.REPORTS`."""
    if name not in _PAGES:
        raise BadInputError(f"There is no report '{name}'. Known: {', '.join(_PAGES)}.")
    headline, values = _PAGES[name](workspace)
    return render(f"{name}.html.j2", name=name, headline=headline, **values)


def _validation(workspace: Workspace) -> tuple[Headline, dict[str, Any]]:
    kept = workspace.validations.listed(limit=loop_facts.VALIDATIONS)
    counts = workspace.validations.counts()
    rows = {row["version_id"]: row for row in registered(workspace)}
    newest = kept[0] if kept else None
    sets = loop_facts.by_set(kept, list(rows))
    live = {key for key, row in rows.items() if row["is_live"]}
    slices = newest.comparison.slices if newest else ()
    if newest is None:
        headline = with_mark(
            sentence="No version was validated yet",
            reason="A cycle trains a candidate and validates it against the live version:",
            command="misheard cycle begin",
            tone="calm",
        )
    else:
        headline = with_mark(
            sentence=f"Newest candidate: {effect(newest.comparison)} on held-out speech",
            reason=f"{newest.candidate_id} against {newest.baseline_id} on “{newest.set_name}”: "
            + "; ".join(newest.verdict.reasons)
            + ".",
            tone=ANSWERS[newest.verdict.answer][1],
        )
    return headline, {
        "newest": newest,
        "counts": counts,
        "recent": kept[:RECENT],
        "sets": [
            (
                one,
                drawings.rates(
                    [
                        (f"{version} · live" if version in live else version, side, version in live)
                        for version, side in one.sides
                    ]
                ),
            )
            for one in sets
        ],
        "kinds": drawings.kinds(newest.comparison) if newest else "",
        "by_group": drawings.slices(
            loop_facts.largest(slices, "group", _SLICES),
            label="Word error rate by speaker group, live version and candidate",
        ),
        "by_length": drawings.slices(
            loop_facts.largest(slices, "length", _SLICES),
            label="Word error rate by length of clip, live version and candidate",
        ),
        "rules": workspace.settings.validation.model_dump(),
    }


def _deployment(workspace: Workspace) -> tuple[Headline, dict[str, Any]]:
    rows = registered(workspace)
    known = {row["version_id"]: row for row in rows}
    history = workspace.deployments.history(limit=loop_facts.DEPLOYMENTS)
    stays = loop_facts.stays(history, now())
    if not stays:
        headline = with_mark(
            sentence="Nothing is live yet",
            reason="Choose a version of the registry (misheard versions) and make it live:",
            command="misheard deploy VERSION",
            tone="calm",
        )
    else:
        last = stays[0].deployment
        verb = "rolled back" if last.action == "rollback" else "deployed"
        headline = with_mark(
            sentence=f"{last.version_id} is live",
            reason=f"{known[last.version_id]['model_name']}, {verb} by {last.actor} on "
            f"{figures.when(last.created_at)}" + (f": {last.reason}" if last.reason else "") + ".",
            tone="bad" if last.action == "rollback" else "good",
        )
    return headline, {
        "stays": stays,
        "rollbacks": sum(one.deployment.action == "rollback" for one in stays),
        "versions": rows[::-1],
        "known": known,
        "rules": workspace.settings.deployment.model_dump(),
    }


def _regression(workspace: Workspace) -> tuple[Headline, dict[str, Any]]:
    suites, runs = workspace.suites.listed(), workspace.suites.runs()
    results = loop_facts.results(suites, runs, workspace.suites.get)
    judged = [(one, one.newest.verdict) for one in results if one.newest]
    failed = [(one, verdict) for one, verdict in judged if not verdict.passed]
    report = regression_report(workspace)
    if not suites:
        headline = with_mark(
            sentence="There is no regression suite yet",
            reason="A suite holds recordings that must never get worse. Add one from a manifest:",
            command="misheard suite add NAME test.jsonl --kind critical",
            tone="calm",
        )
    elif not judged:
        headline = with_mark(
            sentence=f"{figures.plural(len(suites), 'suite')}, and no run yet",
            reason="A cycle runs all suites on its candidate before it deploys.",
            tone="calm",
        )
    elif failed:
        headline = with_mark(
            sentence=f"{len(failed)} of {figures.plural(len(judged), 'suite')} failed last time",
            reason="; ".join(
                f"{one.suite.name}: {', '.join(verdict.failures)}" for one, verdict in failed
            )
            + ".",
            tone="bad",
        )
    else:
        all_of = {1: "The suite", 2: "Both suites"}
        headline = with_mark(
            sentence=f"{all_of.get(len(judged), f'All {len(judged)} suites')} passed last time",
            reason="What worked before works still.",
            tone="good",
        )
    return headline, {
        "results": results,
        "report": report,
        "week_days": WEEK.days,
        "outcomes": drawn(
            charts.outcome_rows(
                [one.row for one, _ in judged],
                label="Runs of each suite, oldest at the left: passed or failed",
            )
        ),
        "recent": [(workspace.suites.get(run.suite_id), run) for run in runs[: 2 * RECENT]],
        "rules": workspace.settings.regression.model_dump(),
    }


def _performance(workspace: Workspace) -> tuple[Headline, dict[str, Any]]:
    observations, at = workspace.observations, now()
    trends = {metric: observations.trend(metric) for metric in METRICS}
    day = observations.inference_statistics(at - timedelta(hours=STATISTICS_HOURS))
    cases = workspace.cases.counts()
    types = sorted(cases.by_type.items(), key=lambda item: (-item[1], item[0]))
    models = observations.model_rows()
    return _performance_headline(trends["wer"], day.total), {
        "day": day,
        "hours": STATISTICS_HOURS,
        "trends": [
            (_METRIC_NAMES[metric][0], _trend_chart(trend))
            for metric, trend in trends.items()
            if trend.count
        ],
        "cases": cases,
        "types": drawn(
            charts.bars(
                [
                    ("", [charts.Bar(name=name, value=amount, role="candidate")])
                    for name, amount in types
                ],
                label="Error cases by type",
            )
        ),
        "summary": observations.learning_summary(),
        "models": models[::-1],
    }


def _performance_headline(wer: Trend, transcripts: int) -> Headline:
    if wer.count > 1:
        before, after = figures.percent(wer.values[0]), figures.percent(wer.latest)
        verb = "fell" if wer.improvement > 0 else "rose" if wer.improvement < 0 else "stayed"
        way = f"at {after}" if verb == "stayed" else f"from {before} to {after}"
        return with_mark(
            sentence=f"Word error rate {verb} {way}",
            reason=f"Over {figures.plural(wer.count, 'measurement')} since "
            f"{figures.when(wer.timestamps[0])}.",
            tone="bad" if verb == "rose" else "good",
        )
    if wer.count:
        sentence = f"Word error rate is {figures.percent(wer.latest)}"
        reason = "It was measured once; a trend needs more than that."
    elif transcripts:
        sentence = f"{figures.plural(transcripts, 'transcript')} in {STATISTICS_HOURS} hours"
        reason = "No word error rate was measured yet; each validation does."
    else:
        return with_mark(
            sentence="Nothing was recorded yet",
            reason="Production records what it transcribes, and each validation its rates:",
            command="misheard transcribe *.wav",
            tone="calm",
        )
    return with_mark(sentence=sentence, reason=reason, tone="calm")


def _seconds(value: float) -> str:
    return f"{figures.number(value)} s"


_METRIC_NAMES: dict[str, tuple[str, Callable[[float], str], Callable[[float], str]]] = {
    "wer": ("Word error rate", figures.percent, figures.tick_percent),
    "cer": ("Character error rate", figures.percent, figures.tick_percent),
    "error_rate": ("Error rate", figures.percent, figures.tick_percent),
    "correction_rate": ("Correction rate", figures.percent, figures.tick_percent),
    "inference_time": ("Time a transcript", _seconds, _seconds),
}
"""How a metric is called on the page, and how its values are written there and on the axis."""


def _trend_chart(trend: Trend) -> Any:
    name, as_text, tick_text = _METRIC_NAMES[trend.metric]
    return drawn(
        curves.time_chart(
            list(zip(trend.timestamps, trend.values, strict=True)),
            label=f"{name}, from {as_text(trend.values[0])} to {as_text(trend.latest)}",
            as_text=as_text,
            tick_text=tick_text,
            time_text=_day if _spans_days(trend.timestamps) else _minute,
        )
    )


def _spans_days(times: tuple[datetime, ...]) -> bool:
    return times[-1] - times[0] >= timedelta(days=2)


def _day(moment: datetime) -> str:
    return figures.when(moment).partition(",")[0]


def _minute(moment: datetime) -> str:
    # The year is left out: two such times have to fit on one line of a telephone.
    return f"{moment.day} {moment:%b, %H:%M}"


_PAGES = {
    "validation": _validation,
    "deployment": _deployment,
    "regression": _regression,
    "performance": _performance,
}
