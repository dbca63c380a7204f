"""Settings as typed sections, from `misheard.toml` and the environment.

An environment variable wins over the file: `MISHEARD_TRIGGERS__MIN_ERROR_CASES=20`. An unknown key
is an error in both.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from misheard.errors import InvalidSettingError

FILE_NAME = "misheard.toml"
PREFIX = "MISHEARD_"
_OTHER_VARIABLES = {"MISHEARD_WORKSPACE", "MISHEARD_ACTOR"}

Share = Field(ge=0.0, le=1.0)


class _Section(BaseModel):
    # NaN slips through every bound, so it is refused outright.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DatabaseSettings(_Section):
    """Where the rows are."""

    url: str = ""
    """An SQLAlchemy URL; empty means SQLite inside the workspace."""


class SpeechSettings(_Section):
    """How the live model transcribes."""

    model: str = "bundled:whisper-tiny.en"
    """The first model: a directory, a Hugging Face id, or `bundled:…`."""
    language: str = "en"
    """Code of the spoken language, for models that know several."""
    beam_size: int = Field(default=1, ge=1, le=64)
    batch_size: int = Field(default=16, ge=1)
    compute_type: str = "int8"
    """CTranslate2's; int8 serves float16 files in 8 bits."""
    threads: int = Field(default=0, ge=0)
    """0 means one a core."""


class ScoringSettings(_Section):
    """How transcripts are compared."""

    normalizer: str = "whisper-english"
    replicates: int = Field(default=10_000, ge=100)
    """Bootstrap replicates behind each interval."""


class TriggerSettings(_Section):
    """When training is worth it; all figures count what came since the last cycle."""

    min_error_cases: int = Field(default=100, ge=1)
    min_corrected_cases: int = Field(default=50, ge=1)
    trigger_on_error_rate: bool = True
    error_rate_threshold: float = Field(default=0.15, ge=0.0, le=1.0)


class DatasetSettings(_Section):
    """How corrections become a dataset version."""

    train_percent: int = Field(default=80, ge=0)
    validation_percent: int = Field(default=10, ge=0)
    test_percent: int = Field(default=10, ge=0)
    replay_per_error: float = Field(default=10.0, ge=0.0)
    """Confirmed utterances for each error case, so that the model does not forget what it knew."""

    @model_validator(mode="after")
    def _sum(self) -> DatasetSettings:
        if self.train_percent + self.validation_percent + self.test_percent != 100:
            raise ValueError("train_percent, validation_percent and test_percent must sum to 100")
        return self


class ValidationSettings(_Section):
    """What a candidate must show against the live version on held-out speech."""

    min_wer_improvement: float = 0.0
    """Absolute: live WER minus candidate WER must be above it."""
    require_significance: bool = True
    alpha: float = Field(default=0.05, gt=0.0, lt=1.0)


class RegressionSettings(_Section):
    """How much the WER on a suite may rise above the live version's, absolute."""

    max_wer_degradation: float = Field(default=0.01, ge=0.0)
    """On benchmark suites."""
    max_critical_wer_degradation: float = Field(default=0.0, ge=0.0)
    """On critical suites."""
    max_edge_case_wer_degradation: float = Field(default=0.05, ge=0.0)
    """On edge-case suites, which are small: one word may be a percent."""


class DeploymentSettings(_Section):
    """How a version goes live."""

    require_approval: bool = True
    """A person says yes before anything is deployed."""


class Settings(_Section):
    """All of `misheard.toml`."""

    database: DatabaseSettings = DatabaseSettings()
    speech: SpeechSettings = SpeechSettings()
    scoring: ScoringSettings = ScoringSettings()
    triggers: TriggerSettings = TriggerSettings()
    datasets: DatasetSettings = DatasetSettings()
    recipe: dict[str, float | int | str] = {}
    """Overrides of the fine-tuning recipe; see `misheard.finetune.recipe`."""
    backend: Literal["local", "inprocess"] = "local"
    """Where training runs: a process of its own, or this one."""
    validation: ValidationSettings = ValidationSettings()
    regression: RegressionSettings = RegressionSettings()
    deployment: DeploymentSettings = DeploymentSettings()


def load_settings(path: Path) -> Settings:
    """The settings in the file at `path` (which may be missing) under those of the environment."""
    values: dict[str, Any] = {}
    if path.exists():
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidSettingError(f"'{path}' is not valid TOML: {error}.") from error
    for name, text in sorted(os.environ.items()):
        if name.startswith(PREFIX) and name not in _OTHER_VARIABLES:
            _put(values, name.removeprefix(PREFIX).lower().split("__"), text)
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
            f"{key} = {first.get('input')!r} in '{source}' or the environment: {first['msg']}."
        ) from error


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
        kind = model.model_fields[str(key)].annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            model = kind
    return f"Known here: {', '.join(model.model_fields)}."
