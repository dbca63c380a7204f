"""The house keeps its order: the table of floors in docs/structure.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "misheard"
FLOORS = (
    {"errors"},
    {"settings", "optional"},
    {"database", "blobs", "audio"},
    {"scoring"},
    {"speech", "tags", "transcripts"},
    {"capture", "cases", "registry"},
    {"datasets"},
    {
        "finetune",
        "gates",
        "deployment",
        "fleet",
        "backups",
        "integrity",
        "retention",
        "triggers",
        "monitoring",
        "access",
    },
    {"cycle", "forgetting", "rollouts", "syncing"},
    {"rooms"},
    {"gatekeeping"},
    {"workspace"},
    {"reports", "watch", "tuning"},
    {"worker"},
    {"serving"},
    {"server"},
    {"demo"},
    {"cli"},
)
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
MODULES = sorted(path for path in SOURCE.rglob("*.py") if "versions" not in path.parts)
HEAVY = {"torch", "transformers"}
MAY_BE_HEAVY = (
    "speech/convert.py",
    "speech/sources.py",
    "speech/transformers.py",
    "speech/families/",
    "finetune/adaptation.py",
    "finetune/families/",
    "finetune/curve.py",
    "finetune/shipping.py",
    "finetune/train.py",
    "finetune/trainer.py",
)


def name_of(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> Iterator[tuple[str, int]]:
    """Every module that is imported anywhere in the file, also inside functions, and its line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: import by the full name"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def test_every_room_has_a_floor() -> None:
    rooms = {room_of(path) for path in MODULES} - {"__init__"}
    assert rooms <= FLOOR_OF.keys()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_room_imports_only_from_floors_below_its_own(path: Path) -> None:
    here = room_of(path)
    floor = len(FLOORS) if here == "__init__" else FLOOR_OF[here]
    wrong = []
    for module, line in imports_of(path):
        parts = module.split(".")
        if parts[0] != "misheard" or len(parts) < 2 or parts[1] not in FLOOR_OF:
            continue
        if parts[1] != here and FLOOR_OF[parts[1]] >= floor:
            wrong.append(f"line {line}: {here} ({floor}) imports {module} ({FLOOR_OF[parts[1]]})")
    assert wrong == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_torch_and_transformers_stay_where_weights_are_made(path: Path) -> None:
    heavy = [(m, line) for m, line in imports_of(path) if m.split(".")[0] in HEAVY]
    assert heavy == [] or name_of(path).startswith(MAY_BE_HEAVY)


def test_the_table_in_the_docs_is_the_one_held_here() -> None:
    page = (SOURCE.parents[1] / "docs" / "structure.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.*?) \|$", page, re.MULTILINE)
    table = {int(number): set(re.findall(r"`(\w+)`", rooms)) for number, rooms in rows}
    assert table == dict(enumerate(FLOORS))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_the_command_line_prints(path: Path) -> None:
    if room_of(path) == "cli":
        return
    calls = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert calls == []


def test_no_module_is_a_drawer_for_odds_and_ends() -> None:
    words = ("manager", "utils", "helpers", "common")
    names = [name_of(path) for path in MODULES]
    assert [name for name in names if any(word in name.lower() for word in words)] == []


def test_the_pure_rooms_do_no_input_or_output() -> None:
    pure = [SOURCE / "triggers.py", *sorted((SOURCE / "scoring").glob("*.py"))]
    for path in pure:
        found = {module.split(".")[0] for module, _ in imports_of(path)}
        assert not found & {"sqlalchemy", "os", "pathlib", "socket", "subprocess"}, path
        calls = [
            node.func.id
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        ]
        assert "open" not in calls, path
