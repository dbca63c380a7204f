"""The channels that the settings name."""

from __future__ import annotations

from misheard.monitoring.channels.channel import Channel
from misheard.monitoring.channels.log import LogChannel
from misheard.monitoring.channels.smtp import SmtpChannel
from misheard.monitoring.channels.webhook import WebhookChannel
from misheard.settings import AlertSettings


def configured(settings: AlertSettings) -> list[Channel]:
    """The log, each webhook that has an address, and mail where there is a server."""
    made: list[Channel] = [LogChannel()] if settings.log else []
    for name, hook in settings.webhooks.items():
        if url := hook.url.get_secret_value():
            key = hook.routing_key.get_secret_value()
            made.append(WebhookChannel(name, url, routing_key=key, timeout_s=hook.timeout_s))
    smtp = settings.smtp
    if smtp.host:
        made.append(
            SmtpChannel(
                host=smtp.host,
                port=smtp.port,
                security=smtp.security,
                user=smtp.user,
                password=smtp.password.get_secret_value(),
                sender=smtp.sender,
                recipients=smtp.recipients,
                timeout_s=smtp.timeout_s,
            )
        )
    return made
