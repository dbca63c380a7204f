"""What a caller wants remembered beside a row: any JSON object."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from misheard.errors import BadInputError


def checked_details(details: Mapping[str, Any] | None, *, what: str) -> dict[str, Any]:
    """`details` as JSON would give them back; `BadInputError` for what JSON has no word for.

    >>> checked_details({"line": 3, "tags": ("a", "b")}, what="a case")
    {'line': 3, 'tags': ['a', 'b']}
    """
    if details is None:
        return {}
    if not isinstance(details, Mapping):
        raise BadInputError(f"The details of {what} must be a mapping, got {details!r}.")
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(details), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise BadInputError(f"The details of {what} are no JSON: {error}.") from error
    return plain
