"""What every alert channel promises (`misheard.monitoring.channels.channel.Channel`)."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from misheard.errors import DeliveryFailedError
from misheard.monitoring.channels.channel import Channel, Event, Notice
from misheard.monitoring.channels.log import LOGGER, LogChannel
from misheard.monitoring.channels.smtp import SmtpChannel
from misheard.monitoring.channels.webhook import WebhookChannel
from tests.loopback import certificate, free_port, http_server, smtp_server

AT = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
FIRED = Notice(
    alert_id="alert-1",
    event=Event.FIRED,
    rule="latency",
    subject="v-1",
    detail="Callers of v-1 waited 3 s, “ganz schön lang”.",
    figures={"value": 3.0, "limit": 1.0},
    fired_at=AT,
    resolved_at=None,
    workspace="calls",
    severity="error",
)
OVER = replace(FIRED, event=Event.RESOLVED, resolved_at=AT.replace(hour=11))
SECRET = "T0PSECRET"
KEY = "R0UTINGKEY"
PATIENCE_S = 60.0
"""For a machine that is busy with other things."""


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@dataclass
class Case:
    """A channel, and the other end of it."""

    channel: Channel
    arrived: Callable[[], list[str]]
    """All that has arrived, as text."""
    breaks: Callable[[], None] | None
    """Makes the other end say no; None where it cannot."""
    hangs: Callable[[], Channel] | None
    """Makes the other end say nothing more; the same channel, of little patience."""


def smtp(port: int, **options: Any) -> SmtpChannel:
    known: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": port,
        "security": "none",
        "sender": "misheard@example.org",
        "recipients": ("ann@example.org", "bob@example.org"),
        "timeout_s": PATIENCE_S,
    }
    return SmtpChannel(**known | options)


@pytest.fixture(params=["webhook", "pagerduty", "smtp", "log"])
def case(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[Case]:
    if request.param == "log":
        caplog.set_level(logging.INFO, logger=LOGGER)
        yield Case(LogChannel(), lambda: [one.getMessage() for one in caplog.records], None, None)
    elif request.param == "smtp":
        with smtp_server() as mail:

            def texts() -> list[str]:
                return [
                    f"{one['Subject']} {one['X-Misheard-Alert']} "
                    f"{one.get_payload(decode=True).decode()}"  # type: ignore[union-attr]
                    for one in mail.mails
                ]

            def refuse() -> None:
                mail.answer = "451 try later"

            def wait() -> Channel:
                mail.delay_s = 600.0
                return smtp(mail.port, timeout_s=0.5)

            yield Case(smtp(mail.port), texts, refuse, wait)
    else:
        key = KEY if request.param == "pagerduty" else ""
        with http_server() as web:

            def fail() -> None:
                web.status = 500

            def sleep() -> Channel:
                web.delay_s = 600.0
                return WebhookChannel("hook", web.url, routing_key=key, timeout_s=0.5)

            yield Case(
                WebhookChannel("hook", web.url, routing_key=key, timeout_s=PATIENCE_S),
                lambda: [json.dumps(one, ensure_ascii=False) for one in web.taken],
                fail,
                sleep,
            )


def test_both_events_arrive_with_the_alerts_id_and_its_rule(case: Case) -> None:
    case.channel.send(FIRED)
    case.channel.send(OVER)
    first, second = case.arrived()
    for text in (first, second):
        assert "alert-1" in text
        assert "latency" in text
        assert "calls" in text
    assert "Callers of v-1 waited 3 s" in first
    assert "well again" in second or "resolve" in second


def test_the_same_again_arrives_again_under_the_same_id(case: Case) -> None:
    case.channel.send(FIRED)
    case.channel.send(FIRED)
    assert sum("alert-1" in one for one in case.arrived()) == 2


def test_what_the_other_side_refuses_is_an_error_without_a_secret(case: Case) -> None:
    if case.breaks is None:
        return  # a log takes everything
    case.breaks()
    with pytest.raises(DeliveryFailedError) as raised:
        case.channel.send(FIRED)
    assert raised.value.detail
    assert SECRET not in str(raised.value)
    assert KEY not in str(raised.value)
    assert raised.value.__suppress_context__ or SECRET not in str(raised.value.__cause__)


def test_what_hangs_is_an_error_after_its_time(case: Case) -> None:
    if case.hangs is None:
        return  # a log takes everything
    impatient = case.hangs()
    begun = time.monotonic()
    with pytest.raises(DeliveryFailedError, match="in time"):
        impatient.send(FIRED)
    assert time.monotonic() - begun < 30


def test_nobody_there_is_an_error() -> None:
    nobody = f"http://127.0.0.1:{free_port()}/{SECRET}"
    for channel in (WebhookChannel("hook", nobody, timeout_s=PATIENCE_S), smtp(free_port())):
        with pytest.raises(DeliveryFailedError, match=r"(?i)refused") as raised:
            channel.send(FIRED)
        assert SECRET not in str(raised.value)


def test_the_fields_that_slack_and_receivers_of_your_own_read() -> None:
    with http_server() as web:
        WebhookChannel("slack", web.url, timeout_s=PATIENCE_S).send(OVER)
    (body,) = web.taken
    assert body["text"] == "[calls] latency is well again: v-1"
    assert body["event"] == "resolved"
    assert body["figures"] == {"value": 3.0, "limit": 1.0}
    assert body["fired_at"] == "2026-01-31T09:30:00+00:00"
    assert body["resolved_at"] == "2026-01-31T11:30:00+00:00"


def test_the_fields_of_pagerdutys_events_api() -> None:
    with http_server() as web:
        web.status = 202
        channel = WebhookChannel("pagerduty", web.url, routing_key=KEY, timeout_s=PATIENCE_S)
        channel.send(replace(FIRED, detail="x" * 5000))
        channel.send(OVER)
    fired, over = web.taken
    assert (fired["event_action"], over["event_action"]) == ("trigger", "resolve")
    assert fired["dedup_key"] == over["dedup_key"] == "alert-1"
    assert fired["routing_key"] == KEY
    payload = fired["payload"]
    assert (payload["source"], payload["severity"]) == ("calls", "error")
    assert len(payload["summary"]) == 1024
    assert payload["custom_details"]["limit"] == 1.0


def test_a_redirect_is_no_success() -> None:
    with http_server() as web, http_server() as other:
        web.status, web.location = 302, other.url
        with pytest.raises(DeliveryFailedError, match="302"):
            WebhookChannel("hook", web.url, timeout_s=PATIENCE_S).send(FIRED)
        assert other.taken == []


def test_a_mail_says_everything_and_has_no_second_header() -> None:
    wild = replace(FIRED, detail="one\r\nBcc: eve@example.org")
    with smtp_server() as mail:
        smtp(mail.port).send(wild)
    (one,) = mail.mails
    assert one["Bcc"] is None
    assert one["Subject"] == "[calls] latency: one Bcc: eve@example.org"
    assert one["References"] == "<alert-1@misheard.invalid>"
    assert mail.recipients == [["ann@example.org", "bob@example.org"]]


def test_a_mail_that_one_of_two_may_not_have_is_sent() -> None:
    with smtp_server() as mail:
        mail.refused = "ann@"
        smtp(mail.port).send(FIRED)
        assert mail.recipients == [["bob@example.org"]]
        with pytest.raises(DeliveryFailedError, match="refused all recipients: ann@"):
            smtp(mail.port, recipients=("ann@example.org",)).send(FIRED)


def test_a_login_that_is_refused_does_not_tell_the_password() -> None:
    with smtp_server() as mail:
        mail.password = "right"
        smtp(mail.port, user="ann", password="right").send(FIRED)
        assert mail.logins == ["ann"]
        with pytest.raises(DeliveryFailedError, match="login was refused") as raised:
            smtp(mail.port, user="ann", password=SECRET).send(FIRED)
        assert SECRET not in str(raised.value)


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_mail_goes_over_tls_and_only_to_whom_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, security: str
) -> None:
    pem = certificate(tmp_path)
    with smtp_server(pem, tls=security == "tls") as mail:
        channel = smtp(mail.port, security=security)
        with pytest.raises(DeliveryFailedError, match="CERTIFICATE_VERIFY_FAILED"):
            channel.send(FIRED)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        channel.send(FIRED)
        assert mail.encrypted == [True]
