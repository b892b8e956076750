"""A FunASR model directory: what lies in it and how it is read."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

CONFIG, WEIGHTS, TOKENS, CMVN = "config.yaml", "model.pt", "tokens.json", "am.mvn"


@dataclass(frozen=True, slots=True)
class ModelDir:
    """One model's files, read but not yet built."""

    path: Path
    config: dict[str, Any]
    tokens: tuple[str, ...]

    @classmethod
    def open(cls, path: Path) -> "ModelDir":
        """Read the small files; raises `FileNotFoundError` or `ValueError` naming the culprit."""
        for name in (CONFIG, WEIGHTS, TOKENS):
            if not (path / name).is_file():
                raise FileNotFoundError(f"{path} is no model directory: {name} is missing")
        config = yaml.safe_load((path / CONFIG).read_text(encoding="utf-8"))
        tokens = json.loads((path / TOKENS).read_text(encoding="utf-8"))
        if not isinstance(config, dict) or not isinstance(tokens, list):
            raise ValueError(f"{path}: {CONFIG} or {TOKENS} does not hold what it should")
        return cls(path, config, tuple(tokens))

    def weights(self) -> dict[str, Tensor]:
        """The checkpoint's tensors, mapped rather than read; nothing in it can run code.

        Raises `ValueError` where it cannot be read or where a bit of it has flipped.
        """
        path = self.path / WEIGHTS
        try:
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            # Torch leaves the checksums alone: weights that rotted would load and be wrong.
            with zipfile.ZipFile(path) as archive:
                if archive.testzip():
                    raise zipfile.BadZipFile(WEIGHTS)
        except Exception as exc:
            raise ValueError(f"{path} is damaged: download it again") from exc
        state = state.get("state_dict", state)
        return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def load_weights(module: torch.nn.Module, weights: dict[str, Tensor], what: str) -> None:
    """Give a module its tensors; what only training needs may be left over, nothing may lack.

    They stay pages of the file until `own`, so that a large model is never in memory twice. Raises
    `ValueError` when a tensor is missing or has another shape.
    """
    try:
        missing = module.load_state_dict(weights, strict=False, assign=True).missing_keys
    except RuntimeError as exc:
        raise ValueError(f"{what}: the weights do not fit the configuration") from exc
    if missing:
        raise ValueError(f"{what}: {len(missing)} tensors are missing, such as {missing[0]}")


def own(module: torch.nn.Module) -> None:
    """Copy what is left of a file's pages: another file may take its place while we run."""
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.layout is torch.strided:  # else it was laid out anew already
            tensor.data = tensor.data.clone()
