"""Files of frames without a container: MP3, AAC and AMR, from frame to frame up to the end."""

from __future__ import annotations

from misheard.audio.whole import NotWholeError, require_bytes

_MP3_KBPS = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Of layer III by index, of MPEG-1 and of MPEG-2 and 2.5 (ISO/IEC 11172-3, 13818-3)."""
_MP3_RATES_HZ = {
    3: (44_100, 48_000, 32_000),
    2: (22_050, 24_000, 16_000),
    0: (11_025, 12_000, 8_000),
}
_MP3_LOST_FRAMES = 4
"""A decoder drops one that tells of the others, and what an encoder has added to the ends."""
_MP3_TAILS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"ID3")

AMR_BYTES = {
    b"#!AMR\n": (12, 13, 15, 17, 19, 20, 26, 31, 5),
    b"#!AMR-WB\n": (17, 23, 32, 36, 40, 46, 50, 58, 60, 5),
}
"""Of a frame after its first byte, by type (RFC 4867, tables of 3GPP TS 26.101 and 26.201)."""
_AMR_EMPTY = (14, 15)
"""Frame types without a body: lost, and nothing said."""


def frames_of_mp3(data: bytes, at: int) -> int:
    """How many samples must come out of it; see `Container.check`."""
    start, frames, promised = at, 0, 0
    while size := _mp3_frame_bytes(data, at):
        require_bytes(data, at, size, f"its frame at byte {at}")
        promised = promised or (_promised_frames(data[at : at + size]) if not frames else 0)
        frames += 1
        at += size
    if at < len(data) and not data.startswith(_MP3_TAILS, at) and any(data[at:]):
        raise NotWholeError(f"there is no frame at byte {at}")
    if frames < promised:
        raise NotWholeError(f"it promises {promised} frames and has {frames}")
    samples = 1_152 if data[start + 1] & 8 else 576
    return max(0, frames - _MP3_LOST_FRAMES) * samples


def _mp3_frame_bytes(data: bytes, at: int) -> int:
    """The length of the frame of layer III that begins here; 0 when none does."""
    if len(data) - at < 4 or data[at] != 0xFF or data[at + 1] & 0xE6 != 0xE2:
        return 0
    version, second = (data[at + 1] >> 3) & 3, data[at + 2]
    kbps, rate = second >> 4, (second >> 2) & 3
    if version not in _MP3_RATES_HZ or rate == 3 or kbps == 15:
        return 0
    newest = version == 3
    bits_per_s = 1_000 * _MP3_KBPS[newest][kbps]
    per_byte = 144 if newest else 72
    size = per_byte * bits_per_s // _MP3_RATES_HZ[version][rate]
    return size and size + ((second >> 1) & 1)


def _promised_frames(frame: bytes) -> int:
    """What a first frame says of how many follow it; 0 when it is one of sound."""
    for magic, offset in ((b"Xing", 8), (b"Info", 8), (b"VBRI", 14)):
        at = frame.find(magic, 4, 44)
        if at >= 0 and len(frame) >= at + offset + 4 and (offset == 14 or frame[at + 7] & 1):
            return int.from_bytes(frame[at + offset : at + offset + 4])
    return 0


def frames_of_adts(data: bytes, at: int) -> int:
    """AAC; it does not tell how many samples there are. See `Container.check`."""
    while at < len(data):
        if data[at] != 0xFF or data[at + 1] & 0xF6 != 0xF0:
            raise NotWholeError(f"there is no frame at byte {at}")
        size = (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
        require_bytes(data, at, max(size, 7), f"its frame at byte {at}")
        at += max(size, 7)
    return 0


def frames_of_amr(data: bytes, start: int) -> int:
    """It does not tell how many samples there are. See `Container.check`."""
    magic = data[start : data.index(b"\n", start) + 1]
    at = start + len(magic)
    while at < len(data):
        kind = (data[at] >> 3) & 15
        if kind not in _AMR_EMPTY and kind >= len(AMR_BYTES[magic]):
            raise NotWholeError(f"there is no frame at byte {at}")
        size = 1 + (0 if kind in _AMR_EMPTY else AMR_BYTES[magic][kind])
        require_bytes(data, at, size, f"its frame at byte {at}")
        at += size
    return 0
