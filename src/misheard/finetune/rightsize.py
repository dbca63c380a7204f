"""Run Transformers' Whisper on a window shorter than 30 s.

`WhisperEncoder` insists on features for `max_source_positions` and adds all its position
embeddings. Within `right_sized`, both are cut to the window. The embeddings are sinusoids and
frozen, so the full table is put back untouched.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import WhisperForConditionalGeneration


@contextmanager
def right_sized(model: WhisperForConditionalGeneration, positions: int) -> Iterator[None]:
    """Let `model` take features of shape (batch, bins, 2 × positions) inside the block."""
    import torch  # noqa: PLC0415 - the training program has it loaded already

    encoder: Any = model.get_encoder()
    whole = encoder.embed_positions
    full = encoder.config.max_source_positions
    cut = torch.nn.Embedding.from_pretrained(whole.weight[:positions], freeze=True)
    encoder.embed_positions, encoder.config.max_source_positions = cut, positions
    try:
        yield
    finally:
        encoder.embed_positions, encoder.config.max_source_positions = whole, full
