from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from misheard.errors import InvalidSettingError
from misheard.finetune.recipe import Recipe
from misheard.settings import Settings, load_settings, parse_settings, write_settings


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "misheard.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_missing_file_gives_the_defaults(tmp_path: Path) -> None:
    assert load_settings(tmp_path / "misheard.toml") == Settings()


def test_the_file_overrides_defaults(tmp_path: Path) -> None:
    path = written(tmp_path, "backend = 'inprocess'\n[triggers]\nmin_error_cases = 7\n")
    settings = load_settings(path)
    assert settings.triggers.min_error_cases == 7
    assert settings.backend == "inprocess"
    assert settings.triggers.min_corrected_cases == Settings().triggers.min_corrected_cases


def test_the_environment_wins_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, "[triggers]\nmin_error_cases = 7\n")
    monkeypatch.setenv("MISHEARD_TRIGGERS__MIN_ERROR_CASES", "20")
    monkeypatch.setenv("MISHEARD_TRIGGERS__TRIGGER_ON_ERROR_RATE", "false")
    monkeypatch.setenv("MISHEARD_SPEECH__MODEL", "/models/tiny")
    settings = load_settings(path)
    assert settings.triggers.min_error_cases == 20
    assert settings.triggers.trigger_on_error_rate is False
    assert settings.speech.model == "/models/tiny"


def test_variables_that_are_no_settings_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISHEARD_WORKSPACE", "/somewhere")
    monkeypatch.setenv("MISHEARD_ACTOR", "ann")
    assert load_settings(tmp_path / "misheard.toml") == Settings()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("min_error_case = 5\n", "min_error_case"),
        ("[triggers]\nmin_error_case = 5\n", r"triggers\.min_error_case"),
        ("[trigger]\nmin_error_cases = 5\n", "trigger"),
    ],
)
def test_an_unknown_key_in_the_file_is_an_error_that_names_the_known_ones(
    tmp_path: Path, text: str, named: str
) -> None:
    with pytest.raises(InvalidSettingError, match=f"'{named}'.*Known here: .*min_error|'{named}'"):
        load_settings(written(tmp_path, text))


def test_the_known_keys_of_the_section_are_listed(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettingError, match="Known here: min_error_cases, "):
        load_settings(written(tmp_path, "[triggers]\nmin_error_case = 5\n"))


def test_an_unknown_key_in_the_environment_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISHEARD_TRIGGERS__MIN_ERROR_CASE", "5")
    with pytest.raises(InvalidSettingError, match=r"triggers\.min_error_case"):
        load_settings(tmp_path / "misheard.toml")


def test_a_key_below_a_plain_value_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISHEARD_TRIGGERS__MIN_ERROR_CASES", "5")
    with pytest.raises(InvalidSettingError, match="'triggers' is no section"):
        load_settings(written(tmp_path, "triggers = 3\n"))


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1.5", "-0.1", '"often"'])
def test_values_that_a_share_cannot_take_are_errors(tmp_path: Path, value: str) -> None:
    path = written(tmp_path, f"[triggers]\nerror_rate_threshold = {value}\n")
    with pytest.raises(InvalidSettingError, match=r"triggers\.error_rate_threshold"):
        load_settings(path)


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_nan_is_refused_where_there_is_no_bound_and_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("MISHEARD_VALIDATION__MIN_WER_IMPROVEMENT", value)
    with pytest.raises(InvalidSettingError, match="min_wer_improvement"):
        load_settings(tmp_path / "misheard.toml")


def test_a_wrong_type_is_an_error_with_the_value(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettingError, match=r"speech\.beam_size = 'wide'"):
        load_settings(written(tmp_path, "[speech]\nbeam_size = 'wide'\n"))


@pytest.mark.parametrize(
    "shares", [{"train_percent": 90}, {"train_percent": 110, "validation_percent": -20}]
)
def test_split_shares_that_make_no_hundred_are_errors(shares: dict[str, int]) -> None:
    with pytest.raises(InvalidSettingError):
        parse_settings({"datasets": shares}, source="test")


def test_broken_toml_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettingError, match=r"misheard\.toml.*not valid TOML"):
        load_settings(written(tmp_path, "[triggers\n"))


def test_bytes_that_are_no_utf_8_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "misheard.toml"
    path.write_bytes(b'backend = "\xff"\n')
    with pytest.raises(InvalidSettingError, match="not valid TOML"):
        load_settings(path)


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().triggers.min_error_cases = 1  # type: ignore[misc]


def test_equivalents_are_groups_of_spellings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, '[scoring]\nequivalents = [["pbx", "p b x"], ["ok", "okay", "k"]]\n')
    assert load_settings(path).scoring.equivalents == (("pbx", "p b x"), ("ok", "okay", "k"))
    monkeypatch.setenv("MISHEARD_SCORING__EQUIVALENTS", '[["a", "b"]]')
    assert load_settings(path).scoring.equivalents == (("a", "b"),)


@pytest.mark.parametrize(
    "value",
    ['"pbx"', '["pbx", "p b x"]', '[["pbx"]]', "[[1, 2]]", "[[]]", '[["a", "b"], "c"]', "3"],
)
def test_equivalents_that_are_no_groups_are_errors(tmp_path: Path, value: str) -> None:
    with pytest.raises(InvalidSettingError, match=r"scoring\.equivalents"):
        load_settings(written(tmp_path, f"[scoring]\nequivalents = {value}\n"))


# A lone surrogate is no text that a file could hold.
SPELLINGS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(groups=st.lists(st.lists(SPELLINGS, min_size=2, max_size=3), max_size=3))
def test_groups_of_any_text_are_read_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, groups: list[list[str]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "groups.toml"
    write_settings(path, {"backend": "inprocess", "scoring": {"equivalents": groups}})
    settings = load_settings(path)
    assert [list(group) for group in settings.scoring.equivalents] == groups
    assert settings.backend == "inprocess"


def test_the_recipe_takes_every_kind_of_value_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "misheard.toml").write_text(
        "[recipe]\nepochs = 1\nsweep = true\nlearning_rate = 1e-5\nmargin_s = 2\n"
        'method = "lora"\nwarmup_share = 0.0\n',
        encoding="utf-8",
    )
    monkeypatch.setenv("MISHEARD_RECIPE__WEIGHT_DECAY", "1e-2")
    monkeypatch.setenv("MISHEARD_RECIPE__SEED", "1")
    monkeypatch.setenv("MISHEARD_RECIPE__SWEEP", "false")
    monkeypatch.setenv("MISHEARD_RECIPE__PRECISION", "float32")
    recipe = load_settings(tmp_path / "misheard.toml").recipe
    assert {name: (type(value), value) for name, value in recipe.items()} == {
        "epochs": (int, 1),
        "sweep": (bool, False),
        "learning_rate": (float, 1e-5),
        "margin_s": (int, 2),
        "method": (str, "lora"),
        "warmup_share": (float, 0.0),
        "weight_decay": (float, 0.01),
        "seed": (int, 1),
        "precision": (str, "float32"),
    }
    assert Recipe.from_dict(dict(recipe)).sweep is False


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("temperatures = []", "temperatures"),
        ("temperatures = [0.0, -0.2]", r"temperatures\.1"),
        ("temperatures = [nan]", r"temperatures\.0"),
        ("language = 'English'", "language"),
        ("no_speech_threshold = 1.5", "no_speech_threshold"),
        ("best_of = 0", "best_of"),
    ],
)
def test_ways_of_decoding_that_cannot_be_are_named(tmp_path: Path, line: str, named: str) -> None:
    with pytest.raises(InvalidSettingError, match=rf"speech\.{named}"):
        load_settings(written(tmp_path, f"[speech]\n{line}\n"))


def timed(section: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every setting that is a time and not a limit that something is compared with."""
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from timed(kind, (*path, name))
        elif kind is float and re.fullmatch("(?!max_).*_(days|hours|minutes|s)", name):
            yield (*path, name)


def nested(path: tuple[str, ...], value: float) -> dict[str, Any]:
    name, *rest = path
    return {name: nested(tuple(rest), value) if rest else value}


@pytest.mark.parametrize("path", list(timed(Settings)), ids=".".join)
def test_no_time_is_so_long_that_a_date_or_a_wait_overflows(path: tuple[str, ...]) -> None:
    given = nested(path, 1e9)
    if path[:2] == ("alerts", "smtp"):
        given["alerts"]["smtp"] |= {"host": "mail.example", "recipients": ("ann@example",)}
    with pytest.raises(InvalidSettingError, match=path[-1]):
        parse_settings(given, source="test")


def test_the_times_that_are_looked_at_are_all_there() -> None:
    found = {".".join(path) for path in timed(Settings)}
    assert {"capture.keep_text_days", "alerts.give_up_hours", "worker.advance_s"} <= found
    assert len(found) >= 15
