"""Endpoints on human recordings, where a collection of them lies beside the project."""

import json
from pathlib import Path

import numpy as np
import pytest

from asr_server.asr.run.vad_runner import VadRunner
from asr_server.asr.types import VadWork
from asr_server.audio.endpointer import (
    WINDOW,
    Endpointer,
    EndpointingOptions,
    SentenceEnded,
    SpeechBegan,
)
from asr_server.audio.units import to_ms
from tests.support.decoding import decode_wave

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="no collection of recordings here")

Span = tuple[int, int]


def sentences(path: Path, silence_ms: int = 800) -> tuple[list[Span], int]:
    """Begin and end of every sentence, and the length of the recording, in milliseconds."""
    samples = decode_wave(path.read_bytes())
    windows = -(-len(samples) // WINDOW)
    padded = np.pad(samples, (0, windows * WINDOW - len(samples)))
    endpointer = Endpointer(EndpointingOptions(max_sentence_silence_ms=silence_ms))
    changes = [
        change
        for probability in VadRunner(2).detect([VadWork(1, True, padded)])[0]
        for change in endpointer.accept(float(probability))
    ]
    changes += endpointer.finish(len(samples))
    begins = [to_ms(change.begin) for change in changes if isinstance(change, SpeechBegan)]
    ends = [to_ms(change.end) for change in changes if isinstance(change, SentenceEnded)]
    return list(zip(begins, ends, strict=True)), to_ms(len(samples))


def test_speech_that_another_detector_finds_is_not_lost() -> None:
    """FSMN-VAD's published segments of 70 s of running speech."""
    references = json.loads((DATA / "refs" / "streaming_reference.json").read_text("utf-8"))
    reference = references["fsmn_vad"]
    ours, length = sentences(DATA / reference["audio"])
    grid = np.zeros(length + 1, dtype=bool)
    for begin, end in ours:
        grid[max(0, begin - 300) : end + 200] = True  # pre-roll and hangover are fed too
    found = sum(int(grid[begin:end].sum()) for begin, end in reference["segments_ms"])
    assert found / sum(end - begin for begin, end in reference["segments_ms"]) > 0.97


def test_pauses_in_running_speech_are_found() -> None:
    ours, length = sentences(DATA / "audio/funasr/vad_example.wav", silence_ms=300)
    assert length > 60_000
    assert len(ours) >= 6


def test_every_read_sentence_of_a_corpus_is_found() -> None:
    recordings = sorted((DATA / "audio/aishell_sample").glob("*.wav"))[:40]
    assert recordings
    for path in recordings:
        ours, length = sentences(path)
        spoken = sum(end - begin for begin, end in ours)
        assert len(ours) >= 1, path.name
        assert spoken > 0.3 * length, path.name
