"""Normalisers that a user wrote: found by their import path, and held to giving text."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from misheard.errors import InvalidSettingError, NormalizerFailedError

_SHOWN_CHARACTERS = 60


def from_path(path: str) -> Callable[[str], str]:
    """The callable at `package.module:function`; `InvalidSettingError` where there is none."""
    module_name, _, attribute = path.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:
        raise InvalidSettingError(
            f"The module of the normaliser '{path}' cannot be imported: "
            f"{type(error).__name__}: {error}. It must be installed, or its directory named in "
            "PYTHONPATH."
        ) from error
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise InvalidSettingError(f"The module '{module_name}' has no '{attribute}'.")
    if not callable(found):
        raise InvalidSettingError(
            f"'{path}' is {type(found).__name__}, no normaliser: it must be a function that takes "
            "a str and gives one."
        )
    return _checked(found, path)


def from_callable(function: object) -> tuple[str, str, Callable[[str], str]]:
    """Its name, the path under which another process finds it (or nothing), and itself, checked."""
    if not callable(function):
        raise InvalidSettingError(
            f"A normaliser is a name, an import path or a callable, not {function!r}."
        )
    kind = type(function)
    module = getattr(function, "__module__", None) or kind.__module__
    name = f"{module}:{getattr(function, '__qualname__', kind.__qualname__)}"
    spec = name if module != "__main__" and _at(name) is function else ""
    return name, spec, _checked(function, name)


def _at(path: str) -> object:
    module, _, attribute = path.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except ImportError:
        return None
    for part in attribute.split("."):
        found = getattr(found, part, None)
    return found


def _checked(function: Callable[[str], Any], name: str) -> Callable[[str], str]:
    def call(text: str) -> str:
        try:
            made = function(text)
        except Exception as error:
            raise NormalizerFailedError(
                f"'{name}' raised {type(error).__name__} on '{_short(text)}': {error}."
            ) from error
        if not isinstance(made, str):
            raise NormalizerFailedError(
                f"'{name}' made {type(made).__name__} of '{_short(text)}'; it must give a str."
            )
        return " ".join(made.split())

    return call


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
