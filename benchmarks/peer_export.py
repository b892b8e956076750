"""Export the peers' models from a FunASR model directory, with FunASR's own exporter.

    build/peers/venv/bin/python -m benchmarks.peer_export streaming|offline MODEL_DIR TO

Runs in the peers' environment. Writes float32 and 8-bit ONNX files for funasr-onnx, and copies with
the metadata that sherpa-onnx reads.
"""

import functools
import json
import shutil
import sys
from pathlib import Path
from typing import Any

FRONTEND_FILES = ("config.yaml", "tokens.json", "am.mvn")


def export(model: Path, to: Path) -> Any:
    """Export and quantise; return FunASR's model."""
    import torch
    from funasr import AutoModel

    # The exporter's default since torch 2.9 fails on this model: "treespec.unflatten(leaves):
    # `leaves` has length 6 but the spec refers to a pytree that holds 5 items".
    torch.onnx.export = functools.partial(torch.onnx.export, dynamo=False)
    to.mkdir(parents=True, exist_ok=True)
    recogniser = AutoModel(
        model=str(model), disable_update=True, disable_pbar=True, device="cpu", log_level="ERROR"
    )
    recogniser.export(type="onnx", quantize=True, output_dir=str(to))
    for name in FRONTEND_FILES:
        shutil.copy(model / name, to / name)
    return recogniser


def streaming(model: Path, to: Path) -> None:
    """Export the streaming model, and add metadata for sherpa-onnx."""
    import onnx

    config = export(model, to).kwargs
    shift, scale = _cmvn(to / "am.mvn")
    metadata = {
        "model_type": "paraformer",
        "vocab_size": len(json.loads((to / "tokens.json").read_text("utf-8"))),
        "lfr_window_size": config["frontend_conf"]["lfr_m"],
        "lfr_window_shift": config["frontend_conf"]["lfr_n"],
        "encoder_output_size": config["encoder_conf"]["output_size"],
        "decoder_num_blocks": config["decoder_conf"]["num_blocks"],
        "decoder_kernel_size": config["decoder_conf"]["kernel_size"],
        "neg_mean": ",".join(shift),
        "inv_stddev": ",".join(scale),
    }
    encoder = onnx.load(to / "model_quant.onnx")
    for key, value in metadata.items():
        encoder.metadata_props.add(key=key, value=str(value))
    onnx.save(encoder, to / "encoder.int8.onnx")
    shutil.copy(to / "decoder_quant.onnx", to / "decoder.int8.onnx")
    tokens = json.loads((to / "tokens.json").read_text("utf-8"))
    lines = (f"{token} {number}\n" for number, token in enumerate(tokens))
    (to / "tokens.txt").write_text("".join(lines), "utf-8")


def _cmvn(path: Path) -> tuple[list[str], list[str]]:
    """Return shift and scale of a Kaldi file of feature statistics."""
    words = path.read_text().split()

    def after(tag: str) -> list[str]:
        begin = words.index("[", words.index(tag)) + 1
        return words[begin : words.index("]", begin)]

    return after("<AddShift>"), after("<Rescale>")


if __name__ == "__main__":
    {"streaming": streaming, "offline": export}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
