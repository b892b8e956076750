"""Turn decoded frames into mono samples at 16 kHz that keep the recording's clock.

Time that is missing between time stamps becomes silence: lost packets, a muted microphone, an
audio track that begins later than its video. A clock that jumps further, or back, starts anew.
"""

from collections.abc import Callable
from typing import Any

import av
import numpy as np

from asr_server.audio.downmix import Downmix
from asr_server.audio.units import SAMPLE_RATE, Pcm, bounded
from asr_server.errors import DecodeError

MIN_RATE, MAX_RATE, MAX_CHANNELS = 1000, 384_000, 8
MAX_FRAME = 1 << 20
"""Samples of one channel in one frame."""
PIECE: int = SAMPLE_RATE
"""Samples that are passed on before the rest of the input is decoded."""
TOLERANCE_S = 0.05
"""Time stamps are rounded to milliseconds, and some recorders' jitter."""
MAX_LEAD_IN_S = 60
"""A track that begins later was joined late: its clock starts with its first sample."""
MAX_GAP_S = 600
"""A longer gap is a change of the clock."""
RESTART_S = 1.0
"""A clock that steps back this far has started anew."""


class Track:
    """Pass the samples of one audio track to `emit`."""

    def __init__(self, emit: Callable[[Pcm], None]) -> None:
        self._emit = emit
        self._resampler: Any = None
        self._downmix: Downmix
        self._source: tuple[str, str, int] | None = None
        """Sample format, channel layout and rate that the resampler takes."""
        self._fed_s = 0.0
        """Seconds of audio and silence until now."""
        self._zero_s = float("inf")
        """The time stamp that the first sample would have."""
        self._begins = True
        """Whether the first time stamp of a recording is still to come."""
        self._priming: int = 0
        """Samples at 16 kHz still to drop: decoders put them before the first of the recording."""
        self._lost_s = 0.0
        """Seconds of damaged packets, not yet silence."""
        self.samples = 0
        """Samples of audio, without silence."""
        self.silence_s = 0.0
        self.max_silence_s = float("inf")
        """How much silence gaps may become."""

    def frame(self, frame: Any, at_s: float | None, origin_s: float | None = None) -> None:
        """Take a frame with its time stamp; `origin_s` is where the recording begins.

        Raises DecodeError.
        """
        rate, channels = frame.sample_rate, frame.layout.nb_channels
        if not MIN_RATE <= rate <= MAX_RATE or channels > MAX_CHANNELS:
            raise DecodeError(
                f"it has {channels} channels at {rate} Hz; accepted are up to"
                f" {MAX_CHANNELS} channels at {MIN_RATE} to {MAX_RATE} Hz"
            )
        if frame.samples > MAX_FRAME:
            raise DecodeError(f"a frame has {frame.samples} samples; accepted are {MAX_FRAME}")
        if self._lost_s:
            self._pause(self._lost_s)
        if at_s is not None:
            self._advance(at_s, origin_s)
        source = (frame.format.name, frame.layout.name, rate)
        if source != self._source:  # some recorders change it in mid-stream
            self.flush()
            self._source = source
            stereo = channels == 2
            self._resampler = av.AudioResampler(
                format="fltp", layout="stereo" if stereo else "mono", rate=SAMPLE_RATE
            )
            self._downmix = Downmix(1 + stereo, SAMPLE_RATE)
        self._fed_s += frame.samples / rate
        self._keep(self._resampler.resample(frame))

    def lose(self, seconds: float) -> None:
        """Put silence where packets are damaged."""
        self._lost_s += min(seconds, self.max_silence_s - self.silence_s - self._lost_s)
        if self._lost_s > TOLERANCE_S:
            self._pause(self._lost_s)

    def _advance(self, until_s: float, origin_s: float | None = None) -> None:
        """Put silence where audio is missing before a time stamp."""
        missing_s = until_s - self._zero_s - self._fed_s
        longest_s = min(MAX_GAP_S, self.max_silence_s - self.silence_s)
        if not -RESTART_S <= missing_s <= longest_s:
            missing_s = self._lead_in(until_s, origin_s) if self._begins else 0.0
            self._zero_s = until_s - missing_s - self._fed_s
        self._begins = False
        if missing_s > TOLERANCE_S:
            self._pause(missing_s)

    def _lead_in(self, at_s: float, origin_s: float | None) -> float:
        """Return the seconds before the first frame of a recording."""
        lead_s = 0.0 if origin_s is None else at_s - origin_s
        if TOLERANCE_S < lead_s <= min(MAX_LEAD_IN_S, self.max_silence_s - self.silence_s):
            self._priming = 0  # the time stamp accounts for it
            return lead_s
        return 0.0

    def prime(self, samples: int, rate: int) -> None:
        """Drop samples that a decoder puts before the first of the recording."""
        self._priming = round(samples * SAMPLE_RATE / rate)

    def restart(self) -> None:
        """Begin another recording, whose clock goes on or starts anew."""
        self.flush()
        self._begins = True
        self._priming = 0

    def flush(self) -> None:
        """Pass on what the resampler holds."""
        if self._resampler is not None:
            self._keep(self._resampler.resample(None), last=True)
            self._resampler = self._source = None

    def _pause(self, seconds: float) -> None:
        self.flush()
        self._lost_s = 0.0
        self._fed_s += seconds
        self.silence_s += seconds
        left = round(seconds * SAMPLE_RATE)
        while left > 0:
            self._emit(np.zeros(min(left, PIECE), np.float32))
            left -= PIECE

    def _keep(self, frames: list[Any], *, last: bool = False) -> None:
        mixed = [self._downmix.feed(bounded(frame.to_ndarray()).T) for frame in frames]
        for samples in [*mixed, self._downmix.flush()] if last else mixed:
            primed = min(self._priming, len(samples))
            self._priming -= primed
            self.samples += len(samples) - primed
            for begin in range(primed, len(samples), PIECE):
                self._emit(samples[begin : begin + PIECE])
