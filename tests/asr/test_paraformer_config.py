"""Models that the engine can run are read, and others refused with the reason."""

import copy
from typing import Any

import pytest

from asr_server.asr.loading.config import paraformer_config
from tests.support.funasr_model import random_config

CONFIG = random_config(32, 2, 2)


def changed(part: str, name: str, value: Any) -> dict[str, Any]:
    """The configuration with one entry changed, of a part or (part "") of the whole."""
    config = copy.deepcopy(CONFIG)
    (config[part] if part else config)[name] = value
    return config


def test_a_streaming_paraformer_is_read():
    config = paraformer_config(CONFIG, 10, (0, 10, 5))
    assert (config.size, config.encoder_layers, config.decoder_layers) == (32, 2, 2)
    assert (config.stride, config.look_ahead) == (10, 5)


@pytest.mark.parametrize(
    ("part", "name", "value", "why"),
    [
        ("", "model", "Paraformer", "no ParaformerStreaming"),
        ("", "encoder", "SANMEncoder", "no SANMEncoderChunkOpt"),
        ("encoder_conf", "sanm_shfit", 5, "encoder's FSMN does not look as far ahead as back"),
        ("encoder_conf", "kernel_size", 10, "encoder's FSMN does not look as far ahead as back"),
        ("decoder_conf", "att_layer_num", 1, "layers without attention"),
        ("decoder_conf", "sanm_shfit", 0, "decoder's FSMN looks ahead"),
    ],
)
def test_a_model_that_cannot_be_streamed_is_refused_with_the_reason(
    part: str, name: str, value: Any, why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        paraformer_config(changed(part, name, value), 10, (0, 10, 5))


def test_left_context_is_refused():
    with pytest.raises(ValueError, match="must begin with 0"):
        paraformer_config(CONFIG, 10, (5, 10, 5))
