"""Recordings in every format clients send, made with PyAV or, where it has no encoder, ffmpeg."""

import io
import shutil
import subprocess
from collections.abc import Callable
from fractions import Fraction
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
    "adpcm": ("wav", "adpcm_ms"),
    "mp4": ("mp4", "aac"),
    "mov": ("mov", "aac"),
    "3gp": ("3gp", "aac"),
    "mkv": ("matroska", "aac"),
    "ts": ("mpegts", "aac"),
    "avi": ("avi", "libmp3lame"),
    "wma": ("asf", "wmav2"),
    "aiff": ("aiff", "pcm_s16be"),
    "au": ("au", "pcm_s16be"),
    "caf": ("caf", "pcm_s16le"),
    "alac": ("caf", "alac"),
}
"""Muxer and encoder of a format; the index of mp4, mov and 3gp stands at the end."""

FORMATS = ["mp3", "aac", "opus", "amr", "flac", "webm", "m4a", "alaw", "speex"]
"""Formats that every test of decoders covers."""


def encode(
    pcm: np.ndarray, format: str, rate: int = RATE, layout: str = "mono", dtx: bool = False
) -> bytes:
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
            stream.options = {"dtx": str(int(dtx))}
        if format == "wma":
            stream.bit_rate = 48_000
        context = stream.codec_context
        context.open()
        resampler = av.AudioResampler(
            format=context.format,
            layout=layout,
            rate=context.rate,
            frame_size=context.frame_size or 1024,
        )
        whole = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        whole.sample_rate = RATE
        for frame in [*resampler.resample(whole), *resampler.resample(None)]:
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def remux(
    data: bytes, muxer: str, at_s: Callable[[float], float | None], video_s: float = 0
) -> bytes:
    """Return a recording in which every packet has another time, or is missing if that is None.

    A video of some seconds may begin at 0.
    """
    file = io.BytesIO()
    with av.open(io.BytesIO(data)) as source, av.open(file, "w", format=muxer) as target:
        picture = None
        if video_s:
            picture = target.add_stream("mpeg2video", rate=25, width=32, height=32)
            picture.pix_fmt = "yuv420p"
        stream = target.add_stream_from_template(source.streams.audio[0])
        if picture:
            for number in range(round(25 * video_s)):
                frame = av.VideoFrame(32, 32, "yuv420p")
                frame.pts = number
                frame.time_base = Fraction(1, 25)
                target.mux(picture.encode(frame))
            target.mux(picture.encode(None))
        for packet in source.demux(source.streams.audio[0]):
            if packet.pts is None:
                continue
            at = at_s(float(packet.pts * packet.time_base))
            if at is not None:
                packet.pts = packet.dts = round(at / packet.time_base)
                packet.stream = stream
                target.mux(packet)
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
