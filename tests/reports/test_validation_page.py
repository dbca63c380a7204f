"""The report on one validation: the verdict, and what was fixed and broken, clip by clip."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

import pytest
import soundfile
from sqlalchemy import insert

from misheard import audio
from misheard.database.engine import now, writing
from misheard.database.schema import infrastructure_checks
from misheard.datasets.split import Split
from misheard.demo.phone_prompts import read_prompts, read_samples
from misheard.errors import UnknownIdError
from misheard.gates.validation import Validation
from misheard.gates.verdict import Answer, Criterion
from misheard.reports import clips
from misheard.reports.audio_clips import data_uri
from misheard.reports.clips import Turn
from misheard.reports.evidence import evidence, measures
from misheard.reports.validation_page import validation_page
from tests.reports.conftest import (
    ATTACK,
    QUOTES,
    Bench,
    Page,
    Spoken,
    calls,
    judge_again,
    store,
    stored,
)


@pytest.fixture
def spoken() -> list[Spoken]:
    return calls()


@pytest.fixture
def validation(bench: Bench, spoken: list[Spoken]) -> Validation:
    return bench.recorded(f"calls {QUOTES}", spoken)


def page_on(bench: Bench, validation: Validation, **options: bool) -> Page:
    return Page(validation_page(bench.workspace, validation.id, **options))


def clips_of(page: Page) -> list[dict[str, str]]:
    return [attributes for tag, attributes in page.tags if attributes.get("class") == "clip"]


def sounds_of(page: Page) -> list[str]:
    return [attributes["src"] for tag, attributes in page.tags if tag == "audio"]


def test_the_verdict_stands_first(bench: Bench, validation: Validation) -> None:
    page = page_on(bench, validation)
    assert validation.verdict.answer is Answer.PASS
    share = f"{validation.comparison.relative_reduction:.1%}"
    assert page.by_tag["h1"] == [f"Passed, with {share} fewer word errors on held-out speech"]
    head = page.by_tag["header"][0]
    for told in (validation.candidate_id, validation.baseline_id, validation.set_name):
        assert told in head
    assert f"meets all {len(validation.verdict.criteria)} criteria" in head
    assert f"{validation.created_at.day} {validation.created_at:%b %Y}" in head


@pytest.mark.parametrize(
    ("answer", "needed", "sentence", "told"),
    [
        (Answer.FAIL, None, "Failed, with", "fails 1 of 2 criteria: too slow"),
        (Answer.INCONCLUSIVE, 2300, "Inconclusive, with", "about 2,300 more test words would"),
        (Answer.INCONCLUSIVE, None, "Inconclusive, with", "Too slow"),
    ],
)
def test_each_answer_is_told_in_its_own_words(
    bench: Bench, validation: Validation, answer: Answer, needed: int | None, sentence: str,
    told: str,
) -> None:  # fmt: skip
    other = judge_again(
        bench,
        validation,
        Criterion.of("cer", True, "CER is fine"),
        Criterion(name="slowdown", answer=answer, reason="too slow", words_needed=needed),
    )
    page = page_on(bench, other)
    assert page.by_tag["h1"][0].startswith(sentence)
    assert told in page.by_tag["header"][0]
    words = {Answer.FAIL: "failed", Answer.INCONCLUSIVE: "inconclusive"}
    assert words[answer] in page.by_tag["header"][0]
    assert page.count("header", {Answer.FAIL: "bad", Answer.INCONCLUSIVE: "wait"}[answer]) == 1


def test_every_criterion_stands_with_its_figure_and_limit(
    bench: Bench, validation: Validation
) -> None:
    page = page_on(bench, validation)
    for one in validation.verdict.criteria:
        row = evidence(one)
        assert row.figure and row.limit, one.name
        assert f"{row.name} ✓ passed {row.figure} {row.limit} {one.reason}" in page.words
    assert validation.verdict.unjudged
    for told in validation.verdict.unjudged:
        assert " ".join(told.split()) in page.words


@pytest.mark.parametrize("figure", [0.0, math.nan, None])
def test_a_criterion_that_is_not_known_is_shown_as_it_is(figure: float | None) -> None:
    row = evidence(Criterion.of("later_idea", False, "so", figure=figure, limit=2.0))
    assert (row.name, row.figure, row.limit) == ("Later idea", "0" if figure == 0 else "", "2")


@pytest.mark.parametrize("passed", [True, False])
def test_the_blessing_of_the_files_is_told(
    bench: Bench, validation: Validation, passed: bool
) -> None:
    assert "Nobody has tried yet" in page_on(bench, validation).words
    values = {"id": "check-1", "created_at": now(), "version_id": validation.candidate_id,
              "passed": passed, "detail": "loads in <i>3</i> s", "figures": {}}  # fmt: skip
    with writing(bench.engine) as connection:
        connection.execute(insert(infrastructure_checks).values(**values))
    words = page_on(bench, validation).words
    assert f"{'✓ passed' if passed else '✗ failed'} loads in <i>3</i> s" in words
    assert "Nobody has tried yet" not in words


def test_the_figures_are_those_of_the_validation(bench: Bench, validation: Validation) -> None:
    words = page_on(bench, validation).words
    found = validation.comparison
    before, after = found.baseline, found.candidate
    for name, key in (("Word error rate", "wer"), ("Character error rate", "cer"),
                      ("Match error rate", "mer"), ("Word information lost", "wil")):  # fmt: skip
        assert f"{name} {getattr(before, key):.2%} {getattr(after, key):.2%} −" in words
    for name in ("substitutions", "deletions", "insertions"):
        assert f"{name.capitalize()} {getattr(before, name)} {getattr(after, name)}" in words
    assert "Words on silence of 1 clip in which nobody speaks 1 0 −1" in words
    low, high = before.wer_interval
    assert f"{low:.1%} to {high:.1%}" in words
    assert f"Two-sided, exact, over {found.blocks} groups" in words and found.exact
    assert f"two-sided, over {found.segments} segments" in words
    assert f"{found.reduction_se:.2%}" in words


def test_what_got_worse_is_marked_as_such(bench: Bench, validation: Validation) -> None:
    found = validation.comparison
    told = {one.name: one for one in measures(found)}
    assert told["Word error rate"].tone == "good" and told["Word error rate"].change[0] == "−"
    turned = replace(found, baseline=found.candidate, candidate=found.baseline)
    told = {one.name: one for one in measures(turned)}
    assert told["Word error rate"].tone == "bad" and told["Word error rate"].change[0] == "+"
    # How a transcript is written is no error, so less of it is no gain.
    assert told["Written otherwise"].tone == ""


def test_a_general_set_has_figures_of_its_own(bench: Bench, spoken: list[Spoken]) -> None:
    validation = bench.recorded("calls", spoken)
    general = replace(validation.comparison, words=4321, utterances=77)
    figures = stored(bench, validation)["figures"]
    store(bench, validation, figures=figures | {"general": general.to_dict()})
    words = page_on(bench, validation).words
    assert "General speech 4,321 words in 77 utterances" in words
    assert words.count("Word information lost") == 2


def test_every_slice_is_listed_and_a_worse_one_is_flagged(
    bench: Bench, validation: Validation
) -> None:
    page = page_on(bench, validation)
    assert page.count("td", "rise") == len(validation.comparison.slices) >= 5
    for one in validation.comparison.slices:
        assert (
            f"{' '.join(one.name.split())} {one.utterances} {one.words} "
            f"{one.baseline_errors} → {one.candidate_errors} " in page.words
        )
    assert page.count("tr", "is-worse") == 0 and "too small" in page.words
    figures = stored(bench, validation)["figures"]
    figures["slices"][1] |= {"worse": True, "p_value": 0.001}
    store(bench, validation, figures=figures)
    page = page_on(bench, validation)
    assert page.count("tr", "is-worse") == 1
    assert f"{validation.comparison.slices[1].name} ✗ worse" in page.words


def test_every_changed_clip_stands_under_what_became_of_it(
    bench: Bench, validation: Validation
) -> None:
    page = page_on(bench, validation)
    found = validation.comparison
    turns = [attributes["data-turn"] for attributes in clips_of(page)]
    assert len(turns) == len(found.changed) == 25
    assert turns == sorted(turns, key=[turn.value for turn in Turn].index)
    assert turns.count("broken") == len(found.broken) == 2
    assert turns.count("fixed") == len(found.fixed) == 20
    assert (turns.count("worse"), turns.count("better")) == (1, 2)
    headings = page.by_tag["h4"]
    assert sorted(" ".join(text.split()) for text in headings) == sorted(
        " ".join(row["reference"].split()) or "(nobody speaks)" for row in found.changed
    )


def test_the_greatest_change_comes_first(bench: Bench, spoken: list[Spoken]) -> None:
    worst = replace(spoken[30], candidate="nothing of the kind whatsoever was said there " * 2)
    page = page_on(bench, bench.recorded("calls", [*spoken[:30], worst, *spoken[31:]]))
    assert page.by_tag["h4"][0] == worst.reference


def test_a_failed_transcript_says_so(bench: Bench, spoken: list[Spoken]) -> None:
    validation = bench.recorded("calls", [replace(spoken[25], candidate=None), *spoken[:25]])
    words = page_on(bench, validation).words
    assert "No transcript from the candidate: it <b>broke</b>" in words
    assert "Failed no transcript: all words wrong 0 1 +1" in words


def test_words_misheard_most_stand_side_by_side(bench: Bench, validation: Validation) -> None:
    words = page_on(bench, validation).words
    assert "Confused Heard as another word" in words and "→ mumbled" in words
    deleted = validation.comparison.baseline.confusions["deleted"]
    assert deleted and f"{deleted[0]['reference']} {deleted[0]['count']} " in words
    assert "mumbled 0 2 +2" in words


def test_it_says_how_it_was_measured_and_how_to_make_it_again(
    bench: Bench, validation: Validation
) -> None:
    words = page_on(bench, validation).words
    assert f"This page again misheard report {validation.id}" in words
    assert validation.dataset_id in words and validation.comparison.normalizer in words
    assert "language en, beam 1, int8" in words
    assert f"misheard report {validation.id} --all" in page_on(bench, validation, every=True).words


def test_text_from_outside_stays_text(bench: Bench, validation: Validation) -> None:
    html = validation_page(bench.workspace, validation.id)
    page = Page(html)
    assert page.count("script") == 1 and page.count("img") == 0
    assert not any(name.startswith("on") for _, found in page.tags for name in found)
    # One column of words has one b, so nothing of the attack is among them.
    assert page.count("b") == page.count("span", "word")
    assert f"on “calls {QUOTES}”" in page.words
    assert page.words.count(QUOTES) > 3
    assert ATTACK in page.by_tag["h4"]
    assert [found for tag, found in page.tags if found.get("label") == QUOTES]


def test_only_our_script_may_run_and_nothing_is_fetched(
    bench: Bench, validation: Validation
) -> None:
    html = validation_page(bench.workspace, validation.id)
    page = Page(html)
    (policy,) = [found["content"] for _, found in page.tags if "http-equiv" in found]
    (text,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy and "media-src data:" in policy
    assert "unsafe-eval" not in policy and policy.count("unsafe-inline") == 1
    for _, attributes in page.tags:
        for name in ("src", "href", "srcset", "action", "data", "xlink:href"):
            assert attributes.get(name, "data:,").startswith(("data:", "#"))
    assert "url(" not in html and "@import" not in html and "://" not in page.words


def test_those_who_cannot_see_it_are_told(bench: Bench, validation: Validation) -> None:
    page = page_on(bench, validation)
    assert page.count("table") == page.count("caption")
    assert all(found["aria-label"] for tag, found in page.tags if found.get("role") == "img")
    assert all(found["aria-label"].startswith("Recording: ")
               for tag, found in page.tags if tag == "audio")  # fmt: skip
    assert all(found.get("scope") for tag, found in page.tags if tag == "th")
    identifiers = [found["id"] for _, found in page.tags if "id" in found]
    assert len(identifiers) == len(set(identifiers))
    targets = {found["href"][1:] for tag, found in page.tags if tag == "a"}
    named = {found["aria-labelledby"] for _, found in page.tags if "aria-labelledby" in found}
    assert targets <= set(identifiers) and named <= set(identifiers)
    for row in validation.comparison.changed:
        assert f"Live: {row['baseline'] or '(nothing)'}." in page.text


def test_a_recording_plays_as_long_as_it_did(spoken: list[Spoken]) -> None:
    assert audio.is_gsm(spoken[0].data)
    for one in (*spoken[:4], *spoken[-2:]):
        head, _, encoded = data_uri(one.data).partition(",")
        data = base64.b64decode(encoded)
        assert head == "data:audio/mpeg;base64"
        found = soundfile.info(BytesIO(data))
        assert (found.format, found.channels, found.samplerate) == ("MP3", 1, 16_000)
        was = audio.decode(one.data)
        assert found.duration == pytest.approx(was.duration_s, rel=0.01)
        # The frames of a very short clip weigh more than its sound.
        assert len(data) < 2_000 + 4_500 * was.duration_s


def test_where_libsndfile_writes_no_mp3_it_is_flac(
    spoken: list[Spoken], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soundfile, "available_formats", lambda: {"WAV": "", "FLAC": ""})
    head, _, encoded = data_uri(spoken[0].data).partition(",")
    assert head == "data:audio/flac;base64"
    assert soundfile.info(BytesIO(base64.b64decode(encoded))).format == "FLAC"


def test_a_page_with_200_recordings_stays_small(bench: Bench) -> None:
    prompts = [one for one in read_prompts() if one.split is Split.TEST]
    spoken = [
        Spoken(data=sample.data, reference=sample.reference, duration_s=prompt.duration_s,
               group=prompt.group, live=f"mumbled {sample.reference}", candidate=sample.reference)
        for prompt, sample in zip(prompts, read_samples(prompts), strict=True)
    ]  # fmt: skip
    validation = bench.recorded("calls", spoken)
    html = validation_page(bench.workspace, validation.id)
    page = Page(html)
    assert len(sounds_of(page)) == clips.WITH_AUDIO < len(clips_of(page)) == len(prompts)
    assert f"{clips.WITH_AUDIO} of {len(prompts)} clips have their recording here" in page.words
    assert len(html) < 6_000_000


def test_what_is_left_out_is_the_least_of_both_ways_and_is_told(
    bench: Bench, validation: Validation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clips, "LISTED", 8)
    monkeypatch.setattr(clips, "WITH_AUDIO", 5)
    page = page_on(bench, validation)
    turns = [attributes["data-turn"] for attributes in clips_of(page)]
    assert (len(turns), len(sounds_of(page))) == (8, 5)
    assert turns.count("broken") + turns.count("worse") == 3, "all losses have room"
    assert "17 clips are left out, those that changed least. 5 of 8 clips have" in page.words
    whole = page_on(bench, validation, every=True)
    assert len(clips_of(whole)) == len(sounds_of(whole)) == 25
    assert "left out" not in whole.words


def test_recordings_take_no_more_room_than_they_may(
    bench: Bench, validation: Validation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clips, "MOST_AUDIO_BYTES", 60_000)
    found = sounds_of(page_on(bench, validation))
    assert 0 < len(found) < 25 and sum(map(len, found)) <= 60_000


def test_a_recording_that_is_gone_or_broken_is_told_without_its_path(
    bench: Bench, spoken: list[Spoken]
) -> None:
    validation = bench.recorded("calls", [replace(spoken[0], data=b"no audio"), *spoken[1:]])
    bench.blobs.delete(audio.sha256_of(spoken[1].data))
    page = page_on(bench, validation)
    assert page.words.count("The recording is no longer kept.") == 1
    assert page.words.count("The recording cannot be read.") == 1
    assert len(sounds_of(page)) == len(clips_of(page)) - 2
    assert str(bench.root) not in page.words


def test_a_validation_of_the_first_revision_has_its_page(
    bench: Bench, validation: Validation
) -> None:
    row = stored(bench, validation)
    figures = row["figures"]
    for key in ("criteria", "unjudged", "reduction_se", "exact", "blocks", "mapsswe_p",
                "segments", "must_pass", "missed"):  # fmt: skip
        figures.pop(key)
    for side in ("baseline", "candidate"):
        for key in ("mer", "wil", "failed", "formatting_only", "confusions"):
            figures[side].pop(key)
    for one in figures["changed"]:
        for key in ("reference_words", "baseline_words", "candidate_words"):
            one.pop(key)
    for one in figures["slices"]:
        one.pop("limit")
    old = figures | {"z": 3.2, "failures": []}
    store(bench, validation, figures=old, utterances_sha256="")
    page = page_on(bench, validation)
    assert page.by_tag["h1"][0].startswith("Passed, with")
    assert all(" ".join(reason.split()) in page.words for reason in validation.verdict.reasons)
    assert len(clips_of(page)) == len(sounds_of(page)) == 25
    # Who spoke is known from the dataset.
    assert "channel: mobile" in page.words and "call 3" in page.words
    assert "An earlier version of misheard" in page.words
    assert not re.search(r"\bnan\b", page.words.lower())
    assert "Match error rate" not in page.words and "Written otherwise" not in page.words


def test_two_sides_that_are_alike_have_a_page(bench: Bench, spoken: list[Spoken]) -> None:
    alike = [replace(one, candidate=one.live) for one in spoken]
    validation = bench.recorded("calls", alike)
    page = page_on(bench, validation)
    assert validation.verdict.answer is not Answer.PASS
    assert "as many word errors as before" in page.by_tag["h1"][0]
    assert "the same number of word errors on every utterance" in page.words
    assert page.count("audio") == 0


def test_speech_without_a_word_has_a_page(bench: Bench, tone: Callable[..., bytes]) -> None:
    silence = Spoken(data=tone(), reference="", live="", candidate="oh")
    page = page_on(bench, bench.recorded("silence", [silence]))
    assert "– → –" in page.words and "there is no word error rate" in page.words
    assert page.by_tag["h1"] == [
        "Failed, with 1 word error where there were none on held-out speech"
    ]


def test_an_unknown_validation_is_an_error(bench: Bench) -> None:
    with pytest.raises(UnknownIdError, match="val-nowhere"):
        validation_page(bench.workspace, "val-nowhere")


def test_what_is_kept_is_what_json_can_say(bench: Bench, validation: Validation) -> None:
    assert json.loads(json.dumps(stored(bench, validation)["figures"], allow_nan=False))
