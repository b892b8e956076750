"""Real recordings give the text and the times of their WAV file in every container and codec.

They lie beside the project or in the folder RECORDINGS. Each is sent as fast as the server takes it
and at a live pace; `python -m tests.e2e.test_recordings_in_containers [CASE...]` prints a table.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from asr_client import AsrClient, Parameters
from asr_server.models.registry import DEMO, resolve
from asr_server.recordings.files import decode_file
from asr_server.settings import Settings
from tests.support.encoding import encode
from tests.support.serving import SMALL_DEMO, serving
from tests.support.texts import bare, error_rate

BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data" / "audio"
DATA = Path(os.environ.get("RECORDINGS", BESIDE))
FOLDERS = ("aishell_sample", "aishell1_foamliu", "thchs30_liangstein", "funasr")
EACH = int(os.environ.get("RECORDINGS_EACH", "2"))
MOST_MS = 96
"""How far a time may lie from that of the WAV file: three windows of the VAD."""
MOST_WRONG = 0.15
"""Share of the characters that a lossy codec may change."""
CASES = {
    "wav": ("wav", "-c:a pcm_s16le"),
    "wav, 48 kHz stereo": ("wav", "-c:a pcm_s16le -ar 48000 -ac 2"),
    "wav, A-law 8 kHz": ("wav", "-c:a pcm_alaw -ar 8000"),
    "wav, IMA ADPCM": ("wav", "-c:a adpcm_ima_wav"),
    "aiff": ("aiff", ""),
    "au": ("au", ""),
    "caf": ("caf", ""),
    "caf, ALAC": ("caf", "-c:a alac"),
    "flac": ("flac", ""),
    "ogg, FLAC": ("ogg", "-c:a flac"),
    "ogg, Opus": ("ogg", "-c:a libopus -b:a 32k"),
    "ogg, Vorbis": ("ogg", "-c:a libvorbis"),
    "ogg, Speex": ("ogg", "-c:a libspeex"),
    "mp3": ("mp3", "-b:a 64k"),
    "mp3 without LAME's header": ("mp3", "-b:a 64k -write_xing 0"),
    "aac, ADTS": ("adts", "-c:a aac"),
    "m4a, index in front": ("ipod", "-c:a aac -movflags +faststart"),
    "m4a, index at the end": ("ipod", "-c:a aac"),
    "mp4, fragmented": ("mp4", "-c:a aac -movflags +frag_keyframe+empty_moov"),
    "mov, PCM": ("mov", "-c:a pcm_s16le"),
    "3gp": ("3gp", "-c:a aac"),
    "webm, Opus": ("webm", "-c:a libopus -b:a 32k"),
    "mkv, AAC": ("matroska", "-c:a aac"),
    "mkv, AC-3 48 kHz": ("matroska", "-c:a ac3 -ar 48000"),
    "ts, AAC": ("mpegts", "-c:a aac"),
    "ts, MP2": ("mpegts", "-c:a mp2 -ar 48000"),
    "flv, AAC": ("flv", "-c:a aac -ar 44100"),
    "avi, MP3": ("avi", "-c:a libmp3lame -ar 44100"),
    "wma": ("asf", "-c:a wmav2 -b:a 64k"),
    "amr, NB": ("amr", "libopencore_amrnb"),
    "amr, NB with DTX": ("amr", "libopencore_amrnb dtx"),
}
"""FFmpeg's muxer and options; PyAV encodes AMR."""
LOSSLESS = {"wav", "aiff", "au", "caf", "caf, ALAC", "flac", "ogg, FLAC", "mov, PCM"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason="no collection of recordings here"),
    pytest.mark.skipif(resolve(DEMO, Settings()) is None, reason="the demo model is not here"),
]


def recordings() -> list[Path]:
    folders = [DATA / name for name in FOLDERS if (DATA / name).is_dir()] or [DATA]
    return [path for folder in folders for path in sorted(folder.glob("*.wav"))[:EACH]]


def converted(path: Path, muxer: str, options: str) -> bytes:
    if muxer == "amr":
        pcm = np.frombuffer(b"".join(decode_file(path)), "<i2")
        return encode(pcm, "amr", dtx="dtx" in options)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        command = f"ffmpeg -loglevel error -i {path} -vn -ac 1 -ar 16000 {options} -f {muxer} {out}"
        subprocess.run(command.split(), check=True)
        return out.read_bytes()


async def sentences(url: str, data: bytes, format: str, pace_s: float) -> tuple[list, float]:
    """Return the final sentences, and after how many seconds the first text came."""

    async def pieces():
        size = max(200, int(len(data) * 0.1 / pace_s)) if pace_s else 3200
        for begin in range(0, len(data), size):
            yield data[begin : begin + size]
            await asyncio.sleep(0.1 if pace_s else 0)

    began, first = time.monotonic(), 0.0
    finals = []
    async with AsrClient(url, parameters=Parameters(format=format, sample_rate=16_000)) as client:
        async for sentence in client.transcribe(pieces(), interim=True):
            first = first or time.monotonic() - began
            if sentence.is_final:
                finals.append(sentence)
    return finals, first


def compare(expected: list, found: list) -> tuple[float, float]:
    """Return the error rate, and the largest distance of the times of two sentences in ms."""
    if not expected:
        return float(bool(found)), 0
    texts = ["".join(bare(s.text for s in sentences)) for sentences in (expected, found)]
    if len(expected) != len(found):
        return error_rate([tuple(texts)]), float("inf")
    pairs = zip(expected, found, strict=True)
    apart = [
        abs(a - b) for x, y in pairs for a, b in ((x.begin_ms, y.begin_ms), (x.end_ms, y.end_ms))
    ]
    return error_rate([tuple(texts)]), max(apart)


async def measure(name: str, url: str, live: bool) -> tuple[float, float, float]:
    """Return the mean error rate, the largest distance in ms, and the mean time of first text."""
    results = []
    for path in recordings()[: 1 if live else None]:
        expected, _ = await sentences(url, converted(path, "wav", "-c:a pcm_s16le"), "wav", 0)
        data = await asyncio.to_thread(converted, path, *CASES[name])
        pace_s = len(b"".join(decode_file(path))) / 32_000 if live else 0
        found, first = await sentences(url, data, "wav", pace_s)
        results.append((*compare(expected, found), first))
    wrong, apart, first = zip(*results, strict=True)
    return sum(wrong) / len(wrong), max(apart), sum(first) / len(first)


@pytest.mark.parametrize("live", [False, True], ids=["bulk", "live"])
@pytest.mark.parametrize("name", CASES)
async def test_text_and_times_are_those_of_the_wav(name, live):
    async with serving(**SMALL_DEMO) as served:
        wrong, apart_ms, _ = await measure(name, served.url, live)
    assert wrong <= (0 if name in LOSSLESS else MOST_WRONG)
    assert apart_ms <= MOST_MS


async def main() -> None:
    """Print a table of all cases."""
    async with serving(**SMALL_DEMO) as served:
        slots = asyncio.Semaphore(4)

        async def row(name: str) -> None:
            async with slots:
                for live in (False, True):
                    try:
                        wrong, apart_ms, first_s = await measure(name, served.url, live)
                    except Exception as error:
                        print(f"{name:28} {live=} {error!r}", flush=True)
                        continue
                    print(
                        f"{name:28} {'live' if live else 'bulk'}  {wrong:6.1%}  {apart_ms:4.0f} ms"
                        f"  first text {first_s:.2f} s",
                        flush=True,
                    )

        await asyncio.gather(*map(row, sys.argv[1:] or CASES))


if __name__ == "__main__":
    asyncio.run(main())
