"""Alerts as mail."""

from __future__ import annotations

import logging
import smtplib
import ssl
from collections.abc import Sequence
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid

from misheard.database.engine import now
from misheard.errors import DeliveryFailedError
from misheard.monitoring.channels.channel import Notice


class SmtpChannel:
    """Sends one mail a notice, to all recipients; recovery is a reply to the alert's first mail."""

    name = "smtp"

    def __init__(
        self,
        *,
        host: str,
        port: int,
        security: str,
        sender: str,
        recipients: Sequence[str],
        timeout_s: float,
        user: str = "",
        password: str = "",
    ) -> None:
        """`security` is starttls, tls or none; without a `user` nobody logs in."""
        self.timeout_s = timeout_s
        self._host, self._port, self._security = host, port, security
        self._sender, self._recipients = sender, tuple(recipients)
        self._user, self._password = user, password

    def send(self, notice: Notice) -> None:
        """See `Channel`."""
        try:
            with self._connected() as server:
                if self._security == "starttls":
                    server.starttls(context=ssl.create_default_context())
                if self._user:
                    server.login(self._user, self._password)
                refused = server.send_message(mail(notice, self._sender, self._recipients))
        except smtplib.SMTPAuthenticationError as error:
            # What the server says may repeat what it was told.
            raise DeliveryFailedError(f"The login was refused ({error.smtp_code}).") from None
        except smtplib.SMTPResponseException as error:
            told = error.smtp_error
            text = told.decode(errors="replace") if isinstance(told, bytes) else told
            raise DeliveryFailedError(f"It answered {error.smtp_code} {text}") from error
        except smtplib.SMTPRecipientsRefused as error:
            raise DeliveryFailedError(
                f"It refused all recipients: {', '.join(error.recipients)}."
            ) from error
        except TimeoutError as error:
            raise DeliveryFailedError("It did not answer in time.") from error
        except (OSError, smtplib.SMTPException) as error:
            if isinstance(error.__context__, TimeoutError):
                raise DeliveryFailedError("It did not answer in time.") from error
            raise DeliveryFailedError(f"{type(error).__name__}: {error}") from error
        if refused:
            # The others have it; sent again, they would have it twice.
            logging.getLogger("misheard").warning(
                "Mail about %s was refused for %s.", notice.alert_id, ", ".join(refused)
            )

    def _connected(self) -> smtplib.SMTP:
        if self._security == "tls":
            context = ssl.create_default_context()
            return smtplib.SMTP_SSL(self._host, self._port, timeout=self.timeout_s, context=context)
        return smtplib.SMTP(self._host, self._port, timeout=self.timeout_s)


def mail(notice: Notice, sender: str, recipients: Sequence[str]) -> EmailMessage:
    """The mail that tells of `notice`."""
    made = EmailMessage()
    # A line break in a header is an attempt at another header.
    made["Subject"] = " ".join(notice.headline.split())
    made["From"], made["To"] = sender, ", ".join(recipients)
    made["Date"] = format_datetime(now())
    made["Message-ID"] = make_msgid(domain="misheard.invalid")
    # Mail programs show what refers to the same as one thread.
    made["References"] = f"<{notice.alert_id}@misheard.invalid>"
    made["X-Misheard-Alert"] = notice.alert_id
    lines = [notice.detail, "", f"rule      {notice.rule}", f"subject   {notice.subject}"]
    lines += [f"fired     {notice.fired_at:%Y-%m-%d %H:%M} UTC"]
    if notice.resolved_at:
        lines += [f"well      {notice.resolved_at:%Y-%m-%d %H:%M} UTC"]
    lines += [f"{name:<9} {value}" for name, value in notice.figures.items()]
    lines += [f"workspace {notice.workspace}", f"alert     {notice.alert_id}"]
    made.set_content("\n".join(lines) + "\n")
    return made
