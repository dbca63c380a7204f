"""What every page shares: templates, the style sheet, and how figures are written in them."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import misheard
from misheard.database.engine import now
from misheard.reports import figures

_FILTERS = (
    "percent", "signed_percent", "times", "p_value", "p_equals", "count", "signed", "number",
    "setting", "seconds", "latency", "minutes", "duration", "when", "plural",
)  # fmt: skip


def render(template: str, **values: Any) -> str:
    """A self-contained HTML page from `template` and what it names."""
    made = _environment().get_template(template)
    return made.render(**values, style=_style(), made_at=now(), version=misheard.__version__)


@dataclass(frozen=True, kw_only=True)
class Script:
    """A script of ours, as it stands in a page."""

    text: Markup
    hash: str
    """What the page's Content-Security-Policy allows; no other script runs."""


@cache
def script(name: str) -> Script:
    """The script of this name, which lies beside the templates."""
    text = (files("misheard.reports") / name).read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    # Our own file, as the style sheet is.
    return Script(text=Markup(text), hash=f"sha256-{digest}")


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
