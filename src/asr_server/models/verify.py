"""Is a model directory whole, and is it the kind of model this server runs? Nothing is computed."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
import yaml

from asr_server.models.download import MANIFEST, wrong

Shapes: TypeAlias = dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    what: str
    problem: str | None
    """What is wrong and what to do about it, or None."""


def verify(directory: Path) -> list[Check]:
    """Look at every file of a model directory; never raises for what it finds there."""
    checks = _published(directory)
    config, problem = _config(directory / "config.yaml")
    checks.append(Check("config.yaml", problem))
    tokens, problem = _tokens(directory / "tokens.json")
    checks.append(Check(f"tokens.json ({len(tokens)} tokens)", problem))
    shapes, problem = _shapes(directory / "model.pt")
    checks.append(Check(f"model.pt ({len(shapes)} tensors)", problem))
    if config and tokens and shapes:
        checks.append(Check("tensors as in config.yaml", _differences(config, tokens, shapes)))
    return checks


def damage(directory: Path) -> str | None:
    """Which file of a model directory cannot be used, why, and what to do; None if all are fine."""
    config, no_config = _config(directory / "config.yaml")
    tokens, no_tokens = _tokens(directory / "tokens.json")
    shapes, no_shapes = _shapes(directory / "model.pt")
    problems = {
        "config.yaml": no_config,
        "tokens.json": no_tokens,
        "model.pt": no_shapes,
        "am.mvn": _statistics(directory / "am.mvn"),
    }
    found = next((f"{name} {problem}" for name, problem in problems.items() if problem), None)
    found = found or _differences(config, tokens, shapes)
    return found and (
        f"{directory.name}/{found}. Put a whole file there: "
        "`asr-server models download` fetches the models by name"
    )


def _differences(config: dict[str, Any], tokens: list[str], shapes: Shapes) -> str | None:
    try:
        expected = _expected(config, len(tokens))
    except (KeyError, TypeError) as exc:
        return f"config.yaml does not describe a model of this kind ({exc} is missing)"
    found = [
        f"{name} is {list(shapes[name]) if name in shapes else 'missing'}, not {list(shape)}"
        for name, shape in expected.items()
        if shapes.get(name) != shape
    ]
    return f"model.pt does not fit config.yaml: {'; '.join(found)}" if found else None


def _published(directory: Path) -> list[Check]:
    """Sizes and hashes as the hub published them, for a directory this server downloaded."""
    manifest = directory / MANIFEST
    if not manifest.is_file():
        return []
    checks = []
    for name, about in json.loads(manifest.read_text(encoding="utf-8"))["files"].items():
        path = directory / name
        found = wrong(path, about["size"], about["sha256"]) if path.is_file() else "is missing"
        if found:
            found += f"; remove {path} and download the model again"
        how = "SHA-256" if about["sha256"] else "size"
        checks.append(Check(f"{name}: {how} as published", found))
    return checks


def _config(path: Path) -> tuple[dict[str, Any], str | None]:
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        return {}, _said(exc)
    if not isinstance(config, dict) or "encoder_conf" not in config:
        return {}, "describes no model: `encoder_conf` is missing"
    return config, None


def _tokens(path: Path) -> tuple[list[str], str | None]:
    try:
        tokens = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        return [], _said(exc)
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        return [], "is not a list of strings"
    return tokens, None


def _shapes(path: Path) -> tuple[Shapes, str | None]:
    try:
        # Mapped: the largest file is close to a gigabyte, and only the shapes in it matter here.
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        with zipfile.ZipFile(path) as archive:  # torch leaves the checksums alone
            rotten = archive.testzip() is not None
    except Exception as exc:  # torch raises a different kind for every way a file can be broken
        return {}, _said(exc)
    for wrapper in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    shapes = {k: tuple(v.shape) for k, v in state.items() if isinstance(v, torch.Tensor)}
    if rotten:
        return shapes, "is damaged: its checksums are wrong"
    return shapes, None if shapes else "holds no tensors"


def _statistics(path: Path) -> str | None:
    if not path.exists():  # as in every punctuation model
        return None
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        return _said(exc)
    whole = all(tag in text for tag in ("<AddShift>", "<Rescale>", "</Nnet>"))
    return None if whole else "holds no means and variances"


def _expected(config: dict[str, Any], vocabulary: int) -> Shapes:
    """A few telling tensors: first and last layers, whatever depends on the vocabulary."""
    encoder = config["encoder_conf"]
    d = encoder["output_size"]
    if "decoder_conf" not in config:  # a punctuation model
        return {"embed.weight": (vocabulary, config["model_conf"]["embed_unit"])}
    decoder = config["decoder_conf"]
    frontend = config.get("frontend_conf", {})
    features = frontend.get("n_mels", 80) * frontend.get("lfr_m", 7)
    return {
        "encoder.encoders0.0.self_attn.linear_q_k_v.weight": (3 * d, features),
        f"encoder.encoders.{encoder['num_blocks'] - 2}.feed_forward.w_2.weight": (
            d,
            encoder["linear_units"],
        ),
        "encoder.after_norm.weight": (d,),
        "predictor.cif_output.weight": (1, d),
        f"decoder.decoders.{decoder['att_layer_num'] - 1}.src_attn.linear_k_v.weight": (2 * d, d),
        "decoder.output_layer.weight": (vocabulary, d),
    }


def _said(exc: Exception) -> str:
    lines = str(exc).splitlines()
    return f"cannot be read: {lines[0] if lines else type(exc).__name__}"
