"""What each epoch shows: which clips, in which order, and what is changed in them. Pure.

All of it follows from the recipe's seed and the number of the epoch, so a training that was killed
goes on with the very batches it would have had.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator

from misheard.finetune.recipe import Recipe

_JOINED_S = 7.0
"""The longest clip that is joined to another, so that two stay in the cheaper half of a window."""
_GAP_S = (0.1, 0.6)
_NON_SPEECH_S = (0.3, 8.0)


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A recording of the training split that can be learnt from."""

    path: Path
    reference: str
    """Empty when nobody speaks."""
    duration_s: float
    is_replay: bool = False
    """Confirmed rather than corrected: shown so that nothing is forgotten."""
    weight: float = 1.0
    """How often an epoch shows it; never less than once."""


@dataclass(frozen=True, kw_only=True)
class Showing:
    """One clip as one epoch shows it."""

    clips: tuple[int, ...]
    """Numbers of the clips: one, two that are joined, or none for generated non-speech."""
    seconds: float
    """How long it is, about: what batches are sorted by."""
    speed: float = 1.0
    gap_s: float = 0.0
    telephone: bool = False
    times: bool = False
    full_window: bool = False
    seed: tuple[int, ...]
    """Of what is drawn when the samples are made."""


class Plan:
    """The showings of each epoch; every epoch has as many."""

    def __init__(self, clips: Sequence[Clip], recipe: Recipe) -> None:
        self.clips = clips
        self._recipe = recipe
        numbers = range(len(clips))
        self._corrected = [i for i in numbers if not clips[i].is_replay]
        self._replay = [i for i in numbers if clips[i].is_replay]
        self._kept_replay = min(
            len(self._replay), round(recipe.replay_ratio * max(1, len(self._corrected)))
        )
        self._beyond = np.array([clips[i].weight - 1.0 for i in numbers])
        self._extra = round(float(self._beyond.sum()))
        self._short = {
            i for i in numbers if clips[i].reference and clips[i].duration_s <= _JOINED_S
        }
        shown = len(self._corrected) + self._kept_replay
        # So many short clips are in each epoch, whichever of the replay it draws.
        left_out = len(self._replay) - self._kept_replay
        short_replay = max(0, len(self._short.intersection(self._replay)) - left_out)
        short = len(self._short.intersection(self._corrected)) + short_replay
        self._pairs = min(round(recipe.joined_share * shown), short) // 2
        self._non_speech = round(recipe.non_speech_share * shown)

    def __len__(self) -> int:
        shown = len(self._corrected) + self._kept_replay
        return shown - self._pairs + self._extra + self._non_speech

    def batches(self, epoch: int, size: int) -> list[list[Showing]]:
        """The batches of an epoch: clips of like length together, the batches in random order."""
        generator = np.random.default_rng([self._recipe.seed, epoch])
        shown = self._showings(epoch, generator)
        ties = generator.random(len(shown))
        step_s = self._recipe.round_to / 50
        order = sorted(
            range(len(shown)),
            key=lambda i: (shown[i].full_window, shown[i].seconds // step_s, ties[i]),
        )
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        # A batch of fewer is the last of an epoch, wherever its clips belong by length: then every
        # process of several has as many.
        whole = [batch for batch in batches if len(batch) == size]
        generator.shuffle(whole)
        return [[shown[i] for i in batch] for batch in [*whole, *batches[len(whole) :]]]

    def _showings(self, epoch: int, generator: Generator) -> list[Showing]:
        once = [*self._corrected, *self._of_replay(generator)]
        short = [i for i in once if i in self._short]
        drawn = [int(i) for i in generator.choice(short, 2 * self._pairs, replace=False)]
        pairs = zip(drawn[::2], drawn[1::2], strict=True)
        alone = [*sorted(set(once) - set(drawn)), *self._of_weights(generator)]
        groups = [*((i,) for i in alone), *pairs, *[()] * self._non_speech]
        return [
            self._showing(group, generator, (self._recipe.seed, epoch, number))
            for number, group in enumerate(groups)
        ]

    def _of_replay(self, generator: Generator) -> list[int]:
        if self._kept_replay == len(self._replay):
            return self._replay
        chosen = generator.choice(self._replay, self._kept_replay, replace=False)
        return [int(i) for i in chosen]

    def _of_weights(self, generator: Generator) -> list[int]:
        """Extra places, drawn in proportion to what each clip weighs beyond 1."""
        if not self._extra:
            return []
        chances = self._beyond / self._beyond.sum()
        return [int(i) for i in generator.choice(len(self.clips), self._extra, p=chances)]

    def _showing(
        self, group: tuple[int, ...], generator: Generator, seed: tuple[int, ...]
    ) -> Showing:
        recipe = self._recipe
        # Drawn for every showing alike, so that one setting does not shift what others draw.
        speed = 1 + recipe.speed_range * generator.uniform(-1, 1)
        telephone, times, full_window = generator.random(3)
        gap_s, non_speech_s = generator.uniform(*_GAP_S), generator.uniform(*_NON_SPEECH_S)
        gap_s = gap_s if len(group) > 1 else 0.0
        spoken_s = sum(self.clips[i].duration_s for i in group) + gap_s
        return Showing(
            clips=group,
            seconds=spoken_s / speed if group else non_speech_s,
            speed=speed if group else 1.0,
            gap_s=gap_s,
            telephone=bool(telephone < recipe.telephone_share),
            times=bool(times < recipe.time_share) and bool(group),
            full_window=bool(full_window < recipe.full_window_share),
            seed=seed,
        )
