"""What every page shares: templates, the style sheet, and how figures are written in them."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import misheard
from misheard.database.engine import now
from misheard.reports import figures

_FILTERS = (
    "percent", "signed_percent", "times", "p_value", "count", "number", "minutes", "duration",
    "when", "plural",
)  # fmt: skip


def render(template: str, **values: Any) -> str:
    """A self-contained HTML page from `template` and what it names."""
    made = _environment().get_template(template)
    return made.render(**values, style=_style(), made_at=now(), version=misheard.__version__)


def drawn(svg: str) -> Markup:
    """A chart, to stand in a template as it is."""
    # `charts` escapes every text that it is given.
    return Markup(svg)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("misheard", "reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {name: getattr(figures, name) for name in _FILTERS}
    return made


@cache
def _style() -> Markup:
    # The style sheet is our own file; nothing in it comes from a workspace.
    return Markup((files("misheard.reports") / "report.css").read_text(encoding="utf-8"))
