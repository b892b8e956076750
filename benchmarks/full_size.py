"""Make random weights of the production models' sizes, and speech to measure them with.

Random weights fire about twice as many tokens as speech has, and each token costs decoder time. The
bias of CIF's output is therefore moved until `PACE` tokens fire in a chunk of the speech below. All
engines are measured with these weights.
"""

import json
import wave
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from asr_server.audio.units import SAMPLE_RATE, Pcm, from_ms
from tests.support.backends import load_backend
from tests.support.chunks import transcribe
from tests.support.funasr_model import random_config, write_model_dir
from tests.support.funasr_offline import random_offline_config, write_offline_dir

MODEL = Path("build/full_size_paced")
SECOND_PASS = Path("build/full_size_second_pass")
SPEECH = Path("build/speech.wav")
RECORDINGS = Path("tests/data")
VOCABULARY = 8_404
PACE = 3.0
"""Tokens per 600 ms: 300 characters a minute, ordinary speech."""
PAUSE_MS = 200
"""Longer pauses in the recordings are cut to this, so that every chunk is decoded."""


def full_size() -> Path:
    """Return the model directory, made at the first call."""
    if not (MODEL / "paced").exists():
        config = random_config(512, 50, 16)
        config["encoder_conf"]["linear_units"] = config["decoder_conf"]["linear_units"] = 2048
        write_model_dir(MODEL, config, _vocabulary())
        weights = torch.load(MODEL / "model.pt", weights_only=True)
        weights["predictor.cif_output.bias"] += _shift_for_pace()
        torch.save(weights, MODEL / "model.pt")
        (MODEL / "paced").touch()
    return MODEL


def full_size_second_pass() -> Path:
    """Return the directory of the offline model, with hotwords, made at the first call."""
    if not (SECOND_PASS / "paced").exists():
        config = random_offline_config(VOCABULARY, 512, 50, 16)
        config["encoder_conf"]["linear_units"] = config["decoder_conf"]["linear_units"] = 2048
        config["seaco_decoder_conf"]["linear_units"] = 1024
        audio, pace = speech()[: 20 * SAMPLE_RATE], 10 / PACE
        write_offline_dir(SECOND_PASS, config, _vocabulary(), samples=audio, frames_per_token=pace)
        (SECOND_PASS / "paced").touch()
    return SECOND_PASS


def _vocabulary() -> list[str]:
    characters = (chr(0x4E00 + n) for n in range(VOCABULARY - 4))
    return ["<blank>", "<s>", "</s>", *characters, "<unk>"]


def speech() -> Pcm:
    """Return (n,) samples: the demo model's test recordings end to end, without long pauses."""
    pieces = []
    for entry in json.loads((RECORDINGS / "manifest.json").read_text("utf-8")):
        with wave.open(str(RECORDINGS / entry["file"])) as file:
            pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        spans = [(c["begin_ms"], c["end_ms"]) for c in entry["characters"]]
        cuts = [(a, b) for (_, a), (b, _) in pairwise(spans) if b - a > PAUSE_MS]
        begins = [spans[0][0], *(b - PAUSE_MS // 2 for _, b in cuts)]
        ends = [*(a + PAUSE_MS // 2 for a, _ in cuts), spans[-1][1]]
        pieces += [pcm[from_ms(a) : from_ms(b)] for a, b in zip(begins, ends, strict=True)]
    return np.concatenate(pieces).astype(np.float32) / 32_768


def write_speech() -> Path:
    """Write `speech()` to a file, for processes of other environments."""
    SPEECH.parent.mkdir(exist_ok=True)
    with wave.open(str(SPEECH), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((speech() * 32_768).astype("<i2").tobytes())
    return SPEECH


def _shift_for_pace() -> float:
    """Return the bias shift that makes the mean CIF weight of ten frames `PACE`."""
    backend = load_backend(MODEL, max_tasks=1)
    predictor = backend.paraformer.predictor
    outputs: list[torch.Tensor] = []
    hook = predictor.cif_output.register_forward_hook(
        lambda *call: outputs.append(call[2].flatten())
    )
    transcribe(backend, speech()[: 20 * SAMPLE_RATE])
    hook.remove()
    scores = torch.cat(outputs)
    low, high = -20.0, 20.0
    for _ in range(40):
        middle = (low + high) / 2
        pace = 10 * (scores + middle).sigmoid().mean().item()
        low, high = (low, middle) if pace > PACE else (middle, high)
    return low
