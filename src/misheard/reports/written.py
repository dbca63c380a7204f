"""A report on the loop as a file, with its page beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from misheard.errors import BadInputError
from misheard.reports.loop_pages import as_html
from misheard.reports.loop_reports import REPORTS, to_json
from misheard.workspace import Workspace


def write_report(
    name: str, workspace: Workspace, target: str | Path | None = None
) -> dict[str, Any]:
    """The report `name`, one of `loop_reports.REPORTS`, in figures.

    With a `target`, `x.json` is written too, and the page `x.html` beside it; a target that ends in
    .html names the page.
    """
    if name not in REPORTS:
        raise BadInputError(f"There is no report '{name}'. Known: {', '.join(REPORTS)}.")
    report = REPORTS[name](workspace)
    if target is not None:
        path = Path(target)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".html").write_text(as_html(name, workspace), encoding="utf-8")
        figures = path.with_suffix(".json") if path.suffix == ".html" else path
        figures.write_text(to_json(report) + "\n", encoding="utf-8")
    return report
