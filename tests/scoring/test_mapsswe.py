from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from misheard.errors import BadInputError
from misheard.scoring import cheapest as alignments
from misheard.scoring.alignment import count_errors
from misheard.scoring.normalize import normalizer
from misheard.scoring.significance import MatchedPairs, mapsswe, segment_errors
from tests.scoring.sctk import Said, ask, needs_sctk

TRANSCRIPTS = Path(__file__).parents[2] / "benchmarks/data/phone_transcripts.jsonl"
Texts = tuple[list[str], list[str], list[str]]


def phone_transcripts() -> Texts:
    normalize = normalizer("whisper-english")
    rows = [json.loads(line) for line in TRANSCRIPTS.read_text(encoding="utf-8").splitlines()]
    reference, baseline, candidate = (
        [normalize(row[key]) for row in rows] for key in ("reference", "baseline", "candidate")
    )
    return reference, baseline, candidate


def made_up(seed: int, *, utterances: int, vocabulary: int, longest: int) -> Texts:
    """Few different words, so that most utterances can be aligned in several ways."""
    random = np.random.default_rng(seed)
    words = [f"w{number}" for number in range(vocabulary)]

    def changed(text: list[str]) -> list[str]:
        made: list[str] = []
        for word in text:
            kind = random.random()
            if kind < 0.1:
                made.append(str(random.choice(words)))
            if kind > 0.15:
                made.append(word if kind < 0.8 else str(random.choice(words)))
        if random.random() < 0.15:
            made += random.choice(words, random.integers(1, 4)).tolist()
        return made

    spoken = [
        random.choice(words, random.integers(0, longest + 1)).tolist() for _ in range(utterances)
    ]
    sides = [[changed(text) for text in spoken] for _ in range(2)]
    spoken, one, other = ([" ".join(text) for text in side] for side in (spoken, *sides))
    return spoken, one, other


def printed(found: MatchedPairs, errors: tuple[int, int], words: int) -> Said:
    """Our figures in the form that the toolkit prints.

    It looks p up in a table for Z in hundredths, rounded down.
    """
    hundredths = math.floor(abs(found.z) * 100) / 100
    p_value = f"{2 * NormalDist().cdf(-hundredths):.3f}"
    return Said(
        segments=found.segments,
        mean=f"{found.mean:.3f}",
        deviation=f"{found.deviation:.3f}",
        z=f"{found.z:.3f}",
        p_value="<0.001" if p_value == "0.000" else p_value,
        errors=errors,
        words=words,
    )


def ours(texts: Texts) -> Said:
    before, after = segment_errors(*texts)
    words = sum(len(text.split()) for text in texts[0])
    return printed(mapsswe(*texts), (int(before.sum()), int(after.sum())), words)


@needs_sctk
def test_real_transcripts_have_the_segments_z_and_p_of_sc_stats(tmp_path: Path) -> None:
    texts = phone_transcripts()
    said = ask(tmp_path, *texts)
    assert ours(texts) == said
    assert said.segments == 84


@needs_sctk
def test_the_word_error_rates_of_real_transcripts_are_sclites(tmp_path: Path) -> None:
    texts = phone_transcripts()
    said = ask(tmp_path, *texts)
    reference, *sides = ([text.split() for text in side] for side in texts)
    for side, errors in zip(sides, said.errors, strict=True):
        assert count_errors(reference, side).rate == errors / said.words


@needs_sctk
def test_a_subset_of_real_transcripts_has_the_p_value_of_sc_stats(tmp_path: Path) -> None:
    """Of few, so that p is not beyond the digits that are printed."""
    reference, baseline, candidate = phone_transcripts()
    texts = reference[:60], baseline[:60], candidate[:60]
    said = ask(tmp_path, *texts)
    assert ours(texts) == said
    # The table's p is the larger one, by less than a hundredth of Z can make.
    assert 0 <= float(said.p_value) - mapsswe(*texts).p_value < 0.0085


@needs_sctk
@pytest.mark.parametrize(
    ("seed", "vocabulary", "longest"),
    [(1, 2, 6), (2, 2, 12), (3, 3, 20), (4, 5, 12), (5, 200, 30), (6, 1, 5), (7, 3, 2)],
)
def test_made_up_transcripts_have_the_segments_z_and_p_of_sc_stats(
    tmp_path: Path, seed: int, vocabulary: int, longest: int
) -> None:
    texts = made_up(seed, utterances=300, vocabulary=vocabulary, longest=longest)
    assert ours(texts) == ask(tmp_path, *texts)


@pytest.mark.parametrize(
    ("reference", "baseline", "candidate", "errors"),
    [
        ("a b c d e", "a b c d e", "a b c d e", []),
        ("a b c d e", "x b c d e", "a b c d y", [(1, 0), (0, 1)]),
        # One right word between two errors does not end a segment.
        ("a b c", "x b c", "a b y", [(1, 1)]),
        # Right in one model only is not right.
        ("a b c d", "x b c d", "a y c z", [(1, 2)]),
        # A word that was inserted comes between two that are right.
        ("a b c d", "x b c d", "a b y c d", [(1, 1)]),
        ("a b c d", "x b c d", "a b c y d", [(1, 0), (0, 1)]),
        # At the end of an utterance, and where nothing was said.
        ("a b c", "a b c y", "a b c", [(1, 0)]),
        ("", "x y", "", [(2, 0)]),
        ("a b", "", "", [(2, 2)]),
    ],
)
def test_a_segment_ends_at_two_words_that_both_have_right(
    reference: str, baseline: str, candidate: str, errors: list[tuple[int, int]]
) -> None:
    found = segment_errors([reference], [baseline], [candidate])
    assert list(zip(*(side.tolist() for side in found), strict=True)) == errors


def test_segments_do_not_reach_beyond_an_utterance() -> None:
    assert [side.tolist() for side in segment_errors(["a", "b"], ["x", "b"], ["a", "y"])] == [
        [1, 0],
        [0, 1],
    ]


def test_where_every_segment_differs_alike_the_sign_test_answers() -> None:
    """sc_stats prints Z = 0 there: three errors fewer would be no difference."""
    found = mapsswe(["a", "b", "c"], ["x", "x", "x"], ["a", "b", "c"])
    assert (found.segments, found.p_value) == (3, 0.25)


def test_without_an_error_there_is_nothing_to_tell_apart() -> None:
    found = mapsswe(["a b"], ["a b"], ["a b"])
    assert (found.segments, found.p_value) == (0, 1.0)
    assert mapsswe([], [], []).p_value == 1.0


def test_texts_may_be_lists_of_words() -> None:
    spoken, one, other = made_up(8, utterances=50, vocabulary=4, longest=9)
    split = [[text.split() for text in side] for side in (spoken, one, other)]
    assert mapsswe(*split) == mapsswe(spoken, one, other)


def test_lists_of_different_length_are_refused() -> None:
    with pytest.raises(BadInputError, match="2 references need as many"):
        mapsswe(["a", "b"], ["a", "b"], ["a"])


TEXT = st.lists(st.sampled_from("ab"), max_size=7).map(" ".join)


def cheapest(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Least cost with 4 a substitution and 3 a gap, the textbook's way."""
    row = [3 * j for j in range(len(hypothesis) + 1)]
    for i, word in enumerate(reference, 1):
        last, row = row, [3 * i]
        for j, heard in enumerate(hypothesis, 1):
            row.append(min(last[j - 1] + 4 * (word != heard), last[j] + 3, row[-1] + 3))
    return row[-1]


@given(st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=8))
def test_every_error_is_in_one_segment_and_the_alignment_is_a_cheapest_one(
    rows: list[tuple[str, str, str]],
) -> None:
    for reference, *sides in rows:
        found = segment_errors([reference], [sides[0]], [sides[1]])
        for errors, side in zip(found, sides, strict=True):
            spoken, heard = reference.split(), side.split()
            # cost = 4 s + 3 (d + i) and d + i has the parity of the difference in length.
            total, cost = int(errors.sum()), cheapest(spoken, heard)
            substitutions = cost - 3 * total
            assert 0 <= substitutions <= min(len(spoken), len(heard))
            assert (total - substitutions - len(spoken) + len(heard)) % 2 == 0


@given(st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=8), st.randoms())
def test_neither_the_order_of_utterances_nor_of_models_changes_p(rows, random) -> None:
    shuffled = random.sample(rows, len(rows))
    forth = mapsswe(*([row[at] for row in rows] for at in (0, 1, 2)))
    back = mapsswe(*([row[at] for row in shuffled] for at in (0, 2, 1)))
    assert forth.segments == back.segments
    assert forth.p_value == pytest.approx(back.p_value)
    assert forth.z == pytest.approx(-back.z)


@given(st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=2, max_size=8))
def test_a_set_has_the_segments_of_its_utterances(rows: list[tuple[str, str, str]]) -> None:
    together = segment_errors(*([row[at] for row in rows] for at in (0, 1, 2)))
    alone = [segment_errors([row[0]], [row[1]], [row[2]]) for row in rows]
    for at in (0, 1):
        assert together[at].tolist() == [e for found in alone for e in found[at].tolist()]


def test_a_long_recording_is_aligned_whole() -> None:
    """3,000 words with an error in every tenth; also beside short ones."""
    spoken = [f"w{number}" for number in range(3_000)]
    heard = ["x" if number % 10 == 5 else word for number, word in enumerate(spoken)]
    found = segment_errors([spoken, ["a"]], [heard, ["b"]], [spoken, ["a"]])
    assert found[0].tolist() == [1] * 301
    assert not found[1].any()


def every_cell(reference: list[str], hypothesis: list[str]) -> tuple[list[int], list[bool]]:
    """Errors before or at each word, and which words are wrong; the textbook's way, word by word.

    Seen from the end, a substitution goes before an insertion and that before a deletion.
    """
    n, m = len(reference), len(hypothesis)
    cost = [[3 * (i + j) for j in range(m + 1)] for i in range(n + 1)]
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            pair = cost[i - 1][j - 1] + 4 * (reference[i - 1] != hypothesis[j - 1])
            cost[i][j] = min(pair, cost[i][j - 1] + 3, cost[i - 1][j] + 3)
    errors, wrong = [0] * (n + 1), [False] * (n + 1)
    i, j = n, m
    while i or j:
        differ = bool(i and j) and reference[i - 1] != hypothesis[j - 1]
        if i and j and cost[i][j] == cost[i - 1][j - 1] + 4 * differ:
            i, j = i - 1, j - 1
            errors[i] += differ
            wrong[i] = differ
        elif j and cost[i][j] == cost[i][j - 1] + 3:
            j -= 1
            errors[i] += 1
        else:
            i -= 1
            errors[i] += 1
            wrong[i] = True
    return errors, wrong


def word_by_word(texts: Texts) -> list[tuple[int, int]]:
    """Segments of texts, found without any short cut."""
    found: list[tuple[int, int]] = []
    for reference, *sides in zip(*texts, strict=True):
        (one, wrong), (other, also) = (every_cell(reference.split(), s.split()) for s in sides)
        right = 2
        for slot in range(len(one)):
            if one[slot] or other[slot]:
                if right >= 2:
                    found.append((0, 0))
                found[-1] = (found[-1][0] + one[slot], found[-1][1] + other[slot])
                right = 0
            right = 0 if wrong[slot] or also[slot] else right + 1
    return found


@pytest.mark.parametrize("worth", [0, 5])
@pytest.mark.parametrize("shifts", [(3, 8, 20), (0, 1, 2), ()])
@pytest.mark.parametrize(
    ("vocabulary", "longest", "utterances"),
    [(1, 6, 300), (2, 5, 3000), (2, 14, 700), (3, 14, 700), (6, 30, 200), (40, 60, 60)],
)
def test_no_short_cut_changes_a_segment(
    monkeypatch: pytest.MonkeyPatch,
    worth: int,
    shifts: tuple[int, ...],
    vocabulary: int,
    longest: int,
    utterances: int,
) -> None:
    monkeypatch.setattr(alignments, "_SHIFTS", shifts)
    monkeypatch.setattr(alignments, "_WORTH", worth)
    texts = made_up(9, utterances=utterances, vocabulary=vocabulary, longest=longest)
    one, other = segment_errors(*texts)
    assert list(zip(one.tolist(), other.tolist(), strict=True)) == word_by_word(texts)


def test_texts_with_little_in_common_have_the_segments_of_any_others() -> None:
    """Far more errors than the quick way to align looks for."""
    texts = tuple(
        made_up(seed, utterances=60, vocabulary=30, longest=50)[0] for seed in (10, 11, 12)
    )
    one, other = segment_errors(*texts)
    assert list(zip(one.tolist(), other.tolist(), strict=True)) == word_by_word(texts)


def test_how_many_utterances_and_cells_are_worked_on_at_a_time_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = made_up(13, utterances=400, vocabulary=4, longest=14)
    expected = [side.tolist() for side in segment_errors(*texts)]
    monkeypatch.setattr("misheard.scoring.mapsswe._UTTERANCES", 7)
    monkeypatch.setattr(alignments, "_CELLS", 300)
    assert [side.tolist() for side in segment_errors(*texts)] == expected


WHITE = st.sampled_from([" ", "  ", "\t", "\n ", "\u00a0"])
UNTIDY = st.lists(st.tuples(WHITE, st.sampled_from(["a", "b", "ab", "ba"])), max_size=8).map(
    lambda parts: "".join(f"{white}{word}" for white, word in parts)
)


@given(st.lists(st.tuples(UNTIDY, UNTIDY, UNTIDY), max_size=8), WHITE)
def test_white_space_between_words_may_be_any(rows: list[tuple[str, str, str]], end: str) -> None:
    """Words that begin or end alike are not the same either."""
    reference, one, other = ([row[at] + end for row in rows] for at in (0, 1, 2))
    found = segment_errors(reference, one, other)
    assert list(zip(*(side.tolist() for side in found), strict=True)) == word_by_word(
        (reference, one, other)
    )


def test_a_word_of_a_list_may_have_a_space_in_it() -> None:
    found = segment_errors([["new york", "is"]], [["new", "york", "is"]], [["new york", "is"]])
    assert [side.tolist() for side in found] == [[2], [0]]
