"""Settings as typed sections, from `misheard.toml` and the environment.

An environment variable wins over the file: `MISHEARD_TRIGGERS__MIN_ERROR_CASES=20`. An unknown key
is an error in both.
"""

from __future__ import annotations

from misheard.settings.alerts import AlertSettings, SmtpSettings, WebhookSettings
from misheard.settings.capture import CaptureSettings
from misheard.settings.database import DatabaseSettings
from misheard.settings.datasets import DatasetSettings
from misheard.settings.deployment import DeploymentSettings
from misheard.settings.files import (
    FILE_NAME,
    load_equivalents,
    load_settings,
    parse_settings,
    write_settings,
)
from misheard.settings.gce import GceSettings
from misheard.settings.regression import RegressionSettings
from misheard.settings.rollouts import RolloutSettings
from misheard.settings.scoring import ScoringSettings
from misheard.settings.serving import ServingSettings
from misheard.settings.settings import Settings
from misheard.settings.speech import SpeechSettings
from misheard.settings.storage import StorageSettings
from misheard.settings.triggers import TriggerSettings
from misheard.settings.validation import ValidationSettings
from misheard.settings.worker import WorkerSettings

__all__ = [
    "FILE_NAME",
    "AlertSettings",
    "CaptureSettings",
    "DatabaseSettings",
    "DatasetSettings",
    "DeploymentSettings",
    "GceSettings",
    "RegressionSettings",
    "RolloutSettings",
    "ScoringSettings",
    "ServingSettings",
    "Settings",
    "SmtpSettings",
    "SpeechSettings",
    "StorageSettings",
    "TriggerSettings",
    "ValidationSettings",
    "WebhookSettings",
    "WorkerSettings",
    "load_equivalents",
    "load_settings",
    "parse_settings",
    "write_settings",
]
