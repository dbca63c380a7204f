"""Which weights a recipe trains: all, all but frozen layers, or low-rank adapters."""

from __future__ import annotations

import copy
from typing import Any

import torch

from misheard.errors import InvalidSettingError
from misheard.finetune.families.family import Family
from misheard.finetune.recipe import Recipe
from misheard.optional import optional


def freeze(family: Family, recipe: Recipe) -> None:
    """Keep what the recipe wants to keep: first layers of the encoder, the table of tokens.

    Raises `InvalidSettingError` for more layers than there are.
    """
    front, *others = family.encoder_layers()
    layers = recipe.frozen_encoder_layers
    if layers > len(others):
        raise InvalidSettingError(
            f"recipe.frozen_encoder_layers is {layers}, and the encoder has {len(others)}."
        )
    if layers:
        for module in [front, *others[: len(others) if layers < 0 else layers]]:
            module.requires_grad_(False)
    if recipe.frozen_tokens:
        words = family.model.config.vocab_size
        for module in family.model.modules():
            # Where the output is tied to it, as in Whisper, it is the same table.
            if isinstance(module, torch.nn.Embedding) and module.num_embeddings == words:
                module.requires_grad_(False)


def adapted(family: Family, recipe: Recipe) -> Any:
    """What the trainer trains: the model itself, or the model with adapters on it.

    Raises `MissingExtraError` where LoRA is wanted and peft is not installed.
    """
    if recipe.method == "full":
        return family.model
    peft = optional("peft", extra="lora")
    frozen = {name for name, value in family.model.named_parameters() if not value.requires_grad}
    config = peft.LoraConfig(
        r=recipe.lora_rank,
        lora_alpha=2 * recipe.lora_rank,
        target_modules=[
            name
            for name, _ in family.model.named_modules()
            if name.rpartition(".")[2] in family.adapter_targets and f"{name}.weight" not in frozen
        ],
    )
    return peft.get_peft_model(family.model, config)


def merged(model: Any) -> Any:
    """A model without adapters that computes the same: itself, or a copy with them added in."""
    return copy.deepcopy(model).merge_and_unload() if hasattr(model, "merge_and_unload") else model
