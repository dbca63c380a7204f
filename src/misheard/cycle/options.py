"""What one cycle does otherwise than the settings say; kept with it, so that a restart knows."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from misheard.finetune.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class CycleOptions:
    """How a cycle goes; the defaults are what the settings say."""

    recipe: dict[str, Any] = field(default_factory=dict)
    """Settings of the recipe that are changed for this cycle."""
    model_directory: str = ""
    """A model that was trained already: nothing is trained, only compared."""
    trained_elsewhere: bool = False
    """Somebody else's program trains on the dataset and hands the model back."""
    skip_validation: bool = False
    skip_regression: bool = False
    auto_deploy: bool | None = None
    """Deploy without asking once every gate is passed; None: as the settings say."""
    attempt: int = 1
    """How often it has been tried; the job of each attempt has an id of its own."""

    def __post_init__(self) -> None:
        Recipe.from_dict(self.recipe)

    def to_dict(self) -> dict[str, Any]:
        """For storage: only what differs from the default."""
        shipped = asdict(type(self)())
        return {key: value for key, value in asdict(self).items() if value != shipped[key]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        known = {one.name for one in fields(cls)}
        return cls(**{key: value for key, value in values.items() if key in known})
