"""Decode, resample, hash and measure audio; what is no audio is refused here and nowhere else."""

from misheard.audio.decoding import is_gsm, pieces_of
from misheard.audio.mono import SAMPLE_RATE_HZ, AudioLimits
from misheard.audio.recordings import (
    Audio,
    Recording,
    decode,
    encode_wav,
    from_samples,
    read,
    read_bytes,
    sha256_of,
)

__all__ = [
    "SAMPLE_RATE_HZ",
    "Audio",
    "AudioLimits",
    "Recording",
    "decode",
    "encode_wav",
    "from_samples",
    "is_gsm",
    "pieces_of",
    "read",
    "read_bytes",
    "sha256_of",
]
