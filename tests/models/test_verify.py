"""Checks of a model directory without running the model."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from asr_server.asr.loading.verify import Check, verify
from asr_server.models.lock import Lock, LockedFile, lock_path, write_lock

CONFIG = {
    "model": "ParaformerStreaming",
    "encoder_conf": {"output_size": 4, "num_blocks": 3, "linear_units": 8},
    "decoder_conf": {"num_blocks": 2, "att_layer_num": 2},
    "frontend_conf": {"n_mels": 80, "lfr_m": 7},
}
TOKENS = ["<blank>", "<s>", "</s>", "中", "<unk>"]


def weights() -> dict[str, torch.Tensor]:
    return {
        "encoder.encoders0.0.self_attn.linear_q_k_v.weight": torch.zeros(12, 560),
        "encoder.encoders.1.feed_forward.w_2.weight": torch.zeros(4, 8),
        "encoder.after_norm.weight": torch.zeros(4),
        "predictor.cif_output.weight": torch.zeros(1, 4),
        "decoder.decoders.1.src_attn.linear_k_v.weight": torch.zeros(8, 4),
        "decoder.output_layer.weight": torch.zeros(5, 4),
    }


@pytest.fixture
def model(tmp_path) -> Path:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    (tmp_path / "tokens.json").write_text(json.dumps(TOKENS))
    torch.save(weights(), tmp_path / "model.pt")
    return tmp_path


def problems(directory: Path) -> list[str]:
    return [f"{check.file}: {check.problem}" for check in verify(directory) if check.problem]


def test_a_complete_model_has_no_problems(model):
    assert problems(model) == []
    assert Check("model.pt", "6 tensors", None) in verify(model)


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_weights_may_come_wrapped(model, wrapper):
    torch.save({wrapper: weights()}, model / "model.pt")
    assert problems(model) == []


@pytest.mark.parametrize("file", ["config.yaml", "tokens.json", "model.pt"])
def test_a_missing_or_broken_file_is_named(model, file):
    (model / file).write_bytes(b"\xff{[")
    assert any(file in problem for problem in problems(model))
    (model / file).unlink()
    assert any(file in problem for problem in problems(model))


def test_another_vocabulary_is_detected(model):
    (model / "tokens.json").write_text(json.dumps(TOKENS[:-1]))
    [problem] = problems(model)
    assert "decoder.output_layer.weight is [5, 4], not [4, 4]" in problem


def test_a_missing_layer_is_detected(model):
    state = weights()
    del state["predictor.cif_output.weight"]
    torch.save(state, model / "model.pt")
    assert "predictor.cif_output.weight is missing" in problems(model)[0]


def test_a_config_of_another_kind_is_detected(model):
    (model / "config.yaml").write_text(yaml.safe_dump({"encoder_conf": {}, "decoder_conf": {}}))
    assert "does not describe" in problems(model)[0]


def test_code_in_a_model_file_is_not_run(model, tmp_path):
    class Boom:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"x": Boom()}, model / "model.pt")
    assert problems(model)
    assert not (tmp_path / "ran").exists()


def test_a_file_that_changed_since_its_download_is_named(model):
    size = (model / "config.yaml").stat().st_size
    files = {"config.yaml": LockedFile(size, "0" * 64, ""), "am.mvn": LockedFile(1, "", "")}
    write_lock(model, Lock("modelscope", "iic/some", "master", files))
    changed, missing = problems(model)
    assert "another SHA-256" in changed
    assert "download the model again" in changed
    assert "am.mvn: is missing" in missing


def test_a_broken_lock_is_named(model):
    lock_path(model).write_text("{")
    [problem] = problems(model)
    assert problem.startswith(f"{model.name}.lock.json: ")
