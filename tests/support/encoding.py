"""Recordings in every format clients send, made with PyAV or, where it has no encoder, ffmpeg."""

import io
import shutil
import subprocess
from typing import Any

import av
import numpy as np
import pytest

RATE = 16_000

MUXERS = {
    "mp3": ("mp3", "libmp3lame"),
    "aac": ("adts", "aac"),
    "opus": ("ogg", "libopus"),
    "amr": ("amr", "libopencore_amrnb"),
    "flac": ("flac", "flac"),
    "webm": ("webm", "libopus"),
    "m4a": ("mp4", "aac"),
    "alaw": ("wav", "pcm_alaw"),
}
"""Muxer and encoder of a format."""

FORMATS = [*MUXERS, "speex"]


def encode(pcm: np.ndarray, format: str, rate: int = RATE, layout: str = "mono") -> bytes:
    """(n,) int16 samples at 16 kHz as a file of a format."""
    if format == "speex":
        return _speex(pcm)
    muxer, codec = MUXERS[format]
    file = io.BytesIO()
    options = {"movflags": "frag_keyframe+empty_moov"} if format == "m4a" else {}
    with av.open(file, "w", format=muxer, options=options) as container:
        stream = container.add_stream(codec, rate=8000 if format == "amr" else rate)
        stream.layout = layout
        if format == "amr":
            stream.bit_rate = 12_200
        context = stream.codec_context
        context.open()
        resampler = av.AudioResampler(
            format=context.format, layout=layout, rate=context.rate, frame_size=context.frame_size
        )
        whole = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        whole.sample_rate = RATE
        for frame in [*resampler.resample(whole), *resampler.resample(None)]:
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def can_encode(format: str) -> bool:
    """Whether this machine has an encoder; some releases of PyAV only decode AMR."""
    if format == "speex":
        return shutil.which("ffmpeg") is not None
    return MUXERS[format][1] in av.codecs_available


def encodable(*formats: str) -> list[Any]:
    """For `parametrize`: the formats, skipped where this machine has no encoder."""
    return [
        pytest.param(f, marks=pytest.mark.skipif(not can_encode(f), reason=f"no encoder for {f}"))
        for f in formats
    ]


def _speex(pcm: np.ndarray) -> bytes:
    command = "ffmpeg -loglevel error -f s16le -ar 16000 -ac 1 -i - -c:a libspeex -f ogg -"
    return subprocess.run(
        command.split(), input=pcm.tobytes(), capture_output=True, check=True
    ).stdout
