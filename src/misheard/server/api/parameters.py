"""What routes are given: ids, texts and numbers that a database can bear, and the workspace."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import Depends, Path, Query, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict, StringConstraints

from misheard.database.engine import now
from misheard.deployment import PRODUCTION
from misheard.server.api.models import DEEPEST
from misheard.workspace import Workspace

MOST_AT_ONCE = 200
"""Rows of a page."""
_MOST_DETAILS = 20_000
_LARGEST = 2**63 - 1
"""That a number of a row can be."""
# No database looks up what it cannot store: NUL, and half of a pair of surrogates.
_PLAIN = r"^[^\x00-\x1f\x7f]*$"
_STORABLE = r"^[^\x00]*$"

Id = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_PLAIN)]
"""Of a row."""
Name = Annotated[str, StringConstraints(min_length=1, max_length=250, pattern=_PLAIN)]
"""What a person has chosen."""
Reason = Annotated[str, StringConstraints(max_length=2_000, pattern=_STORABLE)]
"""Why something is done, for the audit log."""
GivenReason = Annotated[
    str,
    StringConstraints(min_length=1, max_length=2_000, pattern=_STORABLE, strip_whitespace=True),
]
"""The same where nothing is done without one."""
Words = Annotated[str, StringConstraints(max_length=100_000, pattern=_STORABLE)]
"""What somebody said."""

Flag = Annotated[bool, Strict()]
"""Nothing else is taken for one."""
IdInPath = Annotated[Id, Path()]
NumberInPath = Annotated[int, Path(ge=1, le=_LARGEST)]
ExpectedNumber = Annotated[int, Strict(), Field(ge=0, le=_LARGEST)]
Limit = Annotated[int, Query(ge=1, le=MOST_AT_ONCE, description="Rows of the page.")]
Before = Annotated[
    Id | None, Query(description="The `next` of the page before; nothing for the first page.")
]
BeforeNumber = Annotated[
    int | None,
    Query(
        ge=1,
        le=_LARGEST,
        description="The `next` of the page before; nothing for the first page.",
    ),
]
Slot = Annotated[Name, Query(description="The slot that is meant.")]
PAGE = 50
"""Rows of a page where nobody says how many."""
SLOT = PRODUCTION


class Given(BaseModel):
    """What every body of a request is: a name that is unknown is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def _small(details: dict[str, Any]) -> dict[str, Any]:
    if _is_deeper(details, DEEPEST):
        raise ValueError(f"they have more than {DEEPEST} objects or lists in one another")
    if len(json.dumps(details)) > _MOST_DETAILS:
        raise ValueError(f"they have more than {_MOST_DETAILS:,} characters of JSON")
    return details


def _is_deeper(value: Any, most: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return most < 0 or any(_is_deeper(one, most - 1) for one in inner)


Details = Annotated[dict[str, Any], AfterValidator(_small)]
"""Whatever its author wants remembered: any JSON object."""


def _workspace(request: Request) -> Workspace:
    workspace: Workspace = request.app.state.workspace
    return workspace


InWorkspace = Annotated[Workspace, Depends(_workspace)]

SinceDays = Annotated[
    float | None,
    Query(gt=0.0, le=36_500.0, allow_inf_nan=False, description="Only the last so many days."),
]


def since(days: float | None) -> datetime | None:
    """The time so many days ago."""
    return None if days is None else now() - timedelta(days=days)
