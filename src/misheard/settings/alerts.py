"""The section `[alerts]`."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from misheard.settings.section import Hours, Minutes, Seconds, Section

Limit = Annotated[float, Field(gt=0.0)] | Literal[False]
"""A threshold, or false where a rule is off."""
SECRET_KEYS = {"url", "routing_key", "password"}


class WebhookSettings(Section):
    """An address that takes JSON: of Slack, of PagerDuty (with a routing key), of your own."""

    url: SecretStr = SecretStr("")
    routing_key: SecretStr = SecretStr("")
    """Of PagerDuty's Events API v2; given, its fields are sent."""
    timeout_s: Seconds = Field(default=10.0, gt=0.0)

    @field_validator("url")
    @classmethod
    def _is_address(cls, value: SecretStr) -> SecretStr:
        if not re.match(r"https?://[^/\s]+\S*$", value.get_secret_value() or "http://none"):
            raise ValueError("an address begins with https:// or http:// and has no spaces")
        return value


class SmtpSettings(Section):
    """A mail server."""

    host: str = ""
    """Empty: no mail is sent."""
    port: int = Field(default=587, ge=1, le=65535)
    security: Literal["starttls", "tls", "none"] = "starttls"
    """tls from the first byte is usually port 465."""
    user: str = ""
    password: SecretStr = SecretStr("")
    sender: str = "misheard@localhost"
    recipients: tuple[str, ...] = ()
    timeout_s: Seconds = Field(default=20.0, gt=0.0)

    @model_validator(mode="after")
    def _complete(self) -> SmtpSettings:
        if self.host and not self.recipients:
            raise ValueError("mail needs recipients")
        return self


class AlertSettings(Section):
    """What a person is told of, when, and how. A rule with `false` is off."""

    well_minutes: Minutes = Field(default=30.0, ge=0.0)
    """What was bad has to be well for so long, without a break, before it counts as over."""
    window_hours: int = Field(default=2, ge=1, le=168)
    """Latency and real-time factor are means over the running hour and so many before it."""
    min_inferences: int = Field(default=20, ge=1)
    """Means over fewer transcripts alert nobody."""
    drift_of: tuple[Literal["suspicion", "empty_share", "latency"], ...] = (
        "suspicion",
        "empty_share",
        "latency",
    )
    """What is watched for a rise of its mean."""
    drift_false_alarms_a_month: float = Field(default=0.01, gt=0.0, lt=10.0)
    """Of each of these, while nothing changes."""
    drift_block_hours: Literal[1, 2, 3, 4, 6, 8, 12, 24] = 6
    """The hours that one figure of a drift test is made of."""
    drift_min_change: float = Field(default=0.1, ge=0.0)
    """A rise by less than this share of what it was alerts nobody."""
    max_latency_s: Limit = False
    """Mean seconds that callers wait."""
    max_latency_p95_s: Limit = False
    """Seconds that 95 % of the callers wait at most, over the same hours."""
    max_real_time_factor: Limit = 1.0
    """Seconds of compute for a second of audio."""
    max_audited_error_rate: Limit = 0.5
    """Share of what the live version has heard that is wrong, by the lower end of the audit's 95 %
    interval."""
    max_error_rate: Limit = 0.3
    """Errors over all inferences since the deployment, by the lower end of its 95 % interval; see
    rollback_on_error_threshold."""
    cycle_ended: bool = True
    """The newest cycle failed or was refused."""
    max_approval_hours: Limit = 24.0
    """A cycle waits for a person's word."""
    max_stuck_hours: Limit = 6.0
    """A cycle that waits for nobody has not moved, nor given a sign that it is trained."""
    canary_rolled_back: bool = True
    """The newest canary was taken back, surely worse."""
    suite_failed: bool = True
    """The live version fails the newest run of a regression suite."""
    max_silent_hours: Limit = 72.0
    """Nothing was heard for so long, after there had been traffic."""
    max_digest_behind: Limit = 100_000.0
    """Inferences that wait to be counted."""
    min_free_disk_percent: Limit = 5.0
    """Of the disk that the workspace is on."""
    max_failed_attempts: Limit = 3.0
    """A channel did not take an alert so often; told by the others."""
    max_behind_s: Limit = 60.0
    """A server has not followed a deployment for so long."""
    log: bool = True
    """Alerts go to the log `misheard.alerts`, too."""
    webhooks: dict[str, WebhookSettings] = {}
    """By name: MISHEARD_ALERTS__WEBHOOKS__SLACK__URL=https://…"""
    smtp: SmtpSettings = SmtpSettings()
    give_up_hours: Hours = Field(default=72.0, gt=0.0)
    """What could not be delivered for so long is not tried again."""

    @field_validator("webhooks")
    @classmethod
    def _names_are_free(cls, value: dict[str, WebhookSettings]) -> dict[str, WebhookSettings]:
        if taken := {"log", "smtp"} & value.keys():
            raise ValueError(f"'{min(taken)}' is a channel already; choose another name")
        return value
