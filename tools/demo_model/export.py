"""Write a model directory that FunASR's `AutoModel` and our server read."""

import json
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from .architecture import configuration
from .features import Normaliser


def _halved(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Half precision, which is half the file and no audible difference; plain tensors only."""
    return {
        name: (value.half() if value.is_floating_point() else value).clone()
        for name, value in state.items()
    }


def write_yaml(path: Path, config: dict[str, Any]) -> None:
    text = yaml.safe_dump(config, allow_unicode=True, sort_keys=False)
    path.write_text(text, encoding="utf-8")


def write_tokens(path: Path, tokens: list[str]) -> None:
    path.write_text(json.dumps(tokens, ensure_ascii=False, indent=0), encoding="utf-8")


def write_pointers(folder: Path, task: str = "auto-speech-recognition", cmvn: bool = True) -> None:
    """Write what FunASR's hub loader looks for: the names of the files beside it."""
    files: dict[str, object] = {
        "init_param": "model.pt",
        "config": "config.yaml",
        "tokenizer_conf": {"token_list": "tokens.json"},
    }
    if cmvn:
        files["frontend_conf"] = {"cmvn_file": "am.mvn"}
    pointers = {
        "framework": "pytorch",
        "task": task,
        "model": {"type": "funasr"},
        "file_path_metas": files,
    }
    (folder / "configuration.json").write_text(json.dumps(pointers, indent=2) + "\n", "utf-8")


def export_asr(
    checkpoint: Path,
    tokens: list[str],
    normaliser: Normaliser,
    folder: Path,
    weights_name: str = "average",
) -> None:
    """Export a checkpoint's "average" weights or its last "model"; also while training goes on."""
    folder.mkdir(parents=True, exist_ok=True)
    state = torch.load(checkpoint, weights_only=True)[weights_name]
    prefix = "paraformer."
    weights = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    torch.save(_halved(weights), folder / "model.pt")
    write_yaml(folder / "config.yaml", configuration(len(tokens)))
    write_tokens(folder / "tokens.json", tokens)
    (folder / "am.mvn").write_text(normaliser.kaldi_text(), encoding="ascii")
    write_pointers(folder)
