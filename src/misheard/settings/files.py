"""Reads settings from files and from the environment, and writes the file of a new workspace."""

from __future__ import annotations

import json
import os
import tempfile
import tomllib
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from misheard.errors import InvalidSettingError
from misheard.settings.alerts import SECRET_KEYS
from misheard.settings.settings import Settings

FILE_NAME = "misheard.toml"
_PREFIX = "MISHEARD_"
_OTHER_VARIABLES = {"MISHEARD_WORKSPACE", "MISHEARD_ACTOR"}


def load_settings(path: Path) -> Settings:
    """The settings in the file at `path` (which may be missing) under those of the environment."""
    values: dict[str, Any] = {}
    if path.exists():
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidSettingError(f"'{path}' is not valid TOML: {error}.") from error
    for name, text in sorted(os.environ.items()):
        if name.startswith(_PREFIX) and name not in _OTHER_VARIABLES:
            _put(values, name.removeprefix(_PREFIX).lower().split("__"), text)
    return parse_settings(values, source=str(path))


def parse_settings(values: dict[str, Any], *, source: str) -> Settings:
    """Typed settings from plain values; `source` stands in error messages."""
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "settings"
        if first["type"] == "extra_forbidden":
            raise InvalidSettingError(
                f"'{source}' or the environment sets '{key}'. {_known(first['loc'][:-1])}"
            ) from error
        raise InvalidSettingError(
            f"{key} = {_shown(first)} in '{source}' or the environment: {first['msg']}."
        ) from error


def _shown(error: Any) -> str:
    """What was given, less what nobody but its owner should see."""
    given = error.get("input")
    # A whole section of alerts, too: there are secrets somewhere in it.
    section = isinstance(given, dict) and error["loc"][0] == "alerts"
    return "…" if section or {*error["loc"][-1:]} & SECRET_KEYS else repr(given)


def load_equivalents(path: Path) -> tuple[tuple[str, ...], ...]:
    """Groups of equivalents: a list of lists in JSON, or what a settings file says of them."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        values = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except OSError as error:
        raise InvalidSettingError(f"'{path}' cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise InvalidSettingError(f"'{path}' is not valid TOML or JSON: {error}.") from error
    for key in ("scoring", "equivalents"):
        values = values.get(key, values) if isinstance(values, dict) else values
    if isinstance(values, dict):
        raise InvalidSettingError(
            f"'{path}' has no equivalents: write equivalents = "
            '[["voicemail", "voice mail"], …], the first of each group standing for it.'
        )
    parsed = parse_settings({"scoring": {"equivalents": values}}, source=str(path))
    return parsed.scoring.equivalents


def _put(values: dict[str, Any], keys: list[str], text: str) -> None:
    for key in keys[:-1]:
        values = values.setdefault(key, {})
        if not isinstance(values, dict):
            raise InvalidSettingError(f"'{key}' is no section.")
    values[keys[-1]] = _parse_scalar(text)


def _parse_scalar(text: str) -> Any:
    """A TOML value where it is one, otherwise the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _known(section: tuple[int | str, ...]) -> str:
    model: type[BaseModel] = Settings
    for key in section:
        field = model.model_fields.get(str(key))
        if field is None:
            continue  # a name that the user chose
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                model = kind
    return f"Known here: {', '.join(model.model_fields)}."


_HEADER = """\
# Settings of this misheard workspace. What is not set here has its default;
# `misheard settings` shows all of them. An environment variable wins over this file:
# MISHEARD_TRIGGERS__MIN_ERROR_CASES=20
"""


def write_settings(path: Path, sections: dict[str, Any]) -> None:
    """Write the file of a new workspace, complete or not at all."""
    lines = [_HEADER]
    plain = {key: value for key, value in sections.items() if not isinstance(value, dict)}
    lines += [f"{key} = {_toml(value)}" for key, value in plain.items()]
    for name, section in sections.items():
        if isinstance(section, dict):
            lines += [f"\n[{name}]"] + [f"{key} = {_toml(value)}" for key, value in section.items()]
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=".settings-", delete=False, encoding="utf-8"
    ) as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).rename(path)


def _toml(value: Any) -> str:
    """A scalar or a list as TOML writes it: JSON's way is valid there too, but for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
