"""How well a model hears while it is trained, measured as it would be served."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from misheard import audio
from misheard.finetune.examples import Utterance
from misheard.finetune.order import Order
from misheard.scoring.normalize import normalizer
from misheard.scoring.score import score
from misheard.speech.context import CARD_NAME
from misheard.speech.engines import open_transcriber
from misheard.speech.memory import give_back
from misheard.speech.whisper import DecodingOptions

_CHECKED_CLIPS = 64
"""At 30 s a clip costs ten times as much, and a check need not be exact."""
_LONG_S = 40.0
_GAP_S = 0.8
"""Between clips that are joined: long enough to be cut there."""


@dataclass(frozen=True, kw_only=True)
class Heard:
    """Rates on a set of utterances."""

    wer: float
    """NaN where nobody speaks in any of them."""
    cer: float
    silent_with_text: int
    """Clips without speech that were given words."""
    words: int = 0
    """Spoken in all of them; what its rates are worth depends on it."""

    def is_as_good_as(self, best: Heard) -> bool:
        """Whether the difference to `best` may be chance: it is below its standard error.

        The rule of one standard error (Breiman et al. 1984, "Classification and regression trees",
        3.4.3). Errors come one by one, so the difference of n and m has the square root of n + m.
        """
        if self.rank <= best.rank:
            return True
        if not best.words or math.isnan(best.wer) or math.isnan(self.wer):
            return False
        mine, its = self.wer * best.words, best.wer * best.words
        return mine - its <= math.sqrt(max(1.0, mine + its))

    @property
    def rank(self) -> tuple[float, ...]:
        """What is compared: the lower of two heard better. Few words make many a tie in WER."""
        rates = [0.0 if math.isnan(rate) else rate for rate in (self.wer, self.cer)]
        return (*rates, self.silent_with_text)


class Listener:
    """Transcribes with artefacts as they would be served, and scores what they hear."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._normalize = normalizer(order.normalizer, order.equivalents)

    def hear(self, directory: Path, rows: Sequence[Utterance]) -> Heard:
        """The rates of the artefact in `directory` on `rows`."""
        clips = [audio.read(row.path) for row in rows]
        return self._scored(directory, clips, [row.reference for row in rows])

    def hear_in_full_window(self, directory: Path, rows: Sequence[Utterance]) -> Heard:
        """The same weights without the window that they have learnt: each clip in 30 s."""
        with tempfile.TemporaryDirectory(dir=directory.parent) as folder:
            for file in directory.iterdir():
                if file.name != CARD_NAME:
                    (Path(folder) / file.name).symlink_to(file.resolve())
            return self.hear(Path(folder), rows[:_CHECKED_CLIPS])

    def hear_joined(self, directory: Path, rows: Sequence[Utterance]) -> Heard | None:
        """The clips joined to recordings of over 30 s; None where there are not enough for one."""
        clips, references = _joined(rows[:_CHECKED_CLIPS])
        return self._scored(directory, clips, references) if clips else None

    def _scored(
        self, directory: Path, clips: Sequence[audio.Audio], references: Sequence[str]
    ) -> Heard:
        give_back()  # what training or another model has freed
        served = DecodingOptions(**{"language": self._order.language} | self._order.decoding)
        engine = open_transcriber(
            directory,
            # Above the first temperature texts are drawn at random, and then two runs of one recipe
            # might keep different epochs.
            options=replace(served, temperatures=served.temperatures[:1]),
            compute_type=self._order.compute_type,
            device=self._order.device,
            threads=self._order.serving_threads,
        )
        heard = [transcript.text for transcript in engine.transcribe(clips)]
        made = score(references, heard, normalizer=self._normalize)
        silent = [text for text, said in zip(heard, references, strict=True) if not said]
        return Heard(
            wer=made.wer,
            cer=made.cer,
            silent_with_text=sum(map(bool, silent)),
            words=int(made.words.reference_length.sum()),
        )


def _joined(rows: Sequence[Utterance]) -> tuple[list[audio.Audio], list[str]]:
    gap = np.zeros(round(_GAP_S * audio.SAMPLE_RATE_HZ), np.float32)
    clips: list[audio.Audio] = []
    references: list[str] = []
    parts: list[np.ndarray] = []
    texts: list[str] = []
    for row in rows:
        if not row.reference:
            continue
        parts += [audio.read(row.path).samples, gap]
        texts.append(row.reference)
        if sum(map(len, parts)) > _LONG_S * audio.SAMPLE_RATE_HZ:
            joined = audio.from_samples(np.concatenate(parts), audio.SAMPLE_RATE_HZ)
            clips.append(joined)
            references.append(" ".join(texts))
            parts, texts = [], []
    return clips, references
