"""What kind of file a recording from elsewhere is, and whether all of it is there.

Told from magic numbers and lengths; nothing is decoded. Decoders make the best of what they get:
of half a file they give half the speech, and say nothing. They also open far more than recordings
(playlists that name other files, pictures, spreadsheets of Matlab's), so what is not listed here
is never handed to them.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from misheard.audio.frames import AMR_BYTES, frames_of_adts, frames_of_amr, frames_of_mp3
from misheard.audio.whole import SEVERAL, NotWholeError, require_bytes, require_name
from misheard.errors import AudioDamagedError, NotAudioError

# What stands for a length in a file written into a pipe, whose head could not be mended at the
# end: nothing, or just under 2 or 4 GiB (FFmpeg writes 0xFFFFFFFF, SoX 0x7FFFF000).
_PLACEHOLDERS_FROM = 0x7FFF_F000

_ID3_HEAD = 10
_STREAMINFO_HEADS = (b"\x00\x00\x00\x22", b"\x80\x00\x00\x22")
"""FLAC's first block of metadata, of 34 bytes: as one of several, and as the only one."""
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))

_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
"""The elements of Matroska that a live recorder leaves without a length."""


@dataclass(frozen=True, kw_only=True)
class Container:
    """One kind of file that is taken from elsewhere."""

    demuxer: str
    """What FFmpeg calls it."""
    check: Callable[[bytes, int], int]
    """How many samples of a channel must come out of a file whose content begins here, 0 when it
    does not tell. Raises `NotWholeError`."""
    libsndfile: tuple[str, ...] = ()
    """What libsndfile calls it, where it knows it."""
    tells_length: bool = False
    """Whether the length that a decoder gives stands in the file, and is no estimate."""


@dataclass(frozen=True, kw_only=True)
class FlacSum:
    """What a FLAC file says of its samples."""

    bits: int
    md5: bytes
    """Of all samples as signed little-endian integers, channel after channel."""


@dataclass(frozen=True, kw_only=True)
class Recognised:
    """What the bytes of a file say of it."""

    container: Container
    least_frames: int
    """So many samples of a channel must come out of it."""
    flac: FlacSum | None = None


def recognise(data: bytes, *, name: str) -> Recognised:
    """What this file is, which is all there as far as its lengths tell.

    Raises `NotAudioError` or `AudioDamagedError`.
    """
    start = _after_tags(data)
    container = _kind(data, start)
    if container is None:
        raise NotAudioError(
            f"'{name}' ({len(data)} bytes) is no WAV, AIFF, AU, CAF, FLAC, Ogg, MP3, MP4, WebM, "
            "AAC, AMR or GSM file. Convert it to WAV or FLAC first."
        )
    try:
        least_frames = container.check(data, start)
    except NotWholeError as error:
        raise damaged(name, str(error)) from error
    except (struct.error, IndexError) as error:
        raise damaged(name, "it ends within a header") from error
    flac = _flac_sum(data, start) if container is _FLAC else None
    return Recognised(container=container, least_frames=least_frames, flac=flac)


def damaged(name: str, wrong: str) -> AudioDamagedError:
    """An error that says what is wrong, and what to do."""
    return AudioDamagedError(f"'{name}': {wrong}. Send the whole file, or make it anew.")


def _after_tags(data: bytes) -> int:
    """Where the content begins after tags of ID3v2."""
    at = 0
    while data[at : at + 3] == b"ID3" and len(data) >= at + _ID3_HEAD:
        high, middle, low, lowest = data[at + 6 : at + _ID3_HEAD]
        at += _ID3_HEAD + (high << 21 | middle << 14 | low << 7 | lowest)
    return at


def _kind(data: bytes, start: int) -> Container | None:
    head = data[start : start + 12]
    for magic, forms, container in _BY_MAGIC:
        if head.startswith(magic) and (not forms or head[8:] in forms):
            return container
    if head[4:8] == b"ftyp":
        return _MP4
    if len(head) >= 2 and head[0] == 0xFF:
        if head[1] & 0xF6 == 0xF0:
            return _ADTS
        if head[1] & 0xE6 == 0xE2:
            return _MP3
    return None


def _chunks_of_wav(data: bytes, start: int) -> int:
    found = _chunks(data, start + 12, "<4sI", sound=b"data")
    if b"fmt " not in found:
        raise NotWholeError("it does not say how its samples are written")
    coding, channels, _, _, frame_bytes, bits = struct.unpack_from("<HHIIHH", data, found[b"fmt "])
    if coding in (1, 3) and frame_bytes != channels * ((bits + 7) // 8):
        raise NotWholeError(f"{channels} channels of {bits} bits do not make {frame_bytes} bytes")
    return 0


def _chunks_of_aiff(data: bytes, start: int) -> int:
    _chunks(data, start + 12, ">4sI", sound=b"SSND")
    return 0


def _chunks_of_caf(data: bytes, start: int) -> int:
    _chunks(data, start + 8, ">4sQ", sound=b"data")
    return 0


def _chunks(data: bytes, at: int, head: str, *, sound: bytes) -> dict[bytes, int]:
    """Where the content of chunks begins, by their ids: one after the other up to the end."""
    even = 2 if struct.calcsize(head) == 8 else 1
    found: dict[bytes, int] = {}
    while len(data) - at >= struct.calcsize(head):
        kind, size = struct.unpack_from(head, data, at)
        require_name(kind, at)
        if kind in (b"RIFF", b"FORM", b"caff"):
            raise NotWholeError(SEVERAL)
        at += struct.calcsize(head)
        found.setdefault(kind, at)
        if kind == sound and _is_placeholder(size):
            break
        require_bytes(data, at, size, f"its '{kind.decode().strip()}'")
        at += size + size % even
    return found


def _is_placeholder(size: int) -> bool:
    return size == 0 or size % (1 << 31) >= _PLACEHOLDERS_FROM


def _length_of_au(data: bytes, start: int) -> int:
    offset, size = struct.unpack_from(">II", data, start + 4)
    if not _is_placeholder(size):
        require_bytes(data, start + offset, size, "its sound")
    return 0


def _length_of_flac(data: bytes, start: int) -> int:
    """See RFC 9639, section 8.2."""
    if len(data) - start < 42 or data[start + 4 : start + 8] not in _STREAMINFO_HEADS:
        raise NotWholeError("it does not begin with what FLAC begins with")
    return int.from_bytes(data[start + 21 : start + 26]) & (1 << 36) - 1


def _flac_sum(data: bytes, start: int) -> FlacSum | None:
    bits = (int.from_bytes(data[start + 20 : start + 22]) >> 4 & 31) + 1
    md5 = data[start + 26 : start + 42]
    return FlacSum(bits=bits, md5=md5) if any(md5) and bits in (8, 16, 24) else None


def _pages_of_ogg(data: bytes, at: int) -> int:
    """Pages, numbered and each with its checksum, up to the last; see RFC 3533, section 6."""
    last, begun = False, False
    numbers: dict[int, int] = {}
    while at < len(data):
        magic, _, flags, _, stream, number = struct.unpack_from("<4sBBqII", data, at)
        if magic != b"OggS":
            raise NotWholeError(f"there is no page at byte {at}")
        if number != numbers.setdefault(stream, number):
            raise NotWholeError(f"a page is missing before byte {at}")
        numbers[stream] += 1
        first, last = bool(flags & 2), bool(flags & 4)
        if first and begun:
            raise NotWholeError(SEVERAL)
        begun = begun or not first
        count = data[at + 26]
        size = 27 + count + sum(data[at + 27 : at + 27 + count])
        require_bytes(data, at, size, f"its page at byte {at}")
        if _ogg_sum(data[at : at + size]) != data[at + 22 : at + 26]:
            raise NotWholeError(f"its page at byte {at} has changed since it was written")
        at += size
    if not last:
        raise NotWholeError("its last page is missing")
    return 0


def _ogg_sum(page: bytes) -> bytes:
    """The checksum that a page should have: Ogg's is zlib's with all bits reversed."""
    reverse = page[:22].translate(_REVERSED) + bytes(4) + page[26:].translate(_REVERSED)
    reverse_sum = zlib.crc32(reverse, 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return reverse_sum.to_bytes(4).translate(_REVERSED)


def _boxes_of_mp4(data: bytes, at: int) -> int:
    """Boxes of a length and a type, one after the other up to the end of the file."""
    start = at
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        require_name(kind, at)
        if kind == b"ftyp" and at > start:
            raise NotWholeError(SEVERAL)
        if size == 0:
            break
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, at + 8)
        require_bytes(data, at, max(size, 8), f"its '{kind.decode()}'")
        at += max(size, 8)
    return 0


def _elements_of_matroska(data: bytes, at: int) -> int:
    """Elements of an id and a length, up to the end of the file; see RFC 8794, sections 4 to 6."""
    start = at
    while at < len(data):
        if data.startswith(_EBML, at) and at > start:
            raise NotWholeError(SEVERAL)
        kind, at = _ebml_number(data, at, keep_marker=True)
        size, at = _ebml_number(data, at, keep_marker=False)
        if size >= 0:
            require_bytes(data, at, size, f"its element {kind:X}")
            at += size
        elif kind not in (_SEGMENT, _CLUSTER):
            raise NotWholeError(f"what precedes byte {at} has no length")
    return 0


def _ebml_number(data: bytes, at: int, *, keep_marker: bool) -> tuple[int, int]:
    """The number that begins here, -1 where it stands for unknown, and where it ends."""
    width = 9 - data[at].bit_length()
    if width > 8 or at + width > len(data):
        raise IndexError
    value = int.from_bytes(data[at : at + width])
    marker = 1 << (7 * width)
    if keep_marker:
        return value, at + width
    value -= marker
    return (-1 if value == marker - 1 else value), at + width


_WAV = Container(demuxer="wav", check=_chunks_of_wav, libsndfile=("WAV", "WAVEX"))
_AIFF = Container(demuxer="aiff", check=_chunks_of_aiff, libsndfile=("AIFF",))
_AU = Container(demuxer="au", check=_length_of_au, libsndfile=("AU",))
_CAF = Container(demuxer="caf", check=_chunks_of_caf, libsndfile=("CAF",))
_FLAC = Container(demuxer="flac", check=_length_of_flac, libsndfile=("FLAC",))
_OGG = Container(demuxer="ogg", check=_pages_of_ogg, libsndfile=("OGG",), tells_length=True)
_MP3 = Container(demuxer="mp3", check=frames_of_mp3, libsndfile=("MP3",))
_ADTS = Container(demuxer="aac", check=frames_of_adts)
_AMR = Container(demuxer="amr", check=frames_of_amr)
_MP4 = Container(demuxer="mp4", check=_boxes_of_mp4, tells_length=True)
_MATROSKA = Container(demuxer="matroska", check=_elements_of_matroska, tells_length=True)
_BY_MAGIC: tuple[tuple[bytes, tuple[bytes, ...], Container], ...] = (
    (b"RIFF", (b"WAVE",), _WAV),
    (b"FORM", (b"AIFF", b"AIFC"), _AIFF),
    (b".snd", (), _AU),
    (b"caff", (), _CAF),
    (b"fLaC", (), _FLAC),
    (b"OggS", (), _OGG),
    (_EBML, (), _MATROSKA),
    *((magic, (), _AMR) for magic in AMR_BYTES),
)
