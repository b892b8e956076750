"""Verify that a model directory is whole and holds a model this server runs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from asr_server import command
from asr_server.asr.loading.config import OFFLINE
from asr_server.asr.loading.model_dir import (
    CMVN,
    CONFIG,
    TOKENS,
    WEIGHTS,
    read_cmvn,
    read_config,
    read_tokens,
    read_weights,
)
from asr_server.models.catalog import ModelError
from asr_server.models.download import difference
from asr_server.models.lock import lock_path, read_lock

Shapes: TypeAlias = dict[str, tuple[int, ...]]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Check:
    """Hold the result of one check."""

    file: str
    what: str
    """What was checked of the file."""
    problem: str | None
    """The fault and what to do about it, or None."""


def verify(directory: Path) -> list[Check]:
    """Return a check of every file of a model directory; never raises for what is in them."""
    return [*_locked(directory), *_readable(directory)]


def damage(directory: Path) -> str | None:
    """Return which file cannot be used, why, and what to do; None if all are fine."""
    for check in _readable(directory):
        if check.problem:
            return (
                f"{directory.name}/{check.file} {check.problem}. Put a whole file there: "
                f"`{command.asr_server()} models download` fetches the models by name"
            )
    return None


def _readable(directory: Path) -> Iterator[Check]:
    """Yield a check of each file, read as for loading, and one of whether they fit together."""
    config, problem = _attempt(read_config, directory / CONFIG)
    yield Check(CONFIG, "content", problem)
    tokens, problem = _attempt(read_tokens, directory / TOKENS)
    yield Check(TOKENS, f"{len(tokens or ())} tokens", problem)
    shapes, problem = _attempt(_read_shapes, directory / WEIGHTS)
    yield Check(WEIGHTS, f"{len(shapes or ())} tensors", problem)
    if (directory / CMVN).exists():  # punctuation models have none
        yield Check(CMVN, "means and variances", _attempt(read_cmvn, directory / CMVN)[1])
    if config and tokens and shapes:
        yield _consistency(config, tokens, shapes)


def _attempt(reader: Callable[[Path], T], path: Path) -> tuple[T | None, str | None]:
    """Return what a reader of `model_dir` returns, or the problem it raises."""
    try:
        return reader(path), None
    except ValueError as exc:
        return None, str(exc)


def _read_shapes(path: Path) -> Shapes:
    # Mapped: the largest file is close to a gigabyte, and only the shapes in it matter here.
    return {name: tuple(tensor.shape) for name, tensor in read_weights(path).items()}


def _consistency(config: dict[str, Any], tokens: list[str], shapes: Shapes) -> Check:
    what = f"tensors as in {CONFIG}"
    try:
        expected = _expected(config, len(tokens))
    except (KeyError, TypeError) as exc:
        problem = f"does not describe a model of this kind ({exc} is missing)"
        return Check(CONFIG, what, problem)
    differences = [
        f"{name} is {list(shapes[name]) if name in shapes else 'missing'}, not {list(shape)}"
        for name, shape in expected.items()
        if shapes.get(name) != shape
    ]
    misfit = f"does not fit {CONFIG}: {'; '.join(differences)}" if differences else None
    return Check(WEIGHTS, what, misfit)


def _locked(directory: Path) -> list[Check]:
    """Return checks against the lock, for a directory this server downloaded."""
    try:
        lock = read_lock(directory)
    except ModelError as exc:
        return [Check(lock_path(directory).name, "content", str(exc))]
    checks = []
    for name, locked in lock.files.items() if lock else ():
        path = directory / name
        found: str | None = "is missing"
        if path.is_file():
            found = difference(path, locked)
        if found:
            found += f"; remove {path} and download the model again"
        checks.append(Check(name, "SHA-256 as locked at the download", found))
    return checks


def _expected(config: dict[str, Any], vocabulary: int) -> Shapes:
    """Return a few shapes: of first and last layers, and those that depend on the vocabulary."""
    encoder = config["encoder_conf"]
    d = encoder["output_size"]
    if "decoder_conf" not in config:  # a punctuation model
        return {"embed.weight": (vocabulary, config["model_conf"]["embed_unit"])}
    decoder = config["decoder_conf"]
    frontend = config.get("frontend_conf", {})
    features = frontend.get("n_mels", 80) * frontend.get("lfr_m", 7)
    offline = {}
    if config.get("model") in OFFLINE:
        offline["predictor.blstm.weight_hh_l0"] = (4 * d, d)
    if "seaco_decoder_conf" in config:
        units = config["seaco_decoder_conf"]["linear_units"]
        offline["seaco_decoder.decoders3.0.feed_forward.w_2.weight"] = (d, units)
        offline["hotword_output_layer.weight"] = (vocabulary, d)
    return offline | {
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
