"""Build `src/misheard/demo/phone_prompts.zip`: real telephone speech with its transcripts.

Its test split is written to `data/evaluation/` besides, as files that any program can read.

The recordings and `core-sounds-en.txt` come from Debian's packages
`asterisk-core-sounds-en-gsm` and `asterisk-core-sounds-en`, version 1.6.1-1
(CC-BY-SA-3.0; voice Allison Smith, sponsored by Digium, Inc.).

    python scripts/build_phone_prompts.py                  # downloads both with apt-get
    python scripts/build_phone_prompts.py --root /         # takes the installed packages
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import re
import subprocess
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from misheard import audio
from misheard.datasets.split import SplitShares, split_of
from misheard.demo.phone_prompts import write_evaluation_set
from misheard.scoring.normalize import normalizer

PACKAGES = ("asterisk-core-sounds-en-gsm", "asterisk-core-sounds-en")
VERSION = "1.6.1-1"
SOUNDS = "usr/share/asterisk/sounds/en_US_f_Allison"
TRANSCRIPTS = "usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz"
COPYRIGHT = "usr/share/doc/asterisk-core-sounds-en/copyright"
ROOT = Path(__file__).parents[1]
TARGET = ROOT / "src/misheard/demo/phone_prompts.zip"
LICENSE_COPY = TARGET.with_name("PHONE_PROMPTS_LICENSE.txt")

# The test split is large on purpose: it has to carry a significance test.
SHARES = SplitShares(train_percent=50, validation_percent=10, test_percent=40)
NORMALIZER = "whisper-english"

ATTRIBUTION = f"""\
Telephone prompts of the Asterisk project ("asterisk-core-sounds-en", Debian {VERSION}).
Copyright 2003-2010 Allison Smith (voice). Financial contributions by Digium, Inc.
Licence: Creative Commons Attribution-ShareAlike 3.0, whose text stands in LICENSE.txt.
http://downloads.asterisk.org/pub/telephony/asterisk/

Changes made by misheard: the recordings are unchanged (GSM 06.10, 8 kHz) and were packed into one
archive; manifest.jsonl adds the words as they are spoken, a group, a split, a duration and a hash.
The archive as a whole is under the same licence.
"""


def parse_transcripts(text: str) -> dict[str, str]:
    """Clip name → transcript as Digium wrote it, from `core-sounds-en.txt`."""
    rows: dict[str, str] = {}
    for line in text.splitlines():
        name, separator, spoken = line.partition(":")
        if separator and not line.startswith(";"):
            rows[name.strip()] = spoken.strip()
    return rows


def reference_of(transcript: str) -> str:
    """The words that are spoken, or "" where nobody speaks.

    >>> reference_of("press * to toggle pause")
    'press star to toggle pause'
    >>> reference_of("at [@]"), reference_of("[ascending tones]")
    ('at', '')
    """
    # A bracket beside words is a note; alone it describes a sound that is no speech.
    words = re.sub(r"\[[^]]*\]|\([^)]*\)|<[^>]*>", " ", transcript)
    words = words.replace("*", " star ").replace("#", " pound ")
    words = re.sub(r"\s+([,;?!])", r"\1", " ".join(words.split()))
    return re.sub(r" \.$", "", words)


def group_of(name: str) -> str:
    """The menu that a prompt belongs to: its folder, or the first part of its name."""
    folder, separator, _ = name.partition("/")
    return folder if separator else name.partition("-")[0].lower()


def manifest_row(name: str, transcript: str, data: bytes) -> dict[str, Any]:
    """One line of the manifest."""
    reference = reference_of(transcript)
    normalized, sha256 = (
        normalizer(NORMALIZER).without_equivalents(reference),
        audio.sha256_of(data),
    )
    return {
        "id": name,
        "file": f"audio/{name}.gsm",
        "reference": reference,
        "kind": "speech" if reference else "non_speech",
        "group": group_of(name),
        "split": split_of(normalized, SHARES, fallback=sha256).value,
        "duration_s": round(audio.decode(data, name=name).duration_s, 3),
        "sha256": sha256,
    }


def build_manifest(transcripts: dict[str, str], clips: dict[str, bytes]) -> list[dict[str, Any]]:
    """Rows sorted by id. A clip without a transcript is an error; the reverse is not:
    `pls-try-call-later` has words but was never shipped as a recording.
    """
    if missing := clips.keys() - transcripts.keys():
        raise SystemExit(f"No transcript for: {', '.join(sorted(missing))}.")
    return [manifest_row(name, transcripts[name], clips[name]) for name in sorted(clips)]


def read_tree(root: Path) -> tuple[str, str, dict[str, bytes]]:
    """Transcripts, copyright file and clips of an unpacked or installed package tree."""
    sounds = root / SOUNDS
    clips = {
        path.relative_to(sounds).with_suffix("").as_posix(): path.read_bytes()
        for path in sounds.rglob("*.gsm")
    }
    text = gzip.decompress((root / TRANSCRIPTS).read_bytes()).decode()
    return text, (root / COPYRIGHT).read_text(encoding="utf-8"), clips


def download(target: Path) -> None:
    """Fetch both Debian packages and unpack them into `target`; nothing is installed."""
    for package in PACKAGES:
        subprocess.run(["apt-get", "download", f"{package}={VERSION}"], cwd=target, check=True)
    for archive in target.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", str(archive), str(target)], check=True)


def write_zip(target: Path, text: str, copyright_text: str, clips: dict[str, bytes]) -> int:
    """Write the archive, the same bytes for the same input; returns the number of rows."""
    rows = build_manifest(parse_transcripts(text), clips)
    members = {
        "ATTRIBUTION.txt": ATTRIBUTION.encode(),
        "LICENSE.txt": copyright_text.encode(),
        "core-sounds-en.txt": text.encode(),
        "manifest.jsonl": "".join(json.dumps(row) + "\n" for row in rows).encode(),
    }
    members |= {row["file"]: clips[row["id"]] for row in rows}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in members.items():
            archive.writestr(
                zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)),
                data,
                compress_type=zipfile.ZIP_DEFLATED,
                compresslevel=9,
            )
    target.write_bytes(buffer.getvalue())
    return len(rows)


def main() -> None:
    """Parse the command line and build."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, help="a tree that holds both packages unpacked")
    parser.add_argument("--target", type=Path, default=TARGET)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.root is None:
            download(Path(folder))
        text, copyright_text, clips = read_tree(arguments.root or Path(folder))
    rows = write_zip(arguments.target, text, copyright_text, clips)
    LICENSE_COPY.write_text(ATTRIBUTION + "\n" + copyright_text, encoding="utf-8")
    if arguments.target == TARGET:
        write_evaluation_set(ROOT / "data/evaluation")
    print(f"{arguments.target}: {rows} clips, {arguments.target.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
