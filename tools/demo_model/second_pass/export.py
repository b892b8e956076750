"""Write the second pass's directory, with matrices as 8-bit integers.

A matrix of at least `SMALLEST` numbers is stored as `<name>`, int8 with the original shape, and
`<name>.scale`, float16 [rows]: row n of the matrix is `scale[n] * int8[n]`. Other tensors are
float16.
"""

from pathlib import Path

import torch
from torch import Tensor

from tools.demo_model.export import write_pointers, write_tokens, write_yaml

from .architecture import TIED, configuration

SMALLEST = 20_000
LARGEST = 127
LEAST_SCALE = 2.0**-14
"""The smallest number that float16 holds with full precision."""


def packed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors as they are stored."""
    stored: dict[str, Tensor] = {}
    for name, value in weights.items():
        if value.ndim < 2 or value.numel() < SMALLEST or name in TIED:
            stored[name] = value.half().clone()
            continue
        scale = (value.flatten(1).abs().amax(1) / LARGEST).clamp(min=LEAST_SCALE).half()
        rows = (value.flatten(1) / scale.float()[:, None]).round().clamp(-LARGEST, LARGEST)
        stored[name] = rows.to(torch.int8).reshape(value.shape)
        stored[f"{name}.scale"] = scale
    for name, other in TIED.items():  # the same storage: torch writes it once
        stored[name] = stored[other]
        if f"{other}.scale" in stored:
            stored[f"{name}.scale"] = stored[f"{other}.scale"]
    return stored


def unpacked(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors as FunASR's classes have them, in float32."""
    scales = {name.removesuffix(".scale") for name in stored if name.endswith(".scale")}
    weights = {}
    for name, value in stored.items():
        if name.removesuffix(".scale") in scales and name.endswith(".scale"):
            continue
        value = value.float()
        if name in scales:
            scale = stored[f"{name}.scale"]
            value = value * scale.reshape(-1, *[1] * (value.ndim - 1))
        weights[name] = value
    return weights


def export(weights: dict[str, Tensor], tokens: list[str], cmvn: Path, folder: Path) -> None:
    """Write all files of the directory; `cmvn` is the streaming model's am.mvn."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(packed(weights), folder / "model.pt")
    write_yaml(folder / "config.yaml", configuration(len(tokens)))
    write_tokens(folder / "tokens.json", tokens)
    (folder / "am.mvn").write_bytes(cmvn.read_bytes())
    write_pointers(folder)
