from __future__ import annotations

import random

from misheard.scoring.normalize import normalizer
from misheard.scoring.scorecard import Scorecard, aligned, mark

PLAIN = normalizer("none")
SPOKEN = ["please hold the line", "", "thank you", "press pound now"]
FIRST = ["please old the lime", "what", "thank you", "press pond"]
SECOND = ["please hold the line", "", "tank you", "press pond now"]


def card(*systems: list[str], groups: list[int] | None = None) -> Scorecard:
    named = [(chr(ord("a") + number), texts) for number, texts in enumerate(systems)]
    return mark(SPOKEN, named, groups or [0, 1, 2, 3], normalizer=PLAIN)


def test_two_systems_are_compared_on_the_same_references() -> None:
    made = card(FIRST, SECOND)
    assert (made.utterances, made.words, made.groups) == (4, 9, 4)
    assert [one.score.words.errors.tolist() for one in made.systems] == [[2, 1, 0, 2], [0, 0, 1, 1]]
    assert made.versus is not None
    assert round(made.versus.reduction, 6) == round(3 / 9, 6)
    assert (made.versus.fixed, made.versus.broken) == (2, 1)
    assert made.versus.permutation.reduction == 3
    assert made.versus.verdict == "undecided"


def test_one_system_is_compared_with_nothing() -> None:
    assert card(FIRST).versus is None


def test_the_worst_utterances_are_those_of_the_last_system() -> None:
    assert card(SECOND, FIRST).worst(2) == [0, 3]
    assert card(FIRST, SECOND).worst(10) == [2, 3]


def test_a_verdict_needs_more_groups_than_two() -> None:
    """All utterances of a group might share one cause."""
    wrong, right = ["no"] * 12, ["yes"] * 12
    for groups, verdict in ((list(range(12)), "better"), ([0, 1] * 6, "undecided")):
        made = mark(right, [("a", wrong), ("b", right)], groups, normalizer=PLAIN)
        back = mark(right, [("a", right), ("b", wrong)], groups, normalizer=PLAIN)
        assert made.versus is not None
        assert back.versus is not None
        assert made.versus.verdict == verdict
        assert back.versus.verdict == verdict.replace("better", "worse")


def test_the_order_of_the_utterances_does_not_matter() -> None:
    rows = list(zip(SPOKEN, FIRST, SECOND, [0, 1, 2, 3], strict=True))
    random.Random(1).shuffle(rows)
    spoken, first, second, groups = (list(column) for column in zip(*rows, strict=True))
    other = mark(spoken, [("a", first), ("b", second)], groups, normalizer=PLAIN).to_dict()
    made = card(FIRST, SECOND).to_dict()
    for one in (made, other):
        for system in one["systems"]:
            del system["errors_by_type"]["formatting_examples"]
    assert made == other


def test_each_text_is_normalised_once() -> None:
    seen: list[str] = []

    def counting(text: str) -> str:
        seen.append(text)
        return text

    mark(SPOKEN, [("a", FIRST), ("b", SECOND)], [0] * 4, normalizer=normalizer(counting))
    assert sorted(seen) == sorted(set(SPOKEN + FIRST + SECOND))


def test_words_are_aligned_as_they_are_compared() -> None:
    made = aligned("Press TWO!", "press 3", normalizer=normalizer("whisper-english"))
    assert [(step.kind, step.reference, step.hypothesis) for step in made] == [
        ("equal", "press", "press"),
        ("replace", "2", "3"),
    ]
