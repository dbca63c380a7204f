"""The models of suspicion that a workspace keeps, used or not."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, insert, select

from misheard.capture.suspicion import DEFAULTS, SuspicionModel
from misheard.capture.suspicion_figures import FitFigures
from misheard.database.schema import suspicion_models


@dataclass(frozen=True, kw_only=True)
class KeptModel:
    """A model of the workspace."""

    number: int
    """0: the defaults."""
    created_at: datetime | None
    """When it began to learn: it knows no label that is newer."""
    model: SuspicionModel
    figures: FitFigures | None

    @property
    def name(self) -> str:
        """For people."""
        return f"model {self.number}" if self.number else "the defaults"


THE_DEFAULTS = KeptModel(number=0, created_at=None, model=DEFAULTS, figures=None)


def in_use(connection: Connection) -> KeptModel:
    """What scores now: the newest that was found better than what was in use before it."""
    used = suspicion_models.c.figures["is_used"].as_boolean()
    return _first(connection, select(suspicion_models).where(used)) or THE_DEFAULTS


def newest(connection: Connection) -> KeptModel | None:
    """What was fitted last, used or not."""
    return _first(connection, select(suspicion_models))


def keep(
    connection: Connection, model: SuspicionModel, figures: FitFigures, *, moment: datetime
) -> KeptModel:
    """Add a model that began to learn at `moment`."""
    values = {"created_at": moment, "weights": model.to_dict(), "figures": asdict(figures)}
    made = connection.execute(insert(suspicion_models).values(**values))
    number = int(made.inserted_primary_key[0])  # type: ignore[index]
    return KeptModel(number=number, created_at=moment, model=model, figures=figures)


def _first(connection: Connection, query: Select[Any]) -> KeptModel | None:
    """The newest that `query` finds; None, too, where it was made for other signals."""
    row = connection.execute(query.order_by(suspicion_models.c.number.desc()).limit(1)).first()
    model = SuspicionModel.from_dict(row.weights) if row else None
    if row is None or model is None:
        return None
    return KeptModel(
        number=row.number,
        created_at=row.created_at,
        model=model,
        figures=FitFigures.from_dict(row.figures),
    )
