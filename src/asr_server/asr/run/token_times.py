"""Find where tokens begin and end from the weights of the timestamp head.

The rules are those of FunASR's `ts_prediction_lfr6_standard`: the weights are scaled to one more
than the number of tokens, and a token reaches from one crossing of a whole number to the next.
"""

import numpy as np
from numpy.typing import NDArray

from asr_server.audio.units import Samples

GRID: Samples = 320
"""Samples of a frame of the head: 20 ms."""
SHIFT = -1.5
"""Frames from where a weight crosses to where the token begins."""
LONGEST = 12
"""Frames of the longest token: what follows is silence."""
SILENCE = 5
"""Frames after the last crossing from which silence follows the last token."""
THRESHOLD = 1.0 - 1e-4


def token_times(
    weights: NDArray[np.float32], tokens: int, samples: Samples
) -> list[tuple[Samples, Samples]]:
    """Return where each of the tokens begins and ends in a sentence of so many samples.

    `weights` are those of the sentence's frames, (frames,).
    """
    if not tokens:
        return []
    total = float(weights.sum(dtype=np.float64))
    even = np.full(len(weights), 1.0 / len(weights))
    scaled = (weights.astype(np.float64) / total if total > 0 else even) * (tokens + 1)
    levels = THRESHOLD * np.arange(1, tokens + 2)
    frames = np.searchsorted(scaled.cumsum(), levels).clip(max=len(weights) - 1)
    order = np.arange(tokens + 1)
    frames = np.maximum.accumulate(frames - order) + order  # one crossing in a frame
    places = frames + SHIFT
    begins, ends = places[:-1], np.minimum(places[1:], places[:-1] + LONGEST)
    if places[-1] - places[-2] <= LONGEST:  # else silence follows the last token already
        rest = len(weights) - places[-1]
        ends[-1] = len(weights) - rest / 2 if rest > SILENCE else len(weights)
    times = np.stack((begins, np.maximum(begins, ends)), axis=1) * GRID
    return [(int(begin), int(end)) for begin, end in times.clip(0, samples)]
