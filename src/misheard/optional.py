"""Optional libraries, imported behind one guard that says what to install."""

from __future__ import annotations

import importlib
from typing import Any

from misheard.errors import MissingExtraError


def optional(module: str, *, extra: str) -> Any:
    """The module, or an error that names the extra of misheard that brings it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):
            raise
        raise MissingExtraError(f"{module}: pip install 'misheard[{extra}]'") from error
