"""Models of the production size, with random weights, load and run."""

from pathlib import Path

import numpy as np
import pytest
import torch

from asr_server.asr.hotword_compiler import compile_hotwords
from asr_server.asr.loading.config import paraformer_config
from asr_server.asr.run.second_pass import load_second_pass
from asr_server.asr.run.state import ParaformerState
from asr_server.asr.types import SecondPassWork
from tests.support.backends import load_backend
from tests.support.chunks import speechlike, transcribe
from tests.support.funasr_model import random_config, write_model_dir
from tests.support.funasr_offline import (
    FunAsrOffline,
    build_offline,
    random_offline_config,
    write_offline_dir,
)

pytest.importorskip("funasr")

PROCESS, MAPPED = Path("/proc/self/status"), Path("/proc/self/maps")
linux = pytest.mark.skipif(not PROCESS.exists(), reason="reads /proc")
VOCABULARY = ["<blank>", "<s>", "</s>", *(chr(0x4E00 + n) for n in range(8_400)), "<unk>"]


def build(path: Path, encoder_layers: int, decoder_layers: int) -> Path:
    config = random_config(512, encoder_layers, decoder_layers)
    config["encoder_conf"]["linear_units"] = config["decoder_conf"]["linear_units"] = 2048
    return write_model_dir(path, config, VOCABULARY)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_layers_of_the_production_size_load_and_fire_tokens(
    tmp_path: Path, device: str, dtype: str
) -> None:
    if device == "cuda" and dtype == "int8":
        pytest.skip("8-bit integers are for CPUs")
    backend = load_backend(build(tmp_path, 2, 1), device=device, dtype=dtype, max_tasks=1)
    assert sum(len(chunk) for chunk in transcribe(backend, speechlike(2.0))) > 3


@pytest.mark.slow
def test_the_whole_production_size_loads_and_fires_tokens(tmp_path: Path, device: str) -> None:
    backend = load_backend(build(tmp_path, 50, 16), device=device, max_tasks=1)
    layers = [m for m in backend.paraformer.modules() if hasattr(m, "in_features")]
    assert sum(layer.in_features * layer.out_features for layer in layers) > 210e6
    assert sum(len(chunk) for chunk in transcribe(backend, speechlike(2.0))) > 3


@pytest.mark.slow
def test_the_whole_offline_model_gives_the_tokens_that_funasr_gives(tmp_path: Path) -> None:
    config = random_offline_config(len(VOCABULARY), 512, 50, 16)
    config["encoder_conf"]["linear_units"] = config["decoder_conf"]["linear_units"] = 2048
    config["seaco_decoder_conf"]["linear_units"] = 1024
    path = write_offline_dir(tmp_path, config, VOCABULARY)
    sentences = [speechlike(seconds, seed) for seed, seconds in enumerate((2.0, 4.8, 5.0, 10.0))]
    words = tuple((VOCABULARY[n] + VOCABULARY[n + 300], 4) for n in range(3, 103))
    lists = [None, compile_hotwords(words, tuple(VOCABULARY)), None, None]
    runner = load_second_pass(path, VOCABULARY, torch.device("cpu"), "float32")
    works = [SecondPassWork(pcm, hotwords=own) for pcm, own in zip(sentences, lists, strict=True)]
    together, alone = runner(works), [runner([work])[0] for work in works]
    del runner
    reference = FunAsrOffline(
        build_offline(config, VOCABULARY), config, VOCABULARY, path / "am.mvn"
    )
    for own, batched, work in zip(alone, together, works, strict=True):
        spelled = [tokens for tokens, _ in work.hotwords.spelled] if work.hotwords else []
        expected = reference.recognise(work.pcm, spelled)
        for tokens in (own, batched):
            assert [token.piece for token in tokens] == expected.pieces
            times = [(token.begin, token.end) for token in tokens]
            assert times == pytest.approx(np.array(expected.times), abs=336)
        assert len(own) > len(work.pcm) / 16_000


def resident(kind: str) -> int:
    """Bytes of this process in memory, "RssAnon" or "RssFile"."""
    status = dict(line.split(":", 1) for line in PROCESS.read_text().splitlines())
    return 1024 * int(status[kind].split()[0])


@linux
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_nothing_of_the_checkpoint_stays_mapped(tmp_path: Path, dtype: str) -> None:
    path = build(tmp_path, 2, 1)
    backend = load_backend(path, dtype=dtype, max_tasks=1)
    assert str(path) not in MAPPED.read_text()
    (path / "model.pt").write_bytes(b"another one")  # what is mapped would end the process now
    assert transcribe(backend, speechlike(1.0))


@linux
def test_slots_take_no_memory_until_they_are_written(tmp_path: Path) -> None:
    config = random_config(512, 50, 16)
    sizes = paraformer_config(config, 8_404, (0, 10, 5))
    before = resident("RssAnon")
    state = ParaformerState(sizes, 256, torch.bfloat16, torch.device("cpu"))
    caches = (state.encoder_kv_cache, state.decoder_kv_cache, state.decoder_fsmn_cache)
    per_stream = sum(cache.nbytes for cache in caches) / 256
    assert 4e6 < per_stream < 6e6
    assert resident("RssAnon") - before < 10 * per_stream
    before = resident("RssAnon")
    for cache in caches:
        cache[100] = 1
    huge_pages = 2 * len(caches) * 2**21  # begun on both sides of a row
    assert resident("RssAnon") - before < per_stream + huge_pages


def test_weights_that_do_not_fit_the_configuration_are_refused_by_name(tmp_path: Path) -> None:
    path = build(tmp_path, 2, 1)
    config = (path / "config.yaml").read_text().replace("linear_units: 2048", "linear_units: 1024")
    (path / "config.yaml").write_text(config)
    with pytest.raises(ValueError, match="do not fit"):
        load_backend(path)


@pytest.mark.parametrize("name", ["config.yaml", "model.pt", "tokens.json"])
def test_a_missing_file_is_named(model_dir: Path, tmp_path: Path, name: str) -> None:
    for file in model_dir.iterdir():
        if file.name != name:
            (tmp_path / file.name).symlink_to(file)
    with pytest.raises(FileNotFoundError, match=name.replace(".", r"\.")):
        load_backend(tmp_path)


def test_a_damaged_checkpoint_is_named(model_dir: Path, tmp_path: Path) -> None:
    for file in model_dir.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "model.pt").unlink()
    (tmp_path / "model.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match=r"model\.pt cannot be read"):
        load_backend(tmp_path)
