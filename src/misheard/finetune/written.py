"""Files that are written complete or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Store `values` at `path`; a kill leaves what was there before."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(values, indent=2), encoding="utf-8")
    partial.rename(path)
