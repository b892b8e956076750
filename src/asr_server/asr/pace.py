"""Tell live audio from audio that is sent as fast as a file can be read. Pure: no clock."""

LIVE_PACE = 1.25
"""Seconds of audio in a second that may still come from a microphone, whose clock is its own."""
LIVE_LEAD_S = 1.0
"""How far ahead of that pace live audio may be: clients send what they recorded while they
connected."""


class Pace:
    """Measure how far a stream's audio is ahead of `LIVE_PACE`; times in seconds."""

    def __init__(self, now: float) -> None:
        self._lead_s = 0.0
        self._updated_at = now
        self._ended = False

    def push(self, audio_s: float, now: float) -> None:
        """Note that audio of some duration has arrived."""
        self._lead_s = self._lead_at(now) + audio_s
        self._updated_at = now

    def end(self, now: float) -> None:
        """Keep the lead as it is: no more audio comes."""
        self._lead_s = self._lead_at(now)
        self._ended = True

    def live(self, now: float) -> bool:
        """Return whether the audio comes in real time."""
        return self._lead_at(now) < LIVE_LEAD_S

    def _lead_at(self, now: float) -> float:
        if self._ended:
            return self._lead_s
        return max(0.0, self._lead_s - LIVE_PACE * (now - self._updated_at))
