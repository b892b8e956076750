"""Read the files of a FunASR model directory.

Each reader raises `ValueError` whose text continues the file's name: "is not a list of strings".
"""

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
import yaml
from torch import Tensor

from asr_server.asr.nn.frontend import FEATURES

T = TypeVar("T")

SPECIAL_TOKENS = frozenset({"<blank>", "<s>", "</s>"})
"""Tokens without text; FunASR drops them too."""

CONFIG, WEIGHTS, TOKENS, CMVN = "config.yaml", "model.pt", "tokens.json", "am.mvn"


@dataclass(frozen=True, slots=True)
class ModelDir:
    """Hold the small files of a model, and read the others."""

    path: Path
    config: dict[str, Any]
    tokens: tuple[str, ...]

    @classmethod
    def open(cls, path: Path) -> "ModelDir":
        """Read the small files; raises `FileNotFoundError` or `ValueError` that name the file."""
        for name in (CONFIG, WEIGHTS, TOKENS):
            if not (path / name).is_file():
                raise FileNotFoundError(f"{path} is no model directory: {name} is missing")
        return cls(
            path, _read(path / CONFIG, read_config), tuple(_read(path / TOKENS, read_tokens))
        )

    def weights(self) -> dict[str, Tensor]:
        """Return the checkpoint's tensors; raises `ValueError` that names the file."""
        return _read(self.path / WEIGHTS, read_weights)

    def cmvn(self) -> tuple[Tensor, Tensor]:
        """Return the features' shift and scale (560,); raises `ValueError` that names the file."""
        return _read(self.path / CMVN, read_cmvn)


def _read(path: Path, reader: Callable[[Path], T]) -> T:
    try:
        return reader(path)
    except ValueError as exc:
        raise ValueError(f"{path} {exc}") from exc


def read_config(path: Path) -> dict[str, Any]:
    """Return a model's `config.yaml`."""
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        raise _unreadable(exc) from exc
    if not isinstance(config, dict) or "encoder_conf" not in config:
        raise ValueError("describes no model: `encoder_conf` is missing")
    return config


def read_tokens(path: Path) -> list[str]:
    """Return a model's vocabulary."""
    try:
        tokens = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise _unreadable(exc) from exc
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise ValueError("is not a list of strings")
    return tokens


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return a checkpoint's tensors, mapped rather than read; nothing in it can run code.

    An int8 matrix comes with a tensor `<name>.scale` (rows,) and is returned as floats: row n is
    `scale[n]` times the integers. The demo's offline model is stored so.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        with zipfile.ZipFile(path) as archive:  # torch does not check the checksums
            damaged = archive.testzip() is not None
    except Exception as exc:  # torch raises a different kind for every way a file can be broken
        raise _unreadable(exc) from exc
    if damaged:
        raise ValueError("is damaged: its checksums are wrong")
    for wrapper in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    tensors = {
        name.removeprefix("module."): value
        for name, value in state.items()
        if isinstance(value, Tensor)
    }
    if not tensors:
        raise ValueError("holds no tensors")
    return _multiplied(tensors)


def _multiplied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return int8 matrices as floats, and the others as they are."""
    scaled = [name for name in tensors if f"{name}.scale" in tensors]
    for name in scaled:
        rows, scale = tensors[name].float().flatten(1), tensors.pop(f"{name}.scale").float()
        if scale.shape != rows.shape[:1]:
            raise ValueError(f"is damaged: {name} has {len(rows)} rows, {scale.numel()} scales")
        tensors[name] = (rows * scale[:, None]).view(tensors[name].shape)
    return tensors


def read_cmvn(path: Path) -> tuple[Tensor, Tensor]:
    """Return the `<AddShift>` and `<Rescale>` vectors (560,) of a Kaldi nnet file."""
    try:
        words = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as exc:
        raise _unreadable(exc) from exc
    try:
        words.index("</Nnet>")  # else the file is cut off
        shift, scale = (_vector_after(words, tag) for tag in ("<AddShift>", "<Rescale>"))
    except ValueError as exc:
        raise ValueError("holds no means and variances") from exc
    if not shift.numel() == scale.numel() == FEATURES:
        raise ValueError(f"has {shift.numel()} values, the model needs {FEATURES}")
    return shift, scale


def _vector_after(words: list[str], tag: str) -> Tensor:
    begin = words.index("[", words.index(tag)) + 1
    end = words.index("]", begin)
    return torch.tensor([float(word) for word in words[begin:end]])


def _unreadable(exc: Exception) -> ValueError:
    lines = str(exc).splitlines()
    return ValueError(f"cannot be read: {lines[0] if lines else type(exc).__name__}")
