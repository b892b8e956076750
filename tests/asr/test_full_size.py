"""The production model's sizes, with random weights: they load and run."""

from pathlib import Path

import pytest

from asr_server.asr.backends.pytorch import PyTorchBackend, PyTorchOptions
from tests.support.chunks import speechlike, transcribe
from tests.support.funasr_model import random_config, write_model_dir

pytest.importorskip("funasr")

VOCABULARY = ["<blank>", "<s>", "</s>", *(chr(0x4E00 + n) for n in range(8_400)), "<unk>"]


def build(path: Path, encoder_layers: int, decoder_layers: int) -> Path:
    config = random_config(512, encoder_layers, decoder_layers)
    config["encoder_conf"]["linear_units"] = config["decoder_conf"]["linear_units"] = 2048
    return write_model_dir(path, config, VOCABULARY)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_layers_of_the_production_size_load_and_hear(
    tmp_path: Path, device: str, dtype: str
) -> None:
    if device == "cuda" and dtype == "int8":
        pytest.skip("8-bit integers are for CPUs")
    options = PyTorchOptions(device=device, dtype=dtype, slots=1)
    backend = PyTorchBackend.load(build(tmp_path, 2, 1), options, None)
    assert sum(len(chunk) for chunk in transcribe(backend, speechlike(2.0))) > 3


@pytest.mark.slow
def test_the_whole_production_size_loads_and_hears(tmp_path: Path, device: str) -> None:
    options = PyTorchOptions(device=device, dtype="float32", slots=1)
    backend = PyTorchBackend.load(build(tmp_path, 50, 16), options, None)
    network = backend._paraformer.parameters()
    assert sum(parameter.numel() for parameter in network) > 210e6
    assert sum(len(chunk) for chunk in transcribe(backend, speechlike(2.0))) > 3


def test_weights_that_do_not_fit_the_configuration_are_refused_by_name(tmp_path: Path) -> None:
    path = build(tmp_path, 2, 1)
    config = (path / "config.yaml").read_text().replace("linear_units: 2048", "linear_units: 1024")
    (path / "config.yaml").write_text(config)
    with pytest.raises(ValueError, match="do not fit"):
        PyTorchBackend.load(path, PyTorchOptions(), None)


@pytest.mark.parametrize("name", ["config.yaml", "model.pt", "tokens.json"])
def test_a_missing_file_is_named(model_dir: Path, tmp_path: Path, name: str) -> None:
    for file in model_dir.iterdir():
        if file.name != name:
            (tmp_path / file.name).symlink_to(file)
    with pytest.raises(FileNotFoundError, match=name.replace(".", r"\.")):
        PyTorchBackend.load(tmp_path, PyTorchOptions(), None)


def test_a_damaged_checkpoint_is_named(model_dir: Path, tmp_path: Path) -> None:
    for file in model_dir.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "model.pt").unlink()
    (tmp_path / "model.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match=r"model\.pt is damaged"):
        PyTorchBackend.load(tmp_path, PyTorchOptions(), None)
