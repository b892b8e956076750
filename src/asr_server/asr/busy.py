"""How busy the device is. Pure: no clock."""

import math

MEMORY_S = 1.0


class BusyShare:
    """Share of recent time that the device's lanes computed, where the past fades."""

    def __init__(self, lanes: int = 1) -> None:
        self._lanes = lanes
        self._busy_s = 0.0
        """Within about the last `MEMORY_S`."""
        self._at = 0.0

    def add(self, now: float, busy_s: float) -> None:
        """One lane computed for that long until now."""
        self._fade(now)
        self._busy_s += busy_s

    def at(self, now: float) -> float:
        """0 to 1."""
        self._fade(now)
        return min(1.0, self._busy_s / (self._lanes * MEMORY_S))

    def _fade(self, now: float) -> None:
        self._busy_s *= math.exp(-(now - self._at) / MEMORY_S)
        self._at = now
