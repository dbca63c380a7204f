"""What a training job is told to do: written by whoever submits it, read by the program."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from misheard.finetune.recipe import Recipe
from misheard.finetune.written import write_json
from misheard.speech.cuda import CPU, CUDA


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a job is to do."""

    base_name: str
    dataset_id: str
    normalizer: str
    equivalents: tuple[tuple[str, ...], ...] = ()
    """Spellings that count as the same, beyond what the normaliser knows."""
    language: str
    """Code of the spoken language, for models that know several."""
    recipe: Recipe
    general_margin: float = 0.0
    """How far the WER on the general set may rise, absolute."""
    decoding: dict[str, Any] = field(default_factory=dict)
    """Options of `DecodingOptions` that it will be served with, besides the language."""
    compute_type: str = "int8"
    """In which it will be served; CTranslate2's."""
    device: str = CPU
    """On which it will be served."""

    @property
    def serving_threads(self) -> int:
        """Of the processor for what is heard meanwhile; on a GPU they would be batches at once."""
        return 0 if self.device == CUDA else self.recipe.threads

    def write(self, path: Path) -> None:
        """Store it, complete or not at all."""
        write_json(path, {**vars(self), "recipe": self.recipe.to_dict()})

    @classmethod
    def read(cls, path: Path) -> Order:
        """Read what `write` wrote."""
        values = json.loads(path.read_text(encoding="utf-8"))
        equivalents = tuple(tuple(group) for group in values.get("equivalents", ()))
        return cls(
            **values | {"recipe": Recipe.from_dict(values["recipe"]), "equivalents": equivalents}
        )
