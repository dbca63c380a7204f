"""Hooks of Schemathesis: every other request names what is there, so that it gets past a 404."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import schemathesis

_TOLD = json.loads(Path(os.environ["MISHEARD_REAL_IDS"]).read_text(encoding="utf-8"))
_numbers = count()


def _filled(given: Mapping[str, Any] | None) -> Any:
    number = next(_numbers)
    if not isinstance(given, dict) or number % 2:
        return given
    known = {name: _TOLD["real"][name] for name in given.keys() & _TOLD["real"].keys()}
    return given | {name: some[number // 2 % len(some)] for name, some in known.items()}


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: Any) -> Any:
    return _filled(path_parameters)


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    return _filled(body)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """The token that is asked with must not be revoked."""
    for name, value in (case.path_parameters or {}).items():
        if value in _TOLD["own"]:
            case.path_parameters[name] = "none-such"
