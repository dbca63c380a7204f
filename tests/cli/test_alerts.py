"""`misheard alerts`, `misheard trend`, `misheard metrics`, and the hook in `misheard watch`."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from misheard.capture.captured import Captured
from misheard.cases.records import Correction
from misheard.cli.group import cli
from misheard.database.engine import now
from misheard.errors import InvalidSettingError
from misheard.monitoring.conditions import Rule
from misheard.monitoring.trends import Metric, Period
from misheard.settings import load_settings
from misheard.watch import look
from misheard.workspace import Workspace
from tests import tiny
from tests.clock import wait_for_room
from tests.loopback import HttpServer, http_server
from tests.monitoring.traffic import an_hour

SECRET = "T0PSECRET"


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = tiny.make(tmp_path / "ws", alerts={"max_digest_behind": 2, "well_minutes": 0})
    tiny.heard(made, 3)
    return made


def run(workspace: Workspace, *arguments: str) -> Result:
    done = CliRunner().invoke(cli, ["-w", str(workspace.root), *arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def told(workspace: Workspace, *arguments: str) -> Any:
    done = run(workspace, *arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_from_firing_to_well(workspace: Workspace) -> None:
    assert "No alerts." in run(workspace, "alerts", "list").stdout
    first = run(workspace, "alerts", "check").stdout
    assert "fired  digest_behind: 3 transcripts wait to be counted" in first
    assert "told   log: alert-" in first
    assert "Nothing has changed." in run(workspace, "alerts", "check").stdout
    listed = run(workspace, "alerts", "list").stdout
    assert "firing" in listed
    assert "log: fired" in listed
    workspace.digest.catch_up()
    assert "well   digest_behind: digest" in run(workspace, "alerts", "check").stdout
    assert "over since" in run(workspace, "alerts", "list").stdout
    assert told(workspace, "alerts", "list", "--open")["alerts"] == []
    (alert,) = told(workspace, "alerts", "list")["alerts"]
    assert [one["event"] for one in alert["deliveries"]] == ["fired", "resolved"]


def test_watch_looks_for_alerts_too(workspace: Workspace) -> None:
    # No disk is emptier than that. The digest is not behind: a look begins with it.
    look(workspace.configured({"alerts": {"min_free_disk_percent": 100.0}}))
    (alert,) = workspace.alerts.listed()
    assert alert.rule is Rule.DISK
    assert alert.deliveries[0].delivered_at is not None


def test_silences(workspace: Workspace) -> None:
    made = told(
        workspace,
        *("alerts", "silence", "digest_behind", "--hours", "2", "--reason", "moving"),
        *("--as", "ann"),
    )
    assert (made["rule"], made["actor"], made["reason"]) == ("digest_behind", "ann", "moving")
    assert told(workspace, "alerts", "check")["delivered"] == []
    shown = run(workspace, "alerts", "list").stdout
    assert "nobody" in shown
    assert "moving" in shown
    ended = run(workspace, "alerts", "unsilence", str(made["number"])).stdout
    assert ended == f"Silence {made['number']} has ended.\n"
    assert len(told(workspace, "alerts", "check")["delivered"]) == 1
    every = run(workspace, "alerts", "silence", "--hours", "1", "--reason", "x").stdout
    assert "every rule until" in every
    unknown = run(workspace, "alerts", "silence", "disc", "--hours", "1", "--reason", "x")
    assert unknown.exit_code == 2
    assert "Known: drift_suspicion" in " ".join(unknown.stderr.split())
    assert run(workspace, "alerts", "unsilence", "99").exit_code == 2


@pytest.fixture
def hooked(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Any:
    with http_server() as web:
        monkeypatch.setenv("MISHEARD_ALERTS__WEBHOOKS__SLACK__URL", web.url)
        yield web


def test_a_webhook_set_by_the_environment_is_told(workspace: Workspace, hooked: HttpServer) -> None:
    run(workspace, "alerts", "check")
    (body,) = hooked.taken
    assert body["text"].startswith("[ws] digest_behind: 3 transcripts")


def test_a_delivery_that_failed_is_shown_with_its_error(
    workspace: Workspace, hooked: HttpServer
) -> None:
    hooked.status = 500
    assert "failed slack: It answered 500." in run(workspace, "alerts", "check").stdout
    shown = run(workspace, "alerts", "list").stdout
    assert "slack: fired waiting after 1 attempts, It answered 500." in shown


def test_no_secret_is_shown(workspace: Workspace, hooked: HttpServer) -> None:
    assert SECRET in hooked.url
    for arguments in (
        ["settings"],
        ["settings", "--json"],
        ["alerts", "check"],
        ["alerts", "list"],
    ):
        done = run(workspace, *arguments)
        assert done.exit_code == 0, done.output
        assert SECRET not in done.output
    assert "slack" in run(workspace, "settings").output


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f'[alerts.webhooks.x]\nurl = "ftp://{SECRET}"', "https://"),
        (f'[alerts.webhooks.x]\nurl = "http://{SECRET} x"', "no spaces"),
        (f'[alerts.webhooks.x]\nuri = "http://{SECRET}"', "Known here: url, routing_key"),
        (f'[alerts.webhooks.log]\nurl = "http://{SECRET}"', "choose another name"),
        (f'[alerts.smtp]\nhost = "x"\npassword = "{SECRET}"', "mail needs recipients"),
        (f"[alerts.smtp]\npassword = ['{SECRET}']", "password"),
        ("[alerts]\nmax_latency_s = -1", "max_latency_s"),
        ("[alerts]\ndrift_of = ['mood']", "drift_of"),
    ],
)
def test_settings_that_cannot_be_are_refused_without_telling_a_secret(
    tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "misheard.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidSettingError, match=said) as raised:
        load_settings(file)
    assert SECRET not in str(raised.value)


def test_a_rule_is_off_with_false_in_the_file_and_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "misheard.toml"
    file.write_text("[alerts]\nmax_silent_hours = false\nmax_digest_behind = 0\n", encoding="utf-8")
    monkeypatch.setenv("MISHEARD_ALERTS__MAX_LATENCY_S", "2.5")
    monkeypatch.setenv("MISHEARD_ALERTS__MAX_ERROR_RATE", "false")
    found = load_settings(file).alerts
    assert found.max_digest_behind is False
    assert (found.max_silent_hours, found.max_latency_s, found.max_error_rate) == (
        False,
        2.5,
        False,
    )


# Trends and metrics.


def test_a_trend_for_people_and_for_machines(workspace: Workspace) -> None:
    wait_for_room(Period.HOUR, 120.0)
    hour = now().replace(minute=0, second=0, microsecond=0)
    an_hour(workspace._engine, hour, "v-1", suspicion=50.0)
    an_hour(workspace._engine, hour - timedelta(days=1), "v-2", suspicion=25.0)
    done = run(workspace, "trend", "suspicion", "--days", "1")
    assert "suspicion, all versions (UTC)" in done.stdout
    assert f"{hour:%a %Y-%m-%d}" in done.stdout
    assert "0.500" in done.stdout
    assert "━" * 20 in done.stdout
    assert "3 transcripts are not counted yet." in done.stderr
    (line,) = told(workspace, "trend", "suspicion", "--days", "1")
    assert [point["value"] for point in line["points"]] == [0.25, 0.5]
    both = told(workspace, "trend", "latency", "--each-version")
    assert [one["version_id"] for one in both] == ["v-1", "v-2"]
    one = told(workspace, "trend", "latency", "--version", "v-2", "--by", "hour", "--days", "2")
    assert len(one[0]["points"]) == 49
    wrong = run(workspace, "trend", "latency", "--slice", "mobile")
    assert wrong.exit_code == 2


def test_an_audited_trend_says_how_sure_it_is(tmp_path: Path) -> None:
    wait_for_room(Period.DAY, 120.0)
    workspace = tiny.make(tmp_path / "audited", capture={"audit_share": 1.0})
    heard = tiny.heard(workspace, 20)
    workspace.digest.catch_up()
    for number, one in enumerate(heard):
        said = "press pond" if number < 5 else one.text
        workspace.cases.correct([Correction(inference_id=one.id, reference=said, author="ann")])
    rate = workspace.labels.audited().error_rate
    done = run(workspace, "trend", "audited_error_rate", "--days", "1")
    assert "25.00%" in done.stdout
    assert f"{rate.low:.1%} – {rate.high:.1%}" in done.stdout
    (line,) = told(workspace, "trend", "audited_error_rate", "--days", "1")
    (point,) = (one for one in line["points"] if one["count"])
    assert (point["low"], point["high"], point["count"]) == (rate.low, rate.high, 20)
    (line,) = told(workspace, "trend", "errors", "--days", "1")
    assert {one["low"] for one in line["points"]} == {None}


def test_slow_callers_from_the_log_to_a_trend_and_an_alert(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = [0.2] * 93 + [12.0] * 7
    workspace.capture(
        [Captured(audio="a.wav", text="x", heard_at=now(), latency_s=one) for one in waits]
    )
    workspace.digest.catch_up()
    shown = run(workspace, "trend", "latency_p95", "--by", "hour", "--days", "0.2").stdout
    assert "latency p95, all versions (UTC)" in shown
    bars = [line for line in shown.splitlines() if "━" in line]
    assert bars
    assert all(str(now().year) in line for line in bars), "a bar has a line of its own"
    # The three that were there before waited for 0.1 s.
    for name, expected in (("p50", 0.2), ("p95", 12.0), ("p99", 12.0)):
        (line,) = told(workspace, "trend", f"latency_{name}", "--days", "0")
        value = line["points"][-1]["value"]
        assert value == pytest.approx(expected, rel=0.05)
        assert line["points"][-1]["count"] == 103
    monkeypatch.setenv("MISHEARD_ALERTS__MAX_LATENCY_P95_S", "13")
    assert run(workspace, "alerts", "check").exit_code == 0
    assert told(workspace, "alerts", "list")["alerts"] == []
    monkeypatch.setenv("MISHEARD_ALERTS__MAX_LATENCY_P95_S", "10")
    run(workspace, "alerts", "check")
    (alert,) = told(workspace, "alerts", "list")["alerts"]
    assert alert["rule"] == "latency_p95"
    assert "waited longer than 12" in alert["detail"] or "waited longer than 11" in alert["detail"]


def test_every_trend_can_be_asked_for(workspace: Workspace) -> None:
    for metric in Metric:
        for period in Period:
            done = run(workspace, "trend", metric.value, "--by", period.value, "--days", "8")
            assert done.exit_code == 0, done.output
            assert metric in done.stdout


def test_metrics_are_text_and_json(workspace: Workspace) -> None:
    text = run(workspace, "metrics").stdout
    assert "# TYPE misheard_digest_behind gauge\nmisheard_digest_behind 3\n" in text
    names = {one["name"] for one in told(workspace, "metrics")}
    assert "misheard_digest_behind" in names
