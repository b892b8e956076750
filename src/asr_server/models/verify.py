"""Check that a model directory is complete and of a kind this server runs, without running it."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
import yaml

from asr_server.models.download import MANIFEST, difference

Shapes: TypeAlias = dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Check:
    """Hold the result of one check of a file."""

    file: str
    what: str
    """What was checked of the file."""
    problem: str | None
    """What is wrong and how to repair it, or None."""


def verify(directory: Path) -> list[Check]:
    """Return the results of all checks of a model directory; raises for no damage."""
    return [*_published(directory), *_contents(directory)]


def damage(directory: Path) -> str | None:
    """Return which file of a model directory is damaged, why, and what to do, or None."""
    for check in _contents(directory):
        if check.problem:
            return (
                f"{directory.name}/{check.file} {check.problem}. Put a whole file there: "
                "`asr-server models download` fetches the models by name"
            )
    return None


def _contents(directory: Path) -> list[Check]:
    config, no_config = _config(directory / "config.yaml")
    tokens, no_tokens = _tokens(directory / "tokens.json")
    shapes, no_shapes = _shapes(directory / "model.pt")
    checks = [
        Check("config.yaml", "content", no_config),
        Check("tokens.json", f"{len(tokens)} tokens", no_tokens),
        Check("model.pt", f"{len(shapes)} tensors", no_shapes),
    ]
    if (directory / "am.mvn").exists():  # punctuation models have none
        checks.append(Check("am.mvn", "means and variances", _statistics(directory / "am.mvn")))
    if config and tokens and shapes:
        checks.append(_consistency(config, tokens, shapes))
    return checks


def _consistency(config: dict[str, Any], tokens: list[str], shapes: Shapes) -> Check:
    what = "tensors as in config.yaml"
    try:
        expected = _expected(config, len(tokens))
    except (KeyError, TypeError) as exc:
        problem = f"does not describe a model of this kind ({exc} is missing)"
        return Check("config.yaml", what, problem)
    differences = [
        f"{name} is {list(shapes[name]) if name in shapes else 'missing'}, not {list(shape)}"
        for name, shape in expected.items()
        if shapes.get(name) != shape
    ]
    misfit = f"does not fit config.yaml: {'; '.join(differences)}" if differences else None
    return Check("model.pt", what, misfit)


def _published(directory: Path) -> list[Check]:
    """Compare the files of a downloaded directory with the published sizes and hashes."""
    manifest = directory / MANIFEST
    if not manifest.is_file():
        return []
    checks = []
    for name, published in json.loads(manifest.read_text(encoding="utf-8"))["files"].items():
        path, sha256 = directory / name, published["sha256"]
        found = difference(path, published["size"], sha256) if path.is_file() else "is missing"
        if found:
            found += f"; remove {path} and download the model again"
        checks.append(Check(name, f"{'SHA-256' if sha256 else 'size'} as published", found))
    return checks


def _config(path: Path) -> tuple[dict[str, Any], str | None]:
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        return {}, _unreadable(exc)
    if not isinstance(config, dict) or "encoder_conf" not in config:
        return {}, "describes no model: `encoder_conf` is missing"
    return config, None


def _tokens(path: Path) -> tuple[list[str], str | None]:
    try:
        tokens = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        return [], _unreadable(exc)
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        return [], "is not a list of strings"
    return tokens, None


def _shapes(path: Path) -> tuple[Shapes, str | None]:
    try:
        # Memory-mapped: the largest file is close to a gigabyte, and only shapes are needed.
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        with zipfile.ZipFile(path) as archive:  # torch does not check the checksums
            damaged = archive.testzip() is not None
    except Exception as exc:  # torch raises many kinds of errors for broken files
        return {}, _unreadable(exc)
    for wrapper in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    shapes = {k: tuple(v.shape) for k, v in state.items() if isinstance(v, torch.Tensor)}
    if damaged:
        return shapes, "is damaged: its checksums are wrong"
    return shapes, None if shapes else "holds no tensors"


def _statistics(path: Path) -> str | None:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        return _unreadable(exc)
    whole = all(tag in text for tag in ("<AddShift>", "<Rescale>", "</Nnet>"))
    return None if whole else "holds no means and variances"


def _expected(config: dict[str, Any], vocabulary: int) -> Shapes:
    """Return the shapes of the first and last layers and of those that depend on the vocabulary."""
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


def _unreadable(exc: Exception) -> str:
    lines = str(exc).splitlines()
    return f"cannot be read: {lines[0] if lines else type(exc).__name__}"
