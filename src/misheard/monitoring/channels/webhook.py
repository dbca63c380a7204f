"""Alerts as JSON to an address: of Slack, of PagerDuty, or of your own."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.error
import urllib.request
from typing import Any

from misheard.errors import DeliveryFailedError
from misheard.monitoring.channels.channel import Event, Notice

_LONGEST_SUMMARY = 1024
"""What PagerDuty takes."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected POST would become a GET without the notice, and look like a success."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow none; the answer is an error then."""


class WebhookChannel:
    """Posts JSON; any answer of 200 to 299 is a yes.

    Slack reads `text`. With a routing key, the fields of PagerDuty's Events API v2 are sent: the
    alert's id is its `dedup_key`, so that repetitions and the recovery belong to one incident.
    https://developer.pagerduty.com/docs/events-api-v2/trigger-events/
    """

    def __init__(self, name: str, url: str, *, routing_key: str = "", timeout_s: float) -> None:
        self.name = name
        self.timeout_s = timeout_s
        self._url = url
        self._routing_key = routing_key
        self._opener = urllib.request.build_opener(_NoRedirects)

    def send(self, notice: Notice) -> None:
        """See `Channel`."""
        body = pagerduty(notice, self._routing_key) if self._routing_key else plain(notice)
        request = urllib.request.Request(
            self._url,
            data=json.dumps(body, ensure_ascii=False).encode(),
            headers={"Content-Type": "application/json", "User-Agent": "misheard"},
            method="POST",
        )
        try:
            with self._opener.open(request, timeout=self.timeout_s) as answer:
                status = answer.status
        except urllib.error.HTTPError as error:
            # Whose body may repeat what was sent, the key included.
            error.close()
            raise DeliveryFailedError(f"It answered {error.code}.") from None
        except (OSError, http.client.HTTPException) as error:
            # Their texts may hold the address, which may hold a secret; so may a chained error.
            raise DeliveryFailedError(_said(error)) from None
        if not 200 <= status < 300:
            raise DeliveryFailedError(f"It answered {status}.")


def plain(notice: Notice) -> dict[str, Any]:
    """The body for Slack and for whoever writes a receiver: `text`, and each field by its name."""
    resolved_at = notice.resolved_at
    return {
        "text": notice.headline,
        "alert_id": notice.alert_id,
        "event": notice.event,
        "rule": notice.rule,
        "subject": notice.subject,
        "severity": notice.severity,
        "detail": notice.detail,
        "figures": dict(notice.figures),
        "workspace": notice.workspace,
        "fired_at": notice.fired_at.isoformat(),
        "resolved_at": resolved_at.isoformat() if resolved_at else None,
    }


def pagerduty(notice: Notice, routing_key: str) -> dict[str, Any]:
    """The body for PagerDuty's Events API v2."""
    return {
        "routing_key": routing_key,
        "event_action": "trigger" if notice.event is Event.FIRED else "resolve",
        "dedup_key": notice.alert_id,
        "client": "misheard",
        "payload": {
            "summary": notice.headline[:_LONGEST_SUMMARY],
            "source": notice.workspace,
            "severity": notice.severity,
            "timestamp": (notice.resolved_at or notice.fired_at).isoformat(),
            "component": notice.subject or notice.rule,
            "class": notice.rule,
            "custom_details": {"detail": notice.detail, **notice.figures},
        },
    }


def _said(error: Exception) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, TimeoutError):
        return "It did not answer in time."
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"Its certificate is not trusted: {reason.verify_message}."
    if isinstance(reason, OSError) and reason.strerror:
        return f"{reason.strerror}."
    return f"{type(reason).__name__}."
