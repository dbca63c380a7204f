"""Settings as typed sections, from `misheard.toml` and the environment.

An environment variable wins over the file: `MISHEARD_TRIGGERS__MIN_ERROR_CASES=20`. An unknown key
is an error in both.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

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
    language: str = Field(default="en", pattern=r"^([a-z]{2,3}|auto)$")
    """Code of the spoken language, for models that know several; `auto` finds out for each clip."""
    prompt: str = ""
    """What was said before, or how the text is to be written."""
    hotwords: str = ""
    """Words to expect, put before the prompt."""
    beam_size: int = Field(default=1, ge=1, le=64)
    batch_size: int = Field(default=16, ge=1)
    temperatures: tuple[Annotated[float, Field(ge=0.0)], ...] = Field(default=(0.0,), min_length=1)
    """What has failed is decoded again at the next one: [0.0, 0.2, 0.4]. Above 0 chance decides,
    and two runs may differ."""
    best_of: int = Field(default=5, ge=1, le=64)
    """Texts drawn at a temperature above 0, of which the likeliest is kept."""
    retry_full_window: bool = True
    """Text that repeats itself or is doubtful in a window sized to its clip is first decoded again
    in 30 s, and the likelier of the two is kept."""
    doubt_threshold: float = -0.5
    """Text is doubtful when its mean log-probability is below this."""
    logprob_threshold: float = -1.0
    """Text has failed when its mean log-probability is below this."""
    compression_ratio_threshold: float = 2.4
    """Text has failed when it repeats itself so much: its bytes over those of its zlib form."""
    no_speech_threshold: float = Field(default=0.6, ge=0.0, le=1.0)
    """Text that has failed by its probability is silence when no speech is likelier than this."""
    compute_type: str = "int8"
    """CTranslate2's; int8 serves float16 files in 8 bits."""
    threads: int = Field(default=0, ge=0)
    """0 means one a core."""


class ScoringSettings(_Section):
    """How transcripts are compared."""

    normalizer: str = "whisper-english"
    """none, basic, unicode or whisper-english; or `package.module:function`, one of yours."""
    equivalents: tuple[Annotated[tuple[str, ...], Field(min_length=2)], ...] = ()
    """Groups of spellings that count as the same, the first of each stands for it; beyond those
    that the normaliser knows: [["pbx", "p b x"], ["voicemail", "voice mail"]]."""
    replicates: int = Field(default=10_000, ge=100)
    """Bootstrap replicates behind each interval."""


class CaptureSettings(_Section):
    """What is kept of what production heard, and what a person should look at."""

    audit_share: float = Field(default=0.01, ge=0.0, le=1.0)
    """Share of the traffic that is drawn at random for a person to look at, whatever it is: only so
    is the error rate known."""
    min_suspicion: float = Field(default=0.5, ge=0.0, le=1.0)
    """A transcript that is at least so likely to be wrong is put into the review queue."""
    slices: tuple[str, ...] = ()
    """Tags whose values are counted apart: ["channel", "noise"]."""
    durable: bool = False
    """Each logged transcript survives a power cut, too; it then takes several times as long."""
    keep_audio_days: float = Field(default=0.0, ge=0.0)
    """Audio that was heard longer ago is let go of, unless something needs it; 0: it stays."""
    keep_audio_gb: float = Field(default=0.0, ge=0.0)
    """Beyond so many gigabytes (1e9 bytes) the oldest audio is let go of; 0: no limit."""
    keep_text_days: float = Field(default=0.0, ge=0.0)
    """Transcripts that are older, and that nobody has to do with, are deleted; 0: they stay."""


class TriggerSettings(_Section):
    """When training is worth it; all figures count what came since the last cycle."""

    min_error_cases: int = Field(default=100, ge=1)
    min_corrected_cases: int = Field(default=50, ge=1)
    trigger_on_error_rate: bool = True
    error_rate_threshold: float = Field(default=0.15, ge=0.0, le=1.0)
    """Errors over all inferences that were logged."""
    min_error_score: float = Field(default=0.5, ge=0.0, le=1.0)
    """An error case that nobody has corrected counts only if its suspicion reaches this; one that
    was corrected always counts, whatever its score."""
    min_audited: int = Field(default=100, ge=1)
    """Labels of the random audit since the last cycle from which on the error rate is the audit's:
    the lower end of its 95 % interval is then held against the threshold."""
    corrected_cases_alone: int = Field(default=0, ge=0)
    """So many corrected cases are a cause by themselves, however few error cases there are; 0: they
    are not."""
    trigger_on_drift: bool = False
    """A drift of suspicion is a cause, too."""
    every_days: float = Field(default=0.0, ge=0.0)
    """So many days since the last cycle began are a cause, too; 0: no schedule."""
    cooldown_hours: float = Field(default=0.0, ge=0.0)
    """Hours between the end of a cycle and the beginning of the next."""
    max_training_hours_per_month: float = Field(default=0.0, ge=0.0)
    """Once so much was spent on training in a calendar month (UTC), none begins; 0: no limit."""
    max_cost_per_month: float = Field(default=0.0, ge=0.0)
    """The same in money, in the currency of `price_per_hour`; 0: no limit."""
    price_per_hour: float = Field(default=0.0, ge=0.0)
    """What an hour of training costs."""
    one_at_a_time: bool = True
    """None begins by itself while another cycle works, or waits for a person."""
    require_provable: bool = False
    """Train only where the test set is large enough to show the expected gain."""
    require_approval: bool = False
    """A person says yes before anything is trained."""

    @model_validator(mode="after")
    def _has_price(self) -> TriggerSettings:
        if self.max_cost_per_month and not self.price_per_hour:
            raise ValueError("max_cost_per_month needs a price_per_hour to be reckoned with")
        return self


class DatasetSettings(_Section):
    """How corrections become a dataset version."""

    train_percent: int = Field(default=80, ge=0)
    validation_percent: int = Field(default=10, ge=0)
    test_percent: int = Field(default=10, ge=0)
    replay_per_error: float = Field(default=10.0, ge=0.0)
    """Confirmed utterances for each error case, so that the model does not forget what it knew."""
    balance_error_types: bool = False
    """Show utterances with rare types of error more often in training; none is left out."""
    min_quality: float = Field(default=0.9, ge=0.0, le=1.0)
    """Share of utterances without a flaw; a dataset below it is not trained on."""

    @model_validator(mode="after")
    def _sum(self) -> DatasetSettings:
        if self.train_percent + self.validation_percent + self.test_percent != 100:
            raise ValueError("train_percent, validation_percent and test_percent must sum to 100")
        return self


class ValidationSettings(_Section):
    """What a candidate must show against the live version on held-out speech."""

    min_wer_improvement: float = 0.0
    """Absolute: live WER minus candidate WER must be above it."""
    min_cer_improvement: float = 0.0
    """Absolute: live CER minus candidate CER must not be below it."""
    require_significance: bool = True
    alpha: float = Field(default=0.05, gt=0.0, lt=1.0)
    """Level of every test that this gate makes."""
    max_wer_degradation_rate: float = Field(default=0.1, ge=0.0, le=1.0)
    """Share of utterances whose own WER may rise by more than 0.2."""
    require_no_major_degradation: bool = True
    """No slice of the set (a group, a range of lengths, a tag) is worse by more than its limit,
    by more than chance."""
    slice_limits: dict[str, Annotated[float, Field(ge=0.0)]] = {}
    """How far the WER may rise on a slice, absolute: { "channel" = 0.01, "channel=mobile" = 0.0 };
    "" is for all others, which otherwise may not rise at all."""
    general_set: str = "general"
    """Name of a held-out set of speech that the model is not tuned for; looked at where it is."""
    general_margin: float = Field(default=0.01, ge=0.0)
    """The WER on it may rise by less than this, absolute, by the upper end of its interval."""
    max_hallucination_rate: float = Field(default=1.0, ge=0.0, le=1.0)
    """Share of the clips without speech that may be given words; never more than live."""
    max_real_time_factor: float = Field(default=1.0, gt=0.0)
    """Seconds of compute for a second of audio, at most."""
    max_slowdown: float = Field(default=1.5, gt=0.0)
    """The candidate may take so many times as long as the live version."""


class RegressionSettings(_Section):
    """How much the WER on a suite may rise above the live version's, absolute."""

    max_wer_degradation: float = Field(default=0.01, ge=0.0)
    """On benchmark suites."""
    max_critical_wer_degradation: float = Field(default=0.0, ge=0.0)
    """On critical suites."""
    max_edge_case_wer_degradation: float = Field(default=0.05, ge=0.0)
    """On edge-case suites, which are small: one word may be a percent."""
    run_on_deploy: bool = True
    """A cycle runs all suites before it deploys."""
    run_on_schedule: bool = False
    """`misheard watch` runs all suites on the live version, too."""
    schedule_interval_hours: float = Field(default=24.0, gt=0.0)
    fail_on_any_degradation: bool = False
    """No rise of WER or CER is tolerated on any suite, however small."""
    fail_on_critical_degradation: bool = True
    """A rise above `critical_degradation_threshold` fails a suite, whatever it tolerates itself."""
    critical_degradation_threshold: float = Field(default=0.1, ge=0.0)
    max_failed_samples_rate: float = Field(default=0.05, ge=0.0, le=1.0)
    """Share of a suite's spoken utterances that may fail beyond those that recover as far."""
    sample_degradation_threshold: float = Field(default=0.2, ge=0.0)
    """An utterance fails when its own WER rises by more than this."""
    alert_on_failure: bool = True
    alert_on_warning: bool = False
    """Alert, too, when a suite passes with a rise that it tolerates."""


class DeploymentSettings(_Section):
    """How a version goes live."""

    require_approval: bool = True
    """A person says yes before anything is deployed."""
    keep_previous_versions: int = Field(default=5, ge=0)
    """Versions live before that keep their files; the one before the live one always does."""
    auto_backup_before_deploy: bool = True
    """Before a deployment: check that what is live can be brought back, and copy the database."""
    enable_auto_rollback: bool = True
    """`misheard watch` rolls back when the live version's error rate is too high."""
    rollback_on_error_threshold: float = Field(default=0.5, ge=0.0, le=1.0)
    """Error rate since the deployment, by the lower end of its 95 % interval."""
    watch_hours: float = Field(default=24.0, ge=0.0)
    """A cycle watches over what it has deployed for so long, and is then closed."""
    watch_inferences: int = Field(default=0, ge=0)
    """And until what it has deployed made so many transcripts, however long that takes."""
    check_files: bool = True
    """Before a version goes live, it is loaded and transcribes three clips in a fresh process."""
    max_latency_s: float = Field(default=10.0, gt=0.0)
    """None of the three may take longer."""


Limit = Annotated[float, Field(gt=0.0)] | Literal[False]
"""A threshold, or false where a rule is off."""
_SECRET_KEYS = {"url", "routing_key", "password"}


class WebhookSettings(_Section):
    """An address that takes JSON: of Slack, of PagerDuty (with a routing key), of your own."""

    url: SecretStr = SecretStr("")
    routing_key: SecretStr = SecretStr("")
    """Of PagerDuty's Events API v2; given, its fields are sent."""
    timeout_s: float = Field(default=10.0, gt=0.0)

    @field_validator("url")
    @classmethod
    def _is_address(cls, value: SecretStr) -> SecretStr:
        if not re.match(r"https?://[^/\s]+\S*$", value.get_secret_value() or "http://none"):
            raise ValueError("an address begins with https:// or http:// and has no spaces")
        return value


class SmtpSettings(_Section):
    """A mail server."""

    host: str = ""
    """Empty: no mail is sent."""
    port: int = Field(default=587, ge=1, le=65535)
    security: Literal["starttls", "tls", "none"] = "starttls"
    """tls from the first byte is usually port 465."""
    user: str = ""
    password: SecretStr = SecretStr("")
    sender: str = "misheard@localhost"
    recipients: tuple[str, ...] = ()
    timeout_s: float = Field(default=20.0, gt=0.0)

    @model_validator(mode="after")
    def _complete(self) -> SmtpSettings:
        if self.host and not self.recipients:
            raise ValueError("mail needs recipients")
        return self


class AlertSettings(_Section):
    """What a person is told of, when, and how. A rule with `false` is off."""

    well_minutes: float = Field(default=30.0, ge=0.0)
    """What was bad has to be well for so long, without a break, before it counts as over."""
    window_hours: int = Field(default=2, ge=1, le=168)
    """Latency and real-time factor are means over the running hour and so many before it."""
    min_inferences: int = Field(default=20, ge=1)
    """Means over fewer transcripts alert nobody."""
    drift_of: tuple[Literal["suspicion", "empty_share", "latency"], ...] = (
        "suspicion",
        "empty_share",
        "latency",
    )
    """What is watched for a rise of its mean."""
    drift_false_alarms_a_month: float = Field(default=0.01, gt=0.0, lt=10.0)
    """Of each of these, while nothing changes."""
    drift_block_hours: Literal[1, 2, 3, 4, 6, 8, 12, 24] = 6
    """The hours that one figure of a drift test is made of."""
    drift_min_change: float = Field(default=0.1, ge=0.0)
    """A rise by less than this share of what it was alerts nobody."""
    max_latency_s: Limit = False
    """Mean seconds that callers wait."""
    max_latency_p95_s: Limit = False
    """Seconds that 95 % of the callers wait at most, over the same hours."""
    max_real_time_factor: Limit = 1.0
    """Seconds of compute for a second of audio."""
    max_audited_error_rate: Limit = 0.5
    """Share of the audited transcripts of the live version that were wrong, by the lower end of its
    95 % interval."""
    max_error_rate: Limit = 0.3
    """Errors over all inferences since the deployment, likewise; see rollback_on_error_threshold.
    """
    cycle_ended: bool = True
    """The newest cycle failed or was refused."""
    max_approval_hours: Limit = 24.0
    """A cycle waits for a person's word."""
    suite_failed: bool = True
    """The live version fails the newest run of a regression suite."""
    max_silent_hours: Limit = 72.0
    """Nothing was heard for so long, after there had been traffic."""
    max_digest_behind: Limit = 100_000.0
    """Inferences that wait to be counted."""
    min_free_disk_percent: Limit = 5.0
    """Of the disk that the workspace is on."""
    max_failed_attempts: Limit = 3.0
    """A channel did not take an alert so often; told by the others."""
    log: bool = True
    """Alerts go to the log `misheard.alerts`, too."""
    webhooks: dict[str, WebhookSettings] = {}
    """By name: MISHEARD_ALERTS__WEBHOOKS__SLACK__URL=https://…"""
    smtp: SmtpSettings = SmtpSettings()
    give_up_hours: float = Field(default=72.0, gt=0.0)
    """What could not be delivered for so long is not tried again."""

    @field_validator("webhooks")
    @classmethod
    def _names_are_free(cls, value: dict[str, WebhookSettings]) -> dict[str, WebhookSettings]:
        if taken := {"log", "smtp"} & value.keys():
            raise ValueError(f"'{min(taken)}' is a channel already; choose another name")
        return value


class WorkerSettings(_Section):
    """How often `misheard worker` does each of its duties, in seconds."""

    advance_s: float = Field(default=5.0, gt=0.0)
    """Take cycles on that wait for nobody."""
    digest_s: float = Field(default=10.0, gt=0.0)
    """Count what production heard, and choose what a person should look at."""
    rollback_s: float = Field(default=60.0, gt=0.0)
    """Roll back what does worse."""
    trigger_s: float = Field(default=60.0, gt=0.0)
    """Begin a cycle, or propose one, where it is worth it."""
    alerts_s: float = Field(default=60.0, gt=0.0)
    """Look at what alerts, and deliver what is to be told."""
    retention_s: float = Field(default=600.0, gt=0.0)
    """Let go of audio and transcripts that nobody needs any more."""
    suites_s: float = Field(default=300.0, gt=0.0)
    """Run the suites that are due."""


class Settings(_Section):
    """All of `misheard.toml`."""

    database: DatabaseSettings = DatabaseSettings()
    speech: SpeechSettings = SpeechSettings()
    scoring: ScoringSettings = ScoringSettings()
    capture: CaptureSettings = CaptureSettings()
    triggers: TriggerSettings = TriggerSettings()
    datasets: DatasetSettings = DatasetSettings()
    recipe: dict[str, bool | float | int | str] = {}
    """Overrides of the fine-tuning recipe; `misheard recipe` explains each setting."""
    backend: Literal["local", "inprocess"] = "local"
    """Where training runs: a process of its own, or this one."""
    validation: ValidationSettings = ValidationSettings()
    regression: RegressionSettings = RegressionSettings()
    deployment: DeploymentSettings = DeploymentSettings()
    alerts: AlertSettings = AlertSettings()
    worker: WorkerSettings = WorkerSettings()


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
            f"{key} = {_shown(first)} in '{source}' or the environment: {first['msg']}."
        ) from error


def _shown(error: Any) -> str:
    """What was given, less what nobody but its owner should see."""
    given = error.get("input")
    # A whole section of alerts, too: there are secrets somewhere in it.
    section = isinstance(given, dict) and error["loc"][0] == "alerts"
    return "…" if section or {*error["loc"][-1:]} & _SECRET_KEYS else repr(given)


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
