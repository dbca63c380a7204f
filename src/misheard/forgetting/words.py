"""Take one person's words out of what was written about many: verdicts, runs, reasons. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from misheard.gates.slices import GROUP

_NAMES_AUDIO = ("audio_sha256", "audio")


@dataclass(frozen=True)
class Eraser:
    """Knows a person's recordings, texts and names."""

    recordings: frozenset[str]
    texts: frozenset[str] = frozenset()
    """Quoted in a reason as “text”."""
    groups: frozenset[str] = frozenset()
    """Named as slices."""

    def of_json(self, value: Any) -> Any:
        """`value` without what is about the person's utterances; itself where nothing is."""
        if isinstance(value, str):
            return self.of_text(value)
        if isinstance(value, list | tuple):
            return [self.of_json(one) for one in value if not self._is_theirs(one)]
        if isinstance(value, dict):
            return {key: self.of_json(one) for key, one in value.items()}
        return value

    def of_text(self, text: str) -> str:
        """`text` without quotations of the person, and without slices that are it alone."""
        if "“" in text:
            for said in self.texts:
                text = text.replace(f"“{said}”", "“…”")
        for group in self.groups:
            # As the gates write it: "anna (3 → 5 word errors in 40 words)".
            for before in ("on ", ", "):
                text = text.replace(f"{before}{group} (", f"{before}… (")
        return text

    def of_lines(self, data: bytes) -> bytes | None:
        """JSON lines without those of the person; None where there is none."""
        lines = [line for line in data.decode().split("\n") if line]
        kept = [line for line in lines if not self._is_theirs(json.loads(line))]
        if len(kept) == len(lines):
            return None
        return "".join(line + "\n" for line in kept).encode()

    def _is_theirs(self, value: Any) -> bool:
        if isinstance(value, str):
            return value in self.recordings
        if not isinstance(value, dict):
            return False
        if value.get("kind") == GROUP and value.get("name") in self.groups:
            return True
        named = [value.get(key) for key in _NAMES_AUDIO]
        path = value.get("audio_path")
        if isinstance(path, str):
            named.append(path.rpartition("/")[2])
        return any(isinstance(one, str) and one in self.recordings for one in named)


def without_confusions(figures: dict[str, Any], *, sides: Collection[str]) -> dict[str, Any]:
    """Figures of a comparison without the lists of single words, which may be anybody's."""
    changed = {side: {**figures[side], "confusions": {}} for side in sides if side in figures}
    return {**figures, **changed}


SIDES = ("baseline", "candidate")
