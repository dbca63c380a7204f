"""What people's labels say: of the traffic, of each other, and of themselves."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Engine

from misheard.cases.agreement import Agreement, agreement
from misheard.cases.audited import AuditedRate, audited_rate, audited_rates
from misheard.cases.suspects import Suspects, suspect_labels
from misheard.scoring.normalize import Normalizer


class Labels:
    """Asks the corrections; changes nothing."""

    def __init__(self, engine: Engine, *, normalizer: Normalizer) -> None:
        self._engine = engine
        self._normalizer = normalizer

    def audited(
        self,
        *,
        since: datetime | None = None,
        version_id: str | None = None,
        newest: int | None = None,
        count_drawn: bool = True,
    ) -> AuditedRate:
        """How often transcripts are wrong, see `audited_rate`."""
        with self._engine.connect() as connection:
            return audited_rate(
                connection, since, version_id, newest=newest, count_drawn=count_drawn
            )

    def audited_by_version(self, *, since: datetime | None = None) -> dict[str, AuditedRate]:
        """The same of each version, see `audited_rates`."""
        with self._engine.connect() as connection:
            return audited_rates(connection, since)

    def agreement(self, *, since: datetime | None = None, limit: int = 20) -> Agreement:
        """How far people agree, see `agreement`."""
        with self._engine.connect() as connection:
            return agreement(connection, normalizer=self._normalizer, since=since, limit=limit)

    def suspects(self, *, limit: int = 20, before: int | None = None) -> Suspects:
        """Labels that are doubtful, see `suspect_labels`."""
        with self._engine.connect() as connection:
            return suspect_labels(
                connection, normalizer=self._normalizer, limit=limit, before=before
            )
