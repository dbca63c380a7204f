"""A workspace as the demo leaves it, small, and snippets that are pasted into a fresh Python."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
GIVEN = ROOT.parent / "shared" / "QUICK_START.md"
"""The guide as the user gave it, beside the checkout."""
OURS = ROOT / "docs" / "QUICK_START.md"

DEMO = ROOT / "experiments" / "demo_finetuning_orchestration.py"
LISTED = 12
"""Lines of the evaluation list that the snippets are given; all of them take minutes."""
SAID = "said.txt"
"""What the guide's demo printed."""


def snippets(page: Path) -> list[str]:
    """The Python of a page, in order."""
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def paste(snippet: str, namespace: dict[str, Any], where: str) -> None:
    exec(compile(snippet, where, "exec"), namespace)


def names_made_in(snippet: str) -> set[str]:
    """What a snippet assigns or imports."""
    found = set()
    for node in ast.walk(ast.parse(snippet)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.alias):
            found.add(node.asname or node.name)
    return found


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory in which `data` is what a small demo left; copy it, leave it alone."""
    folder = tmp_path_factory.mktemp("filled")
    shutil.copytree(ROOT / "data" / "evaluation", folder / "data" / "evaluation")
    listed = folder / "data" / "evaluation" / "test.jsonl"
    lines = listed.read_text(encoding="utf-8").splitlines(keepends=True)
    assert len(lines) > LISTED
    listed.write_text("".join(lines[:LISTED]), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(DEMO), "--quick"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    (folder / SAID).write_text(done.stdout + done.stderr, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def copy_of_filled(filled: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A copy of `filled` for each who asks."""

    def copy(source: str, target: str) -> None:
        # Blobs and models never change once they are written, and they are large.
        same = {"blobs", "models"} & set(Path(source).parts)
        (os.link if same else shutil.copy2)(source, target)

    def make(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        left_out = shutil.ignore_patterns("jobs")
        shutil.copytree(filled / "data", folder / "data", copy_function=copy, ignore=left_out)
        return folder

    return make


@pytest.fixture(scope="module")
def pasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path], None]]:
    """Makes a directory the working one, at a home without credentials, for a whole module."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("MISHEARD_"):
                patch.delenv(name)
        for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT"):
            patch.delenv(name, raising=False)
        # Were this a machine of Google's, its own account would do.
        patch.setenv("NO_GCE_CHECK", "true")
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        # As `python` in the root of the checkout has it.
        patch.syspath_prepend(ROOT)
        yield patch.chdir
