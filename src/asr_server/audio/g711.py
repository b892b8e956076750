"""Decode G.711, the audio of telephone networks: a byte a sample, on a logarithmic scale."""

import numpy as np

from asr_server.audio.units import Pcm

_BYTES = np.arange(256, dtype=np.int32)


def _mulaw() -> Pcm:
    """Return the sample of each byte (ITU-T G.711, table 2a)."""
    code = ~_BYTES & 0xFF
    size = (((code & 0x0F) << 3) + 0x84 << (code >> 4 & 0x07)) - 0x84
    return (np.where(code & 0x80, -size, size) / 32768).astype(np.float32)


def _alaw() -> Pcm:
    """Return the sample of each byte (ITU-T G.711, table 1a)."""
    code = _BYTES ^ 0x55
    segment, size = code >> 4 & 0x07, ((code & 0x0F) << 4) + 8
    size = np.where(segment, size + 0x100 << np.maximum(segment - 1, 0), size)
    return (np.where(code & 0x80, size, -size) / 32768).astype(np.float32)


MULAW, ALAW = _mulaw(), _alaw()
