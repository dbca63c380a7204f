"""Recordings as data URIs that every browser plays, small enough for a page that holds many."""

from __future__ import annotations

import base64
import io

import soundfile

from misheard import audio

# Variable bit rate tells a player its exact length, which a constant one does not; at this level
# telephone speech takes about 20 kbit/s and is as clear as before.
_MP3 = {"subtype": "MPEG_LAYER_III", "bitrate_mode": "VARIABLE", "compression_level": 0.7}


def data_uri(data: bytes, *, name: str = "audio") -> str:
    """Encoded audio of any kind that `audio.decode` reads, as mono at 16 kHz in a `data:` URI.

    Browsers play no GSM and not every WAV, so everything is encoded anew: as MP3, or as FLAC where
    libsndfile cannot write that. Raises what `audio.decode` raises.
    """
    clip = audio.decode(data, name=name)
    buffer = io.BytesIO()
    if "MP3" in soundfile.available_formats():
        kind = "audio/mpeg"
        soundfile.write(buffer, clip.samples, audio.SAMPLE_RATE_HZ, format="MP3", **_MP3)
    else:
        kind = "audio/flac"
        soundfile.write(buffer, clip.samples, audio.SAMPLE_RATE_HZ, format="FLAC")
    return f"data:{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
