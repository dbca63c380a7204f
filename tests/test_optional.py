"""A library that is not installed is an error that names the extra which brings it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from misheard.errors import MissingExtraError
from misheard.optional import optional


def test_a_library_that_is_there_is_given() -> None:
    assert optional("json", extra="x") is json
    assert optional("json.decoder", extra="x") is sys.modules["json.decoder"]


@pytest.mark.parametrize("module", ["no_such_library", "no_such_library.part.of_it"])
def test_a_library_that_is_not_there_is_an_error_that_says_what_to_install(module: str) -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'misheard\[clouds\]'") as caught:
        optional(module, extra="clouds")
    assert module in str(caught.value)
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a package can be put that is found on import."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_part_that_is_missing_from_a_shared_namespace_is_not_installed(installed: Path) -> None:
    """As google is for google.cloud.storage: other libraries bring the first half of the name."""
    (installed / "namespace_of_many/other").mkdir(parents=True)
    with pytest.raises(MissingExtraError, match="clouds"):
        optional("namespace_of_many.cloud.storage", extra="clouds")


def test_a_library_that_is_there_but_lacks_one_of_its_own_is_not_hidden(installed: Path) -> None:
    (installed / "lacking_one.py").write_text("import no_such_library\n", encoding="utf-8")
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        optional("lacking_one", extra="x")


def test_a_library_that_breaks_on_import_is_not_hidden(installed: Path) -> None:
    (installed / "broken_one.py").write_text("raise ValueError('no luck')\n", encoding="utf-8")
    with pytest.raises(ValueError, match="no luck"):
        optional("broken_one", extra="x")
