"""Check that the batched forward pass equals FunASR's own streaming inference.

Loads an exported model directory into FunASR and into ours, streams recordings of many lengths
through the first, and compares encoder outputs and tokens.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from funasr import AutoModel
from torch import Tensor

from .architecture import WIDTH
from .features import LFR_M, MELS, Normaliser, fbank, stack_frames
from .model import DemoModel
from .streaming_layout import OperatingPoint, arrange

STEP = 960  # samples in one model frame


@dataclass(frozen=True, slots=True)
class Agreement:
    """Largest difference of encoder outputs, and how many recordings gave the same tokens."""

    difference: float
    same: int
    recordings: int


def load(folder: Path) -> tuple[AutoModel, DemoModel]:
    """The exported model as FunASR has it, and ours with the same weights."""
    funasr_model = AutoModel(
        model=str(folder), device="cpu", disable_update=True, disable_log=True, disable_pbar=True
    )
    weights = funasr_model.model.state_dict()
    ours = DemoModel(len(weights["decoder.output_layer.bias"]))
    ours.paraformer.load_state_dict(weights)
    return funasr_model, ours.eval()


def stream(model: AutoModel, pcm: np.ndarray, point: OperatingPoint) -> tuple[Tensor, str]:
    """Feed a recording chunk by chunk: encoder outputs of all chunks in a row, and the text."""
    results: list[Tensor] = []
    inner = model.model
    original = inner.encode_chunk

    def listen(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        results.append(result[0][0].detach().clone())
        return result

    inner.encode_chunk = listen
    samples = pcm.astype(np.float32) / 32768
    size, cache, text = point.stride * STEP, {}, ""
    count = len(samples) // size + 1
    try:
        for index in range(count):
            result = model.generate(
                input=samples[index * size : (index + 1) * size],
                cache=cache,
                is_final=index == count - 1,
                chunk_size=[0, point.stride, point.look],
                encoder_chunk_look_back=point.encoder_look_back,
                decoder_chunk_look_back=point.decoder_look_back,
            )
            text += result[0]["text"] if result else ""
    finally:
        inner.encode_chunk = original
    return torch.cat(results), text


def compare(folder: Path, recordings: list[np.ndarray], point: OperatingPoint) -> Agreement:
    """Compare over recordings whose length leaves at least one frame for the last chunk.

    With less FunASR drops the remainder and scales the tail wrongly, which we do not copy.
    """
    funasr_model, ours = load(folder)
    cmvn = funasr_model.kwargs["frontend"].cmvn.numpy()
    normaliser = Normaliser(cmvn[0], cmvn[1])
    tokens = funasr_model.kwargs["tokenizer"].token_list
    worst, same = 0.0, 0
    for pcm in recordings:
        with torch.inference_mode():
            theirs, text = stream(funasr_model, pcm, point)
            frames = normaliser(torch.from_numpy(stack_frames(fbank(pcm))))[None]
            assert frames.shape[2] == LFR_M * MELS
            layout = arrange(frames, torch.tensor([frames.shape[1]]), point, WIDTH)
            encoded = ours.encode(layout)
            valid = layout.valid.flatten()
            hidden = encoded.hidden[0][valid]
            read = "".join(tokens[t] for t in ours.transcribe(layout)[0] if t > 2)
        if hidden.shape != theirs.shape:
            raise AssertionError(f"{hidden.shape} positions, FunASR has {theirs.shape}")
        worst = max(worst, float((hidden - theirs).abs().max()))
        same += int(read == text.replace(" ", ""))
    return Agreement(worst, same, len(recordings))
