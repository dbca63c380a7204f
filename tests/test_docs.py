"""What the docs say is so: links lead somewhere, tables match the code, snippets run."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from misheard.cycle.states import TRANSITIONS, CycleState
from misheard.demo.phone_prompts import read_prompts, read_samples
from misheard.finetune.recipe import Recipe

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target


def test_the_lifecycle_drawing_is_the_transition_table() -> None:
    text = (ROOT / "docs/lifecycle.md").read_text(encoding="utf-8")
    drawn = set(re.findall(r"^ {4}(\w+) --> (\w+)", text, re.MULTILINE))
    assert drawn == {(a.value, b.value) for a, following in TRANSITIONS.items() for b in following}


def test_the_lifecycle_table_names_every_state() -> None:
    text = (ROOT / "docs/lifecycle.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == {s.value for s in CycleState}


def test_every_dependency_has_its_reason() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    reasons = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
    for requirement in declared["project"]["dependencies"]:
        name = re.split(r"[<>=\[]", requirement)[0]
        assert re.search(rf"^\|[^|]*\b{re.escape(name)}\b", reasons, re.MULTILINE), name


def test_every_recipe_setting_says_what_it_is() -> None:
    source = (ROOT / "src/misheard/finetune/recipe.py").read_text(encoding="utf-8")
    for field in fields(Recipe):
        assert re.search(rf'^    {field.name}: .*\n    """', source, re.MULTILINE), field.name


def test_the_attribution_of_the_prompts_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for owed in ("Allison Smith", "Digium", "Attribution-ShareAlike 3.0"):
        assert owed in readme


@pytest.mark.model
def test_the_python_of_the_readme_runs(tmp_path, monkeypatch) -> None:
    sample = read_samples([p for p in read_prompts() if p.id == "vm-goodbye"])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "call.wav").write_bytes(sample[0].data)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    snippets = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    assert snippets
    for snippet in snippets:
        exec(compile(snippet, "README.md", "exec"), {})
