"""Make random weights of the production model's size, and speech to measure them with.

Random weights fire about twice as many tokens as speech has, and each token costs decoder time. The
bias of CIF's output is therefore moved until `PACE` tokens fire in a chunk of the speech below. All
engines are measured with these weights.
"""

import json
import wave
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from tests.support.funasr_offline import random_offline_config, write_offline_dir

from asr_server.asr.types import SecondPassWork
from asr_server.audio.units import SAMPLE_RATE, Pcm, from_ms
from tests.support.backends import load_backend
from tests.support.chunks import transcribe
from tests.support.funasr_model import random_config, write_model_dir

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
        tokens = ["<blank>", "<s>", "</s>", *(chr(0x4E00 + n) for n in range(VOCABULARY - 4))]
        write_model_dir(MODEL, config, [*tokens, "<unk>"])
        weights = torch.load(MODEL / "model.pt", weights_only=True)
        backend = load_backend(MODEL, max_tasks=1)
        samples = speech()[: 20 * SAMPLE_RATE]
        output = backend.paraformer.predictor.cif_output
        shift = _shift_for_pace(output, lambda: transcribe(backend, samples))
        weights["predictor.cif_output.bias"] += shift
        torch.save(weights, MODEL / "model.pt")
        (MODEL / "paced").touch()
    return MODEL


def full_size_second_pass() -> Path:
    """Return the offline model's directory, with the same tokens, made at the first call."""
    if not (SECOND_PASS / "paced").exists():
        tokens = json.loads((full_size() / "tokens.json").read_text("utf-8"))
        config = random_offline_config(len(tokens), 512, 50, 16)
        config["encoder_conf"]["linear_units"] = config["decoder_conf"]["linear_units"] = 2048
        config["seaco_decoder_conf"]["linear_units"] = 1024
        write_offline_dir(SECOND_PASS, config, tokens)
        weights = torch.load(SECOND_PASS / "model.pt", weights_only=True)
        backend = load_backend(full_size(), second_pass=SECOND_PASS, max_tasks=1)
        assert backend.offline is not None
        work = SecondPassWork(speech()[: 20 * SAMPLE_RATE])
        predictor = backend.offline.network.predictor
        shift = _shift_for_pace(predictor.cif_output, lambda: backend.correct([work]))
        weights["predictor.cif_output.bias"] += shift
        torch.save(weights, SECOND_PASS / "model.pt")
        (SECOND_PASS / "paced").touch()
    return SECOND_PASS


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


def _shift_for_pace(cif_output: torch.nn.Module, run: Callable[[], object]) -> float:
    """Return the bias shift that makes the mean CIF weight of ten frames in a run `PACE`."""
    outputs: list[torch.Tensor] = []
    hook = cif_output.register_forward_hook(lambda *call: outputs.append(call[2].flatten()))
    run()
    hook.remove()
    scores = torch.cat(outputs)
    low, high = -20.0, 20.0
    for _ in range(40):
        middle = (low + high) / 2
        pace = 10 * (scores + middle).sigmoid().mean().item()
        low, high = (low, middle) if pace > PACE else (middle, high)
    return low
