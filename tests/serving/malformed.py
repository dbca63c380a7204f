"""Files that no server may take for a recording: each is refused, fast, and hurts nobody.

`corpus()` gives them by name, `family/what`. Nothing of it is random but the serial numbers that
libsndfile gives to streams of Ogg.
"""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import zipfile
from functools import cache

import av
import numpy as np

from tests.serving.wellformed import Pipe, sound, wellformed, written_of

NOT_CUT = ("wav-piped", "wav-unclosed", "wav-of-sox", "aiff-piped", "au-piped", "gsm-8k")
"""These tell of no length: whatever is there is all of it."""
CUTS = (0.05, 0.33, 0.5, 0.8, 0.99)
HOURS = 2.05
"""A little more than a server takes."""


@cache
def corpus() -> dict[str, bytes]:
    """At least 200 files by name, from small to large within a family."""
    families = {
        "cut": cut(),
        "hole": with_holes(),
        "header": with_wrong_headers(),
        "bomb": bombs(),
        "samples": with_wrong_samples(),
        "size": of_wrong_size(),
        "other": of_another_kind(),
        "playlist": playlists(),
        "noise": noise(),
        "joined": joined(),
    }
    return {
        f"{family}/{name}": data for family, of in families.items() for name, data in of.items()
    }


def cut() -> dict[str, bytes]:
    return {
        f"{name}-at-{share:.0%}": data[: int(len(data) * share)]
        for name, data in wellformed().items()
        if name not in NOT_CUT
        for share in CUTS
    }


def with_holes() -> dict[str, bytes]:
    """Some bytes in the middle have gone."""
    return {
        name: data[: len(data) // 3] + data[len(data) // 3 + 97 :]
        for name, data in wellformed().items()
        if name not in NOT_CUT
    }


def patched(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def with_wrong_headers() -> dict[str, bytes]:
    return {**wrong_wav(), **wrong_aiff_and_au(), **wrong_flac(), **wrong_ogg(), **wrong_others()}


def wrong_wav() -> dict[str, bytes]:
    wav = wellformed()["wav-pcm16"]
    short, long = "<H", "<I"
    fields = {
        "magic": (0, "4s", b"RIFX"),
        "form": (8, "4s", b"WAVF"),
        "no-format": (12, "4s", b"fmx "),
        "no-data": (36, "4s", b"dato"),
        "format-of-no-size": (16, long, 0),
        "format-of-4-bytes": (16, long, 4),
        "format-of-a-gigabyte": (16, long, 1 << 30),
        "unknown-coding": (20, short, 0x1234),
        "no-coding": (20, short, 0),
        "mp3-coding": (20, short, 0x55),
        "gsm-coding": (20, short, 0x31),
        "no-channels": (22, short, 0),
        "7-channels": (22, short, 7),
        "65535-channels": (22, short, 65_535),
        "no-rate": (24, long, 0),
        "1-hz": (24, long, 1),
        "384-khz": (24, long, 384_000),
        "4-ghz": (24, long, 4_000_000_000),
        "negative-rate": (24, "<i", -16_000),
        "no-block": (32, short, 0),
        "block-of-1": (32, short, 1),
        "block-of-65535": (32, short, 65_535),
        "no-bits": (34, short, 0),
        "7-bits": (34, short, 7),
        "33-bits": (34, short, 33),
        "64-bits": (34, short, 64),
        "65535-bits": (34, short, 65_535),
        "data-one-byte-too-long": (40, long, len(wav) - 44 + 2),
        "data-of-a-gigabyte": (40, long, 1 << 30),
        "data-of-negative-size": (40, "<i", -(1 << 20)),
        "data-of-half-the-size": (40, long, 16_001),
    }
    return {
        f"wav-{name}": patched(wav, at, struct.pack(kind, value))
        for name, (at, kind, value) in fields.items()
    }


def wrong_aiff_and_au() -> dict[str, bytes]:
    aiff, au = wellformed()["aiff"], wellformed()["au"]
    common, sound_at = aiff.index(b"COMM") + 8, aiff.index(b"SSND") + 4
    return {
        "aiff-form": patched(aiff, 8, b"AIFX"),
        "aiff-no-common": patched(aiff, common - 8, b"COMX"),
        "aiff-no-channels": patched(aiff, common, bytes(2)),
        "aiff-negative-channels": patched(aiff, common, b"\xff\xff"),
        "aiff-64-bits": patched(aiff, common + 6, b"\x00\x40"),
        "aiff-no-rate": patched(aiff, common + 8, bytes(10)),
        "aiff-rate-without-end": patched(aiff, common + 8, b"\x7f\xff" + bytes(8)),
        "aiff-common-of-a-gigabyte": patched(aiff, common - 4, b"\x40\x00\x00\x00"),
        "aiff-sound-of-a-gigabyte": patched(aiff, sound_at, b"\x40\x00\x00\x00"),
        "aiff-sound-of-half-the-size": patched(aiff, sound_at, b"\x00\x00\x3e\x81"),
        "au-offset-beyond-the-end": patched(au, 4, b"\x00\x10\x00\x00"),
        "au-size-beyond-the-end": patched(au, 8, b"\x00\x10\x00\x00"),
        "au-no-coding": patched(au, 12, bytes(4)),
        "au-unknown-coding": patched(au, 12, b"\x00\x00\x00\x63"),
        "au-no-rate": patched(au, 16, bytes(4)),
        "au-4-ghz": patched(au, 16, b"\xff\xff\xff\xff"),
        "au-no-channels": patched(au, 20, bytes(4)),
        "au-7-channels": patched(au, 20, b"\x00\x00\x00\x07"),
    }


def wrong_flac() -> dict[str, bytes]:
    flac = wellformed()["flac"]
    return {
        "flac-magic": patched(flac, 0, b"fLaX"),
        "flac-no-streaminfo": patched(flac, 4, b"\x01"),
        "flac-streaminfo-of-a-megabyte": patched(flac, 5, b"\x10\x00\x00"),
        "flac-more-samples": patched(flac, 22, b"\x00\x01\x00\x00"),
        "flac-fewer-samples": patched(flac, 22, b"\x00\x00\x10\x00"),
        "flac-other-md5": patched(flac, 26, b"\x00" * 15 + b"\x01"),
        "flac-metadata-beyond-the-end": patched(flac, 43, b"\xff\xff\xff"),
        "flac-changed-sample": patched(flac, len(flac) // 2, bytes(8)),
        "flac-changed-frame-header": patched(flac, flac.index(b"\xff\xf8"), b"\xff\xfe\x00\x00"),
    }


def wrong_ogg() -> dict[str, bytes]:
    wrong = {}
    for kind in ("ogg-vorbis", "ogg-opus"):
        ogg = wellformed()[kind]
        second, last = ogg.index(b"OggS", 4), ogg.rindex(b"OggS")
        third = ogg.index(b"OggS", second + 4)
        wrong |= {
            f"{kind}-magic": patched(ogg, 0, b"OggX"),
            f"{kind}-codec": patched(ogg, 29, b"xxxx"),
            f"{kind}-page-magic": patched(ogg, second, b"OggX"),
            f"{kind}-checksum": patched(ogg, last + 22, bytes(4)),
            f"{kind}-changed-byte": patched(ogg, len(ogg) - 9, b"\x55"),
            f"{kind}-not-closed": patched(ogg, last + 5, bytes(1)),
            f"{kind}-without-its-last-page": ogg[:last],
            f"{kind}-without-its-second-page": ogg[:second] + ogg[third:],
            f"{kind}-page-beyond-the-end": patched(ogg, last + 26, b"\xff"),
        }
    return wrong


def wrong_others() -> dict[str, bytes]:
    mp3, aac, amr = (wellformed()[name] for name in ("mp3", "aac", "amr"))
    mp4, webm, caf = (wellformed()[name] for name in ("mp4-aac", "webm-opus", "caf"))
    count = max(mp3.find(b"Info"), mp3.find(b"Xing")) + 8
    frame = mp3.index(mp3[:2], 400)
    tables = {name: mp4.index(name) + 4 for name in (b"moov", b"stsd", b"stsz", b"stco")}
    segment, codec = webm.index(b"\x18\x53\x80\x67") + 4, webm.index(b"A_OPUS")
    return {
        "mp3-promises-more": patched(mp3, count, b"\x00\x00\x10\x00"),
        "mp3-lost-sync": patched(mp3, frame, bytes(2)),
        "mp3-no-bit-rate": patched(mp3, 2, b"\xf8"),
        "mp3-tag-beyond-the-end": b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f" + mp3,
        "aac-lost-sync": patched(aac, aac.index(aac[:2], 300), bytes(2)),
        "aac-frame-beyond-the-end": patched(aac, 4, b"\xff"),
        "amr-unknown-frame": patched(amr, 6, b"\x64"),
        "amr-magic": patched(amr, 0, b"#!AMX"),
        "amr-wideband-magic": b"#!AMR-WB\n" + amr[6:],
        "mp4-brand-box": patched(mp4, 4, b"ftyx"),
        "mp4-no-index": patched(mp4, tables[b"moov"] - 4, b"xxxx"),
        "mp4-box-without-end": patched(mp4, mp4.index(b"mdat") - 4, b"\x7f\xff\xff\xff"),
        "mp4-no-descriptions": patched(mp4, tables[b"stsd"] + 4, bytes(4)),
        "mp4-4-billion-packets": patched(mp4, tables[b"stsz"] + 8, b"\xff\xff\xff\xff"),
        "mp4-packets-beyond-the-end": patched(mp4, tables[b"stco"] + 8, b"\x7f\xff\xff\xff"),
        "webm-segment-beyond-the-end": patched(webm, segment, b"\x01\x00\x00\x00\x7f\xff\xff\xff"),
        "webm-unknown-codec": patched(webm, codec, b"A_XXXX"),
        "webm-number-of-nine-bytes": patched(webm, segment, b"\x00"),
        "caf-chunk-beyond-the-end": patched(caf, 12, b"\x00\x00\x00\x00\x7f\xff\xff\xff"),
        "caf-no-rate": patched(caf, 20, bytes(8)),
    }


def bombs() -> dict[str, bytes]:
    """Small files of days of silence."""
    return {
        "flac-of-a-day": flac_bomb(told=True),
        "flac-of-a-day-that-tells-nothing": flac_bomb(told=False),
        "opus-of-hours-in-ogg": opus_bomb("ogg"),
        "opus-of-hours-in-webm": opus_bomb("webm"),
        "mp3-of-hours": mp3_bomb(),
        "wav-of-a-gigabyte-in-100-bytes": wellformed()["wav-pcm16"][:40]
        + b"\0\0\0\x40"
        + bytes(56),
        "wav-at-1-hz": written_of(np.zeros(20_000), "WAV", rate_hz=1),
        "gzip": gzip.compress(bytes(50_000_000)),
        "zip": zipped(bytes(50_000_000)),
    }


def flac_bomb(*, told: bool) -> bytes:
    """Frames of one value for 65,535 samples, at 8 kHz: 13 bytes for 8 seconds."""
    frames, block = 24 * 3_600 * 8_000 // 65_535, 65_535
    total = frames * block if told else 0
    rate_and_kind = 8_000 << 44 | 0 << 41 | 15 << 36 | total
    info = struct.pack(">HH", block, block) + bytes(6) + rate_and_kind.to_bytes(8) + bytes(16)
    return b"fLaC\x80\x00\x00\x22" + info + b"".join(map(flac_frame, range(frames)))


def flac_frame(number: int) -> bytes:
    """See RFC 9639, section 9: constant subframe of zeros, mono, 16 bits."""
    head = b"\xff\xf8\x74\x08" + flac_number(number) + b"\xff\xfe"
    head += checksum(head, 0x07, 8).to_bytes(1)
    frame = head + b"\x00\x00\x00"
    return frame + checksum(frame, 0x8005, 16).to_bytes(2)


def flac_number(number: int) -> bytes:
    """As UTF-8 would write it."""
    return chr(number).encode("utf-8", "surrogatepass")


def checksum(data: bytes, polynomial: int, bits: int) -> int:
    value = 0
    for byte in data:
        value ^= byte << (bits - 8)
        for _ in range(8):
            value <<= 1
            if value >> bits:
                value ^= 1 << bits | polynomial
    return value


def opus_bomb(muxer: str, *, piped: bool = False) -> bytes:
    """Packets of 120 ms of nothing in two bytes."""
    target = Pipe() if piped else io.BytesIO()
    with av.open(target, "w", format=muxer, options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libopus", rate=48_000, layout="mono")
        stream.codec_context.open()
        for number in range(round(HOURS * 3_600 / 0.12)):
            packet = av.Packet(b"\x1b\x02")
            packet.stream, packet.time_base = stream, stream.codec_context.time_base
            packet.pts = packet.dts = number * 5_760
            packet.duration = 5_760
            container.mux(packet)
    return bytes(target.written) if isinstance(target, Pipe) else target.getvalue()


def mp3_bomb() -> bytes:
    """Frames of MPEG-2.5 at 8 kbit/s, all zeros behind their heads: 72 ms in 72 bytes."""
    frame = b"\xff\xe3\x18\xc4" + bytes(68)
    return frame * round(HOURS * 3_600 / 0.072)


def with_wrong_samples() -> dict[str, bytes]:
    made = {}
    for label, value in (("nan", np.nan), ("infinity", np.inf), ("minus-infinity", -np.inf)):
        for place, at in (("first", 0), ("middle", 8_000), ("last", -1)):
            samples = sound(16_000)
            samples[at] = value
            made[f"{label}-{place}"] = written_of(samples, "WAV", "FLOAT")
        samples = sound(16_000, channels=2)
        samples[100, 1] = value
        for kind in ("WAV", "AIFF", "AU", "CAF"):
            made[f"{label}-in-{kind.lower()}"] = written_of(samples, kind, "DOUBLE")
    made["nan-only"] = written_of(np.full(16_000, np.nan), "WAV", "FLOAT")
    made["beyond-measure"] = written_of(sound(16_000) * 1e30, "WAV", "FLOAT")
    return made


def of_wrong_size() -> dict[str, bytes]:
    kinds = (("WAV", None), ("WAV", "FLOAT"), ("AIFF", None), ("AU", None), ("FLAC", None))
    kinds += (("OGG", None), ("CAF", None))
    made = {"empty": b"", "one-byte": b"\x00"}
    for kind, coding in kinds:
        label = f"{kind}-{coding}".lower() if coding else kind.lower()
        for count in (0, 1, 160, 1_599):
            made[f"{label}-of-{count}"] = written_of(np.zeros(count), kind, coding)
    for channels in (7, 8, 64):
        made[f"wav-of-{channels}-channels"] = written_of(sound(8_000, channels=channels), "WAV")
    made["flac-of-8-channels"] = written_of(sound(8_000, channels=8), "FLAC")
    made["ogg-of-8-channels"] = written_of(sound(8_000, channels=8), "OGG")
    for kind in ("WAV", "AIFF", "AU", "FLAC", "CAF"):
        samples = sound(384_000, seconds=0.2)
        made[f"{kind.lower()}-of-384-khz"] = written_of(samples, kind, rate_hz=384_000)
    made["wav-of-1-khz"] = written_of(sound(1_000), "WAV", rate_hz=1_000)
    return made


def zipped(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("speech.wav", data)
    return buffer.getvalue()


def video() -> bytes:
    """A film without sound."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 16
        for _ in range(5):
            picture = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8))
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def of_another_kind() -> dict[str, bytes]:
    wav = wellformed()["wav-pcm16"]
    matlab = b"MATLAB 5.0 MAT-file" + bytes(105) + b"\x00\x01MI" + bytes(200)
    array = io.BytesIO()
    np.save(array, np.zeros(16_000, np.float32))
    things = {
        "text": b"please transcribe this\n" * 50,
        "html": b"<!doctype html><html><body>404 not found</body></html>",
        "json": json.dumps({"file": "/etc/passwd", "url": "http://localhost/"}).encode(),
        "xml": b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='/etc/passwd'/></svg>",
        "subtitles": b"1\n00:00:01,000 --> 00:00:02,000\nhello\n\n",
        "utf-16": "not audio at all".encode("utf-16"),
        "base64": b"UklGRiR9AABXQVZFZm10IBAAAAABAAEAgD4AAAB9AAACABAAZGF0YQB9AAA=",
        "zip": zipped(wav),
        "gzip": gzip.compress(wav, mtime=0),
        "png": b"\x89PNG\r\n\x1a\n" + bytes(200),
        "gif": b"GIF89a" + bytes(200),
        "jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(200),
        "pdf": b"%PDF-1.7\n" + bytes(200),
        "elf": b"\x7fELF\x02\x01\x01" + bytes(200),
        "script": b"#!/bin/sh\ntouch opened\n",
        "sqlite": b"SQLite format 3\x00" + bytes(200),
        "numpy": array.getvalue(),
        "matlab": matlab,
        "pickle": pickle.dumps({"samples": [0.0] * 100}),
        "pickle-that-runs": b"cos\nsystem\n(S'touch opened'\ntR.",
        "safetensors": b"\x40"
        + bytes(7)
        + b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}',
        "video": video(),
        "flash": b"FLV\x01\x05\x00\x00\x00\x09" + bytes(200),
        "avi": b"RIFF\x24\x7d\x00\x00AVI LIST" + bytes(200),
        "midi": b"MThd\x00\x00\x00\x06\x00\x01\x00\x01\x00\x60" + bytes(100),
        "amiga": b"FORM\x00\x00\x01\x008SVX" + bytes(200),
        "sphere": b"NIST_1A\n   1024\n" + bytes(2_000),
    }
    heads = {
        "wav": wav[:44],
        "flac": wellformed()["flac"][:42],
        "mp4": wellformed()["mp4-aac"][:40],
    }
    disguised = {
        f"{kind}-behind-the-head-of-{label}": head + things[kind]
        for label, head in heads.items()
        for kind in ("html", "zip", "pickle-that-runs")
    }
    return things | disguised


def playlists() -> dict[str, bytes]:
    return playlists_of("/etc/hostname")


def playlists_of(path: str) -> dict[str, bytes]:
    """Texts that tell a player to open this file."""
    hls = "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{}\n#EXT-X-ENDLIST\n"
    texts = {
        "hls": hls.format(path),
        "hls-by-url": hls.format(f"file://{path}"),
        "ffconcat": f"ffconcat version 1.0\nfile '{path}'\n",
        "concat": f"file '{path}'\n",
        "m3u": f"{path}\n",
        "pls": f"[playlist]\nFile1={path}\nNumberOfEntries=1\nVersion=2\n",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
        "dash": f"<MPD><Period><BaseURL>{path}</BaseURL></Period></MPD>",
        "asx": f"<asx version='3.0'><entry><ref href='{path}'/></entry></asx>",
        "subfile": f"subfile,,start,0,end,1000,,:{path}\n",
    }
    return {name: text.encode() for name, text in texts.items()}


def noise() -> dict[str, bytes]:
    random = np.random.default_rng(7)
    made = {f"zeros-{size}": bytes(size) for size in (44, 1_000, 100_000)}
    made |= {f"ones-{size}": b"\xff" * size for size in (44, 1_000, 100_000)}
    made |= {f"random-{size}": random.bytes(size) for size in (44, 1_000, 10_000, 100_000)}
    made["every-byte"] = bytes(range(256)) * 40
    return made


def joined() -> dict[str, bytes]:
    """Recordings with something before or behind them."""
    good = wellformed()
    junk = np.random.default_rng(8).bytes(500)
    kinds = ("wav-pcm16", "aiff", "flac", "ogg-vorbis", "mp4-aac", "webm-opus", "amr", "au")
    before = {f"junk-before-{kind}": junk + good[kind] for kind in kinds}
    kinds = ("wav-pcm16", "aiff", "caf", "ogg-opus", "mp3", "mp4-aac", "webm-opus", "amr", "aac")
    behind = {f"junk-behind-{kind}": good[kind] + junk for kind in kinds}
    kinds = ("wav-pcm16", "aiff", "caf", "ogg-vorbis", "mp4-aac", "webm-opus")
    twice = {f"two-of-{kind}": good[kind] * 2 for kind in kinds}
    return before | behind | twice
