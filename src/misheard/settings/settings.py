"""All sections of `misheard.toml`."""

from __future__ import annotations

from typing import Literal

from misheard.settings.alerts import AlertSettings
from misheard.settings.capture import CaptureSettings
from misheard.settings.database import DatabaseSettings
from misheard.settings.datasets import DatasetSettings
from misheard.settings.deployment import DeploymentSettings
from misheard.settings.gce import GceSettings
from misheard.settings.regression import RegressionSettings
from misheard.settings.rollouts import RolloutSettings
from misheard.settings.scoring import ScoringSettings
from misheard.settings.section import Section
from misheard.settings.serving import ServingSettings
from misheard.settings.speech import SpeechSettings
from misheard.settings.storage import StorageSettings
from misheard.settings.triggers import TriggerSettings
from misheard.settings.validation import ValidationSettings
from misheard.settings.worker import WorkerSettings


class Settings(Section):
    """All of `misheard.toml`."""

    database: DatabaseSettings = DatabaseSettings()
    storage: StorageSettings = StorageSettings()
    speech: SpeechSettings = SpeechSettings()
    scoring: ScoringSettings = ScoringSettings()
    capture: CaptureSettings = CaptureSettings()
    triggers: TriggerSettings = TriggerSettings()
    datasets: DatasetSettings = DatasetSettings()
    recipe: dict[str, bool | float | int | str] = {}
    """Overrides of the fine-tuning recipe; `misheard recipe` explains each setting."""
    backend: Literal["local", "inprocess", "gce"] = "local"
    """Where training runs: a process of its own, this one, or a machine of Google's."""
    gce: GceSettings = GceSettings()
    validation: ValidationSettings = ValidationSettings()
    regression: RegressionSettings = RegressionSettings()
    deployment: DeploymentSettings = DeploymentSettings()
    serving: ServingSettings = ServingSettings()
    rollouts: RolloutSettings = RolloutSettings()
    alerts: AlertSettings = AlertSettings()
    worker: WorkerSettings = WorkerSettings()
