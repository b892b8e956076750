"""Compute the evidence for hotwords on numpy: the reference for `asr/run/evidence.py`."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from asr_server.asr.hotwords import Evidence, HotwordSet


def reference_evidence(words: HotwordSet, scores: NDArray[np.float32]) -> Evidence:
    """Return the evidence in the scores (N, V) of all tokens at N positions, such as logits."""
    relative = scores - scores.max(axis=1, keepdims=True)
    members, offsets, readings, penalties = words.sounds
    sums = np.zeros((len(scores), len(offsets)), dtype=np.float32)
    for syllable, (begin, end) in enumerate(pairwise(offsets)):
        sums[:, syllable] = np.exp(relative[:, members[begin:end]]).sum(axis=1)
    with np.errstate(divide="ignore"):
        same_sound = (np.log(sums)[:, readings] - penalties).max(axis=2)
    best: Evidence = np.minimum(np.maximum(relative[:, words.columns], same_sound), 0.0)
    return best
