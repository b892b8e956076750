"""Bytes decoded as a task's are, by decoder processes that all tests of this process share."""

import asyncio
import atexit
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from asr_server.audio.decode import Decoder
from asr_server.audio.decoder_pool import DecoderPool, ForkPool, decoder_pool
from asr_server.audio.units import SAMPLE_RATE, Pcm

POOL = decoder_pool()
atexit.register(POOL.close)


async def decode_stream(
    pieces: Iterable[bytes], format: str, rate: int = SAMPLE_RATE, pool: DecoderPool = POOL
) -> Pcm:
    """Return the samples of a whole stream. Raises what a task would fail with."""
    decoder = Decoder(format, rate, pool)
    samples = [np.zeros(0, np.float32)]
    try:
        for piece in pieces:
            samples += [part async for part in decoder.feed(piece)]
        samples += [part async for part in decoder.finish()]
    finally:
        decoder.close()
    return np.concatenate(samples)


def decode(data: bytes, format: str, rate: int = SAMPLE_RATE, cut: int = 1000) -> Pcm:
    """Return the samples of bytes that come in pieces of a size."""
    return asyncio.run(
        decode_stream((data[i : i + cut] for i in range(0, len(data), cut)), format, rate)
    )


def decode_wave(data: bytes) -> Pcm:
    """Return the samples of an uncompressed WAVE file, whether or not an event loop runs."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(decode, data, "wav", cut=len(data)).result()


def processes(pool: DecoderPool) -> list[int]:
    """Return the decoder processes of a fork pool, once those that were closed have ended."""
    if not isinstance(pool, ForkPool) or pool.server_id is None:
        return []
    children = Path(f"/proc/{pool.server_id}/task/{pool.server_id}/children")
    for _ in range(500):
        if not (found := children.read_text().split()):
            break
        time.sleep(0.01)
    return [int(process) for process in found]
