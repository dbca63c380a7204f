"""docs/rollouts.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from misheard.rollouts.signals import Signal
from misheard.rollouts.states import TRANSITIONS, RolloutRules
from misheard.settings import CaptureSettings, RolloutSettings

PAGE = (Path(__file__).parents[2] / "docs" / "rollouts.md").read_text(encoding="utf-8")


def test_the_drawing_is_the_table_of_transitions() -> None:
    drawn = set(re.findall(r"^ {4}(\w+) --> (\w+)", PAGE, re.MULTILINE))
    law = {
        (before.value, after.value)
        for table in TRANSITIONS.values()
        for before, following in table.items()
        for after in following
    }
    assert drawn == law


def test_every_signal_has_its_row_and_its_name_in_the_settings() -> None:
    _, _, section = PAGE.partition("| signal | ")
    rows = re.findall(r"^\| `(\w+)` \|", section.partition("\n\n")[0], re.MULTILINE)
    assert rows == [one.value for one in Signal]
    assert RolloutSettings().signals == tuple(Signal)


def test_every_setting_has_its_row() -> None:
    _, _, section = PAGE.partition("| setting | default |")
    named = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (.*?) \|", section, re.MULTILINE)))
    assert sorted(named) == sorted(RolloutSettings.model_fields)


def test_the_defaults_of_the_page_are_those_of_the_settings() -> None:
    rules = RolloutSettings()
    assert f"`{list(rules.shares)}`" in PAGE
    for value in (
        f"| `step_sessions` | {rules.step_sessions} |",
        f"| `step_minutes` | {rules.step_minutes:g} |",
        f"| {rules.shadow_share:g}, {rules.shadow_sessions} |",
        f"| {rules.alpha:g}, {rules.tolerance:g} |",
        f"| `slow_s` | {rules.slow_s:g} |",
    ):
        assert value in PAGE
    sessions = sum(rules.step_sessions / share for share in rules.shares)
    assert f"about {sessions:,.0f} sessions" in PAGE


def test_rules_without_settings_are_the_default_settings() -> None:
    rules, kept = RolloutSettings(), RolloutRules()
    for name in ("alpha", "tolerance", "step_sessions", "step_minutes", "slow_s", "signals"):
        assert getattr(kept, name) == getattr(rules, name)
    assert kept.min_suspicion == CaptureSettings().min_suspicion
