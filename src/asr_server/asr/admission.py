"""Estimate load, and decide whether one more stream can be admitted. Pure: no clock.

Admission limits the delay, not the utilisation: batching keeps a device busy long before it is
full, and a file sent at full speed keeps it busy without delaying live streams. A batch takes in
what arrived while the batch before it ran, so with a share u of the capacity in use the delay is
that of a lone step divided by 1 - u. Solved for u, the delay predicts the delay with one stream
more (docs/adr/0007-admission.md). All times are in seconds.
"""

import math
from collections import deque
from statistics import median

from asr_server.asr.batching import Load

RESUME_SHARE = 0.8
"""Share of the limit below which the delay must fall before tasks are admitted again."""
ALWAYS_ADMITTED = 4
"""Streams that are always admitted: too few to learn from, and a slow machine must serve some."""
MIN_BURST = 16
"""Streams that may always open together: clients that reconnect when another server restarts."""
MAX_GROWTH = 1.5
"""Streams that may be open for each that was open a few seconds ago."""
MAX_PLANNED_UTILISATION = 0.9
"""Utilisation to plan with: above, queueing delay grows without bound."""
LONE_STEPS = 16
"""Latest lone steps whose median is the cost of one: a single stall does not make a device slow."""

UTILISATION_WINDOW_S = 1.0
DELAY_WINDOW_S = 1.0
"""Of busy time: pauses between steps say nothing about how long work takes."""
VAD_WEIGHT = 1 / 16
"""Weight of the last VAD step in the EWMA of VAD time: steps are many and short."""
FRAME_S = 0.2
"""Longest usual time between two messages of a live stream."""
IDLE_WINDOW_S = 3.0
STREAMS_WINDOW_S = 4.0
"""Longer than the delay's: a stream counts at once but costs something only when speech begins."""


class Admission:
    """Keep EWMAs of delay and utilisation from the begin and end of steps.

    `max_delay_s` 0 admits without limit. `chunk_period_s` is the time between the chunks of a live
    stream, `workers` the number of decode steps that run side by side.
    """

    def __init__(self, max_delay_s: float, chunk_period_s: float, workers: int = 1) -> None:
        self._max_delay_s = max_delay_s
        self._chunk_period_s = chunk_period_s
        self._workers = workers
        self._busy_s = 0.0
        """Decode time of live audio within about the last `UTILISATION_WINDOW_S`."""
        self._previews_s = 0.0
        """The part of it for previews."""
        self._busy_at = 0.0
        self._decode_delay = 0.0
        """EWMA of the time from a chunk's last sample having passed the VAD to its text."""
        self._vad_delay = 0.0
        """EWMA of the time from a window's last sample to its VAD result."""
        self._vad_ended_at = 0.0
        self._vad_began_at: float | None = None
        self._decoder_delay = 0.0
        """EWMA of the time that compressed live audio waits for a processor to decode it."""
        self._decoder_at = 0.0
        self._streams = 0.0
        """EWMA of the open streams while the delay came about."""
        self._lone_delays: deque[float] = deque(maxlen=LONE_STEPS)
        """Delays of steps with a single chunk."""
        self._lone_steps: deque[float] = deque(maxlen=LONE_STEPS)
        """Durations of such steps, without the batching delay."""
        self._updated_at = 0.0
        self._running: list[float] = []
        """When the running decode steps began."""
        self._refusing = False

    # Updates ------------------------------------------------------------------------------------

    def decode_began(self, now: float, streams: int) -> None:
        """Note that a decode step begins while `streams` are open; several may run at once."""
        self._decay_if_idle(now, streams)
        self._running.append(now)

    def decode_ended(
        self,
        began: float,
        now: float,
        streams: int,
        chunks: int,
        waited_s: float,
        live_share: float = 1.0,
        previews: int = 0,
    ) -> None:
        """Note that the step which began then is done; its oldest live chunk waited `waited_s`.

        `previews` of its chunks were previews.
        """
        self._running.remove(began)
        duration = now - began
        delay = waited_s + duration
        passed = now - max(began, self._updated_at)  # steps side by side share their time
        self._decode_delay += (delay - self._decode_delay) * _weight(passed, DELAY_WINDOW_S)
        self._streams += (streams - self._streams) * _weight(passed, STREAMS_WINDOW_S)
        self._updated_at = now
        self._previews_s *= self._decayed(now)
        self._previews_s += duration * live_share * previews / chunks
        self._busy_s = self._busy_s * self._decayed(now) + duration * live_share
        self._busy_at = now
        if chunks == 1:
            self._lone_delays.append(delay)
            self._lone_steps.append(duration)

    def vad_began(self, now: float) -> None:
        """Note that a VAD step begins; one runs at a time."""
        self._vad_delay = self._vad_delay_at(now)
        self._vad_began_at = now

    def vad_ended(self, now: float, waited_s: float) -> None:
        """Note that the VAD step is done; its oldest live windows waited `waited_s`."""
        assert self._vad_began_at is not None
        delay = waited_s + now - self._vad_began_at
        self._vad_delay += (delay - self._vad_delay) * VAD_WEIGHT
        self._vad_began_at, self._vad_ended_at = None, now

    def decoder_waited(self, now: float, waited_s: float) -> None:
        """Note how long a message of compressed live audio waited for a processor."""
        delay = self._decoder_delay_at(now)
        passed = min(now - self._decoder_at, FRAME_S)  # after a pause one message is not all
        self._decoder_delay = delay + (waited_s - delay) * _weight(passed, DELAY_WINDOW_S)
        self._decoder_at = now

    # Estimates ----------------------------------------------------------------------------------

    def admits(self, now: float, streams: int) -> bool:
        """Return whether one more stream may be opened when `streams` are open."""
        if not self._max_delay_s or streams < ALWAYS_ADMITTED:
            return True
        self._refusing = self._too_late(now, streams)
        return not self._refusing and self._in_portions(streams)

    def full(self, now: float, streams: int) -> bool:
        """Return whether `admits` would refuse; asking changes nothing."""
        if not self._max_delay_s or streams < ALWAYS_ADMITTED:
            return False
        return self._too_late(now, streams) or not self._in_portions(streams)

    def load(self, now: float, streams: int) -> Load:
        """Return utilisation and delay."""
        utilisation = self.utilisation(now)
        chunks = 1 - self._previews_s / self._busy_s if self._busy_s else 0.0
        return Load(utilisation, self.delay(now, streams), utilisation * chunks, self._lone_delay)

    def utilisation(self, now: float) -> float:
        """Return the share of recent time the workers decoded live audio, 0 to 1."""
        busy_s = self._busy_s * self._decayed(now)
        return min(1.0, busy_s / (self._workers * UTILISATION_WINDOW_S))

    def delay(self, now: float, streams: int) -> float:
        """Return how long live audio takes from its arrival to its result.

        A step that hangs counts with the time it has taken; an idle device's delay decays.
        """
        self._decay_if_idle(now, streams)
        began = [*self._running, now if self._vad_began_at is None else self._vad_began_at]
        delay = self._decode_delay + self._vad_delay_at(now) + self._decoder_delay_at(now)
        return max(delay, now - min(began))

    def _decayed(self, now: float) -> float:
        """Return what is left of the decode times' sums."""
        return math.exp(-(now - self._busy_at) / UTILISATION_WINDOW_S)

    def _too_late(self, now: float, streams: int) -> bool:
        limit = self._max_delay_s * (RESUME_SHARE if self._refusing else 1.0)
        return self._delay_with(streams + 1, self.delay(now, streams)) > limit

    def _in_portions(self, streams: int) -> bool:
        return streams < max(self._burst, MAX_GROWTH * self._streams)

    def _vad_delay_at(self, now: float) -> float:
        """Return the EWMA of VAD time, decayed while the VAD is idle."""
        idle = 0.0 if self._vad_began_at is not None else max(0.0, now - self._vad_ended_at)
        return self._vad_delay * (1 - _weight(idle, IDLE_WINDOW_S))

    def _decoder_delay_at(self, now: float) -> float:
        """Return the EWMA of the decoders' queueing delay, decayed while no message comes."""
        idle = max(0.0, now - self._decoder_at - FRAME_S)
        return self._decoder_delay * (1 - _weight(idle, IDLE_WINDOW_S))

    @property
    def _lone_delay(self) -> float:
        return median(self._lone_delays) if self._lone_delays else 0.0

    @property
    def _burst(self) -> float:
        """Return how many streams fit without batching: as many may open at once."""
        if not self._lone_steps:
            return MIN_BURST
        return self._chunk_period_s / median(self._lone_steps)

    def _decay_if_idle(self, now: float, streams: int) -> None:
        if not self._running:
            idle = max(0.0, now - self._updated_at)
            self._decode_delay *= 1 - _weight(idle, IDLE_WINDOW_S)
            self._streams += (streams - self._streams) * _weight(idle, STREAMS_WINDOW_S)
            self._updated_at = now

    def _delay_with(self, streams: int, delay: float) -> float:
        """Return the delay expected with `streams` open, from the present one.

        The share of the capacity in use follows from the decode delay alone, whose lone cost is
        known.
        """
        if not self._lone_delays or streams <= self._streams:
            return delay
        if self._decode_delay <= (lone := self._lone_delay):
            return delay
        free = lone / self._decode_delay
        left = 1 - (1 - free) * streams / max(self._streams, 1.0)
        return delay * free / left if left > 1 - MAX_PLANNED_UTILISATION else math.inf


def _weight(seconds: float, window_s: float) -> float:
    """Return the weight of the last `seconds` in an exponential average over `window_s`."""
    return 1 - math.exp(-seconds / window_s)
