"""The production model itself, on the recording its authors published with it.

Proves on a user's machine that the download, the weights and the engine fit together:
`pytest -m hub tests/models`. The model is kept in ./models.
"""

import wave
from pathlib import Path

import numpy as np
import pytest

from asr_server.asr.loading.verify import verify
from asr_server.models import registry
from asr_server.models.catalog import PRODUCTION, PUNCTUATION
from asr_server.settings import Settings
from tests.support.backends import load_backend
from tests.support.chunks import transcribe
from tests.support.processes import ROOT, asr_server

pytestmark = [pytest.mark.hub, pytest.mark.timeout(3600)]

# As FunASR 1.2.3 prints it chunk by chunk, with chunk_size [0, 10, 5] and look-back 4 and 1.
TEXT_OF_CHUNKS = ["", "", "欢迎大", "家来", "体验达", "摩院推", "出的语", "音识", "别模型", ""]
SETTINGS = Settings(model_dir=str(ROOT / "models"))


@pytest.fixture(scope="module")
def production() -> Path:
    return registry.download(PRODUCTION, SETTINGS)


def test_what_was_downloaded_is_whole(production):
    assert [check for check in verify(production) if check.problem] == []


def test_each_chunk_of_its_own_recording_gives_the_text_of_funasr(production):
    with wave.open(str(production / "example" / "asr_example.wav")) as recording:
        assert recording.getframerate() == 16_000
        frames = recording.readframes(recording.getnframes())
    samples = np.frombuffer(frames, "<i2").astype(np.float32) / 32768
    chunks = transcribe(load_backend(production), samples)
    assert ["".join(token.piece for token in chunk) for chunk in chunks] == TEXT_OF_CHUNKS


def test_the_whole_way_adds_punctuation(production):
    registry.download(PUNCTUATION, SETTINGS)
    recording = str(production / "example" / "asr_example.wav")
    done = asr_server("transcribe", recording, cwd=ROOT)
    assert done.stdout.strip().rstrip("。") == "".join(TEXT_OF_CHUNKS), done.stderr
    assert done.stdout.strip().endswith("。")
