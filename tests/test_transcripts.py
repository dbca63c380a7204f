from __future__ import annotations

import io
import json
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misheard.errors import InvalidManifestError, InvalidTranscriptError, MisheardError
from misheard.transcripts.files import Format, Side, Utterance, transcript_file
from misheard.transcripts.pairs import Pairs, pair


def written(tmp_path: Path, name: str, text: str | bytes) -> str:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def utterances(path: str, side: Side = Side.REFERENCE, **options: str) -> list[Utterance]:
    return list(transcript_file(path, **options).utterances(side))


def paired(reference: str, *hypotheses: str, **options: str) -> Pairs:
    return pair(transcript_file(reference), [transcript_file(one) for one in hypotheses], **options)


@pytest.mark.parametrize(
    ("name", "format_name", "expected"),
    [
        ("a.trn", "", Format.TRN),
        ("A.TRN", "", Format.TRN),
        ("a.stm", "", Format.STM),
        ("a.ctm", "", Format.CTM),
        ("manifest.json", "", Format.JSONL),
        ("a.jsonl", "", Format.JSONL),
        ("a.txt", "", Format.TEXT),
        ("text", "", Format.TEXT),
        ("-", "", Format.TEXT),
        ("a.txt", "trn", Format.TRN),
        ("text", "kaldi", Format.KALDI),
    ],
)
def test_the_ending_tells_the_format_unless_it_is_said(
    name: str, format_name: str, expected: Format
) -> None:
    assert transcript_file(name, format_name).format is expected


def test_an_unknown_format_names_the_known() -> None:
    with pytest.raises(InvalidManifestError, match=r"'srt'\. Known: text, trn, kaldi, jsonl"):
        transcript_file("a.srt", "srt")


def test_plain_text_is_an_utterance_a_line_and_an_empty_line_is_silence(tmp_path: Path) -> None:
    path = written(tmp_path, "a.txt", "\ufeffPress one.\r\n\nhéllo\u2028there")
    assert [one.text for one in utterances(path)] == ["Press one.", "", "héllo\u2028there"]


def test_trn_gives_ids_and_speakers(tmp_path: Path) -> None:
    path = written(
        tmp_path, "a.trn", ";; made by hand\nhello (there) you (ann-1)\n(ann-2)\n\nbye ( b_3 )\n"
    )
    assert utterances(path) == [
        Utterance(id="ann-1", text="hello (there) you", group="ann"),
        Utterance(id="ann-2", text="", group="ann"),
        Utterance(id="b_3", text="bye", group=""),
    ]


def test_kaldi_text_begins_with_the_id(tmp_path: Path) -> None:
    path = written(tmp_path, "text", "ann-1 hello there\nann-2\n\nbob yes\n")
    assert utterances(path, format_name="kaldi") == [
        Utterance(id="ann-1", text="hello there", group="ann"),
        Utterance(id="ann-2", text="", group="ann"),
        Utterance(id="bob", text="yes", group=""),
    ]


@pytest.mark.parametrize(
    ("row", "reference", "hypothesis"),
    [
        ({"reference": "a", "hypothesis": "b"}, "a", "b"),
        ({"text": "a", "pred_text": "b"}, "a", "b"),
        ({"transcript": "a", "prediction": "b"}, "a", "b"),
        ({"ref": "a", "hyp": "b", "text": "c"}, "a", "b"),
        ({"text": "a"}, "a", "a"),
    ],
)
def test_one_file_of_json_lines_serves_both_sides(
    tmp_path: Path, row: dict[str, str], reference: str, hypothesis: str
) -> None:
    path = written(tmp_path, "a.jsonl", json.dumps(row) + "\n\n")
    made = paired(path, path)
    assert (made.references, made.systems[0].texts) == ([reference], [hypothesis])


@pytest.mark.parametrize(
    ("row", "id_", "group"),
    [
        ({"id": 7, "speaker": "ann"}, "7", "ann"),
        ({"utt_id": "u", "speaker_group": "g", "speaker": "s"}, "u", "g"),
        ({"audio_filepath": "a.wav", "offset": 1.5}, "a.wav@1.5", ""),
        ({"audio_path": "a.wav", "speaker": None}, "a.wav", ""),
        ({"id": "", "group": 3}, "", "3"),
        ({}, "", ""),
    ],
)
def test_json_lines_name_utterances_and_groups_in_several_ways(
    tmp_path: Path, row: dict[str, object], id_: str, group: str
) -> None:
    path = written(tmp_path, "a.jsonl", json.dumps({"text": "t"} | row))
    assert utterances(path) == [Utterance(id=id_, text="t", group=group)]


def test_a_key_of_ones_own_is_used_and_missed(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", '{"spoken": "a", "menu": "m"}\n{"text": "b"}\n')
    file = transcript_file(path, key="spoken", group_key="menu")
    rows = file.utterances(Side.REFERENCE)
    assert next(rows) == Utterance(id="", text="a", group="m")
    with pytest.raises(InvalidManifestError, match="line 2: no reference under 'spoken'"):
        next(rows)
    with pytest.raises(InvalidManifestError, match="read as trn, which has no key 'spoken'"):
        transcript_file("a.trn", key="spoken")


@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[a-z]+-[0-9]+", fullmatch=True),
            st.from_regex(r"([a-z]+ ?)*", fullmatch=True),
        ),
        min_size=1,
        unique_by=lambda row: row[0],
    )
)
def test_every_format_says_the_same_of_the_same_utterances(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    rows = [(id_, " ".join(text.split())) for id_, text in rows]
    base = tmp_path_factory.getbasetemp()
    trn = written(base, "same.trn", "".join(f"{text} ({id_})\n" for id_, text in rows))
    kaldi = written(base, "same", "".join(f"{id_} {text}\n" for id_, text in rows))
    lines = [{"id": id_, "text": text, "group": id_.split("-")[0]} for id_, text in rows]
    jsonl = written(base, "same.jsonl", "".join(json.dumps(row) + "\n" for row in lines))
    made = utterances(trn)
    assert made == utterances(kaldi, format_name="kaldi") == utterances(jsonl)
    assert [(one.id, one.text) for one in made] == rows


STM = """\
;; a comment
call 1 ann 0.0 2.0 <o,f0,female> hello there you
call 1 ann 2.0 3.0 <o,f0,female> ignore_time_segment_in_scoring
call 1 bob 4 6.0 { good / bad } morning
call 1 bob 6.0 7.0
"""


def test_stm_gives_speakers_and_leaves_out_what_is_not_scored(tmp_path: Path) -> None:
    path = written(tmp_path, "a.stm", STM)
    made = paired(path, path)
    assert made.references == ["hello there you", "good morning", ""]
    assert made.groups == ["ann", "bob", "bob"]
    assert made.ids == ["call 1 0.000-2.000", "call 1 4.000-6.000", "call 1 6.000-7.000"]
    assert made.with_alternatives == 1


def test_words_with_times_fall_to_the_segment_that_ends_after_their_middle(tmp_path: Path) -> None:
    """As `sclite` deals them out: what lies between two segments falls to the later one."""
    words = [(5.8, "morning"), (0.1, "hello"), (0.5, "there"), (1.8, "you"), (2.3, "noise")]
    words += [(3.2, "gap"), (4.1, "good"), (7.5, "late")]
    lines = [f"call 1 {begin} 0.5 {word} 0.9\n" for begin, word in words]
    hypothesis = written(tmp_path, "h.ctm", ";; x\n" + "".join(lines) + "other 1 0 1 lost\n")
    made = paired(written(tmp_path, "r.stm", STM), hypothesis)
    assert made.systems[0].texts == ["hello there", "gap good", "morning late"]
    assert made.systems[0].surplus == 1


def test_ids_pair_whatever_the_order_and_what_is_missing_is_silence(tmp_path: Path) -> None:
    reference = written(tmp_path, "r.trn", "one (a-1)\ntwo (a-2)\nthree (b-1)\n")
    hypothesis = written(
        tmp_path,
        "h.jsonl",
        '{"id": "b-1", "hyp": "3"}\n{"id": "a-1", "hyp": "1"}\n{"id": "x", "hyp": ""}',
    )
    made = paired(reference, hypothesis, reference)
    assert made.systems[0].texts == ["1", "", "3"]
    assert (made.systems[0].missing, made.systems[0].surplus) == (1, 1)
    assert made.systems[1].texts == ["one", "two", "three"]
    assert made.groups == ["a", "a", "b"]


def test_lines_pair_where_a_side_has_no_ids(tmp_path: Path) -> None:
    reference = written(tmp_path, "r.trn", "one (a-1)\ntwo (a-2)\n")
    made = paired(reference, written(tmp_path, "h.txt", "1\n\n"))
    assert made.systems[0].texts == ["1", ""]
    assert made.ids == ["a-1", "a-2"]
    with pytest.raises(
        InvalidManifestError, match=r"has 2 utterances and .*h2\.txt' has 1; .*line"
    ):
        paired(reference, written(tmp_path, "h2.txt", "1\n"))


def test_segments_of_one_recording_in_one_manifest_are_paired_as_they_stand(
    tmp_path: Path,
) -> None:
    row = '{"audio_filepath": "a.wav", "text": "a", "pred_text": "b"}\n'
    path = written(tmp_path, "a.json", row * 2)
    assert paired(path, path).systems[0].texts == ["b", "b"]


def test_an_utterance_without_a_group_stands_alone(tmp_path: Path) -> None:
    path = written(tmp_path, "a.trn", "one (a-1)\ntwo (a-2)\nthree (b)\nfour (c)\n")
    assert len(set(paired(path, path).groups)) == 3
    assert len(set(paired(path, path, group_by="speaker").groups)) == 3
    assert len(set(paired(path, path, group_by="utterance").groups)) == 4


def test_the_first_of_alternatives_counts_and_the_number_is_told(tmp_path: Path) -> None:
    reference = written(
        tmp_path, "r.trn", "{ uh / um } hello (a-1)\n{@/the} {cat/hat} (a-2)\nand / or (a-3)\n"
    )
    made = paired(reference, reference)
    assert made.references == ["uh hello", "cat", "and / or"]
    assert made.with_alternatives == 2


def test_the_standard_input_is_read_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = written(tmp_path, "h.txt", "one\ntwo\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one\ntwo\n")))
    assert paired("-", other).references == ["one", "two"]
    with pytest.raises(InvalidManifestError, match="only once"):
        paired("-", "-")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "", r"a\.txt' holds no utterance"),
        ("a.jsonl", "\n\n", "holds no utterance"),
        ("a.stm", ";; nothing\n", "holds no utterance"),
        ("a.txt", b"fine\nb\xe9d\n", r"a\.txt', line 2: byte 2 \(0xe9\) is no UTF-8"),
        ("a.txt", "one\ntw\0o\n", r"line 2: it holds a NUL"),
        ("a.trn", "hello there\n", r"line 1: a line of \.trn ends with its id"),
        ("a.trn", "hello ()\n", "ends with its id"),
        ("a.trn", "a (x-1)\nb (x-2)\nc (x-1)\n", "has the id 'x-1' twice"),
        ("a.jsonl", "{", r"line 1: .*Expected a JSON object a line"),
        ("a.jsonl", '["a"]', "expected a JSON object, got list"),
        ("a.jsonl", '{"sound": "a"}', "no reference under 'reference', .*It has 'sound'"),
        ("a.jsonl", '{"text": null}', "'text': expected str, got NoneType"),
        ("a.jsonl", '{"text": 3}', "'text': expected str, got int"),
        ("a.jsonl", '{"text": "\\ud800"}', "'text': .*surrogates"),
        ("a.jsonl", '{"text": "", "id": [1]}', "'id': expected str, got list"),
        ("a.jsonl", '{"text": "", "id": 1}\n{"text": ""}', "utterance 2 has no id.*have one"),
        ("a.jsonl", '{"text": ""}\n{"text": "", "id": 1}', "utterance 2 has the id '1'.*none"),
        ("a.stm", "call 1 ann 0.0\n", r"a line of \.stm is"),
        ("a.stm", "call 1 ann zero 1.0 hello\n", "'zero' is no time in seconds"),
        ("a.stm", "call 1 ann nan 1.0 hello\n", "'nan' is no time"),
        ("a.stm", "call 1 ann 2.0 1.0 hello\n", "before it begins"),
        ("a.ctm", "call 1 0 1 hello\n", "no reference"),
    ],
)
def test_a_file_that_cannot_be_read_says_where_and_why(
    tmp_path: Path, name: str, text: str | bytes, message: str
) -> None:
    path = written(tmp_path, name, text)
    other = written(tmp_path, f"other-{name}", text)
    with pytest.raises((InvalidManifestError, InvalidTranscriptError), match=message):
        paired(path, other)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("call 1 0 hello\n", r"a line of \.ctm is"),
        ("call 1 -1 1 hello\n", "'-1' is no time"),
        ("call 1 * * <ALT_BEGIN>\n", "alternatives"),
    ],
)
def test_words_with_bad_times_say_where(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidManifestError, match=f"h.ctm', line 1: .*{message}"):
        paired(written(tmp_path, "r.stm", STM), written(tmp_path, "h.ctm", text))


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    trn = written(tmp_path, "r.trn", "one (a-1)\n")
    with pytest.raises(InvalidManifestError, match="no id in common: 'a-1' here, 'b-1' there"):
        paired(trn, written(tmp_path, "h.trn", "one (b-1)\n"))
    with pytest.raises(InvalidManifestError, match=r"cut by the times of an \.stm"):
        paired(trn, written(tmp_path, "h.ctm", "call 1 0 1 hello\n"))
    with pytest.raises(InvalidManifestError, match="no 'menu' to group by"):
        paired(trn, trn, group_by="menu")
    plain = written(tmp_path, "r.txt", "one\n")
    with pytest.raises(InvalidManifestError, match="no 'speaker' to group by, only: utterance"):
        paired(plain, plain, group_by="speaker")


@pytest.mark.parametrize("name", ["missing.txt", "."])
def test_a_path_that_is_no_file_says_so(tmp_path: Path, name: str) -> None:
    with pytest.raises(MisheardError, match=r"There is no file|Is a directory"):
        paired(str(tmp_path / name), str(tmp_path / name))


def test_a_large_file_streams(tmp_path: Path) -> None:
    """200,000 lines of 17 MB take less memory to walk through than a tenth of the file."""
    line = json.dumps({"id": "recording-000001", "text": "the caller was not sure " * 2}) + "\n"
    path = written(tmp_path, "a.jsonl", line * 200_000)
    tracemalloc.start()
    assert sum(1 for _ in transcript_file(path).utterances(Side.REFERENCE)) == 200_000
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 2e6
