"""Real recognition, cut anywhere: the finals hold all speech once, up to the last character."""

import asyncio
import itertools
import json
import random
from pathlib import Path

import numpy as np
import pytest

from asr_server.asr.run.backend import PyTorchBackend
from asr_server.asr.types import StreamOptions
from asr_server.audio.endpointer import EndpointingOptions
from asr_server.audio.units import Pcm, from_ms
from asr_server.recognition import EndOfStream, Hypothesis
from tests.support.backends import load_backend
from tests.support.decoding import decode_wave
from tests.support.engines import engine_with

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "src" / "asr_server" / "models" / "demo" / "asr"
DATA = ROOT / "tests" / "data"
TIMEOUT_S = 60


@pytest.fixture(scope="module", params=[1, 2], ids=["one worker", "two workers"])
def backend(request: pytest.FixtureRequest) -> PyTorchBackend:
    return load_backend(MODEL, step_threads=request.param, max_tasks=8)


def recording(name: str) -> Pcm:
    return decode_wave((DATA / name).read_bytes())


async def recognise(
    backend: PyTorchBackend, audio: Pcm, options: StreamOptions, pieces: int = 1
) -> list[Hypothesis]:
    engine = engine_with(lambda: backend)
    await engine.start()
    stream = engine.open(options)
    places = sorted(random.Random(pieces).sample(range(len(audio)), pieces - 1))
    for piece in np.split(audio, places):
        stream.push(piece)
        await asyncio.sleep(0)
    stream.finish()
    finals = []
    while not isinstance(event := await asyncio.wait_for(stream.next(), TIMEOUT_S), EndOfStream):
        if event.final:
            finals.append(event)
    stream.close()
    await engine.stop()
    return finals


def text(finals: list[Hypothesis]) -> str:
    return "".join(token.piece for final in finals for token in final.tokens)


async def test_the_last_character_is_recognised_wherever_the_audio_stops(
    backend: PyTorchBackend,
) -> None:
    manifest = json.loads((DATA / "manifest.json").read_text("utf-8"))
    phone = next(entry for entry in manifest if entry["file"] == "phone.wav")
    audio = recording("phone.wav")
    for count in range(2, len(phone["text"]) + 1, 2):
        end = from_ms(phone["characters"][count - 1]["end_ms"])
        finals = text(await recognise(backend, audio[:end], StreamOptions(interim=False)))
        assert len(finals) in (count, count + 1), (count, finals)
        assert finals[: count - 1] == phone["text"][: count - 1]


@pytest.mark.parametrize("name", ["phone.wav", "two_sentences.wav"])
@pytest.mark.parametrize("interim", [True, False])
async def test_text_does_not_depend_on_the_cutting_into_messages(
    backend: PyTorchBackend, name: str, interim: bool
) -> None:
    audio = recording(name)
    whole = await recognise(backend, audio, StreamOptions(interim=False))
    for pieces in (2, 17, 90):
        cut = await recognise(backend, audio, StreamOptions(interim=interim), pieces)
        assert [final.tokens for final in cut] == [final.tokens for final in whole]


@pytest.mark.parametrize("silence_ms", [200, 800, 6000])
async def test_finals_follow_one_another_whatever_silence_was_asked_for(
    backend: PyTorchBackend, silence_ms: int
) -> None:
    options = StreamOptions(EndpointingOptions(max_sentence_silence_ms=silence_ms), interim=False)
    finals = await recognise(backend, recording("two_sentences.wav"), options)
    assert len(finals) == (1 if silence_ms == 6000 else 2)
    for one, other in itertools.pairwise(finals):
        assert (one.end or 0) <= other.begin
    tokens = [token for final in finals for token in final.tokens]
    assert all(one.end <= other.begin for one, other in itertools.pairwise(tokens))
    assert 16 <= len(tokens) <= 24
