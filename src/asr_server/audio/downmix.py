"""Mix the channels of a recording to one."""

import numpy as np
from numpy.typing import NDArray

from asr_server.audio.units import Pcm

BLOCKS_PER_S = 50
DECAY = 0.9
"""How much of the energy of the past counts after a block: a time constant of 0.2 s."""
CANCELLED = 0.2
"""Share of the energy that uncorrelated channels would have; a mean with less is cancelled."""


class Downmix:
    """Return the mean of the channels, or a single channel where the mean cancels.

    A balanced line wired wrongly gives two channels in opposite phase, whose mean is silence. The
    decision is made for each block of 20 ms from the start: the cut of the input does not matter.
    """

    def __init__(self, channels: int, rate: int) -> None:
        self._block = max(1, rate // BLOCKS_PER_S)
        self._rest = np.zeros((0, channels), np.float32)
        self._each = np.zeros(channels)
        """Decaying energy of each channel."""
        self._mean = 0.0
        """Decaying energy of the mean."""
        self._channel: int | None = None

    def feed(self, samples: NDArray[np.float32]) -> Pcm:
        """Return the (m,) of all complete blocks for (n, channels) in [-1, 1]."""
        channels = samples.shape[1]
        if channels == 1:
            return samples[:, 0]
        samples = np.concatenate([self._rest, samples])
        whole = len(samples) - len(samples) % self._block
        self._rest = samples[whole:]
        return self._mix(samples[:whole].reshape(-1, self._block, channels))

    def flush(self) -> Pcm:
        """Return the last, shorter block."""
        rest, self._rest = self._rest, self._rest[:0]
        return self._mix(rest[None])

    def _mix(self, blocks: NDArray[np.float32]) -> Pcm:
        mixed: Pcm = blocks.mean(axis=2, dtype=np.float32)
        each = np.einsum("bnc,bnc->bc", blocks, blocks)
        mean = np.einsum("bn,bn->b", mixed, mixed)
        for number in range(len(blocks)):
            self._each = DECAY * self._each + each[number]
            self._mean = DECAY * self._mean + float(mean[number])
            if self._mean >= CANCELLED / len(self._each) * self._each.mean():
                self._channel = None
            elif self._channel is None:
                self._channel = int(self._each.argmax())
            if self._channel is not None:
                mixed[number] = blocks[number, :, self._channel]
        return mixed.reshape(-1)
