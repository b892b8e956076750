"""Damaged model files: the message names the file and the remedy, at the start and later."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from asr_server.asr import engine as engine_module
from asr_server.asr.load import build_engine
from asr_server.asr.run.backend import PyTorchBackend
from asr_server.asr.types import LoadError, StreamOptions
from asr_server.asr.worker import DeviceDeadError
from asr_server.settings import Settings
from tests.support.command_line import asr_server
from tests.support.processes import ROOT
from tests.support.serving import becomes

DEMO = ROOT / "src" / "asr_server" / "models" / "demo"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 20)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.fixture
def model(tmp_path):
    return Path(shutil.copytree(DEMO, tmp_path / "model"))


def engine(model: Path):
    return build_engine(Settings(max_tasks=1), model / "asr", model / "punctuation")


@pytest.mark.parametrize("damage", [cut, overwrite, empty])
@pytest.mark.parametrize(
    "file",
    [
        "asr/model.pt",
        "asr/tokens.json",
        "asr/am.mvn",
        "asr/config.yaml",
        "punctuation/model.pt",
        "punctuation/tokens.json",
        "punctuation/config.yaml",
    ],
)
async def test_the_message_names_the_damaged_file_and_the_remedy(
    model: Path, file: str, damage: Callable[[Path], None]
):
    damage(model / file)
    with pytest.raises(LoadError) as caught:
        await engine(model).start()
    message = str(caught.value)
    assert message.startswith((f"{file} ", f"{file.split('/')[0]}/config.yaml "))
    assert file.split("/")[1] in message
    assert "asr-server models download" in message


@pytest.mark.parametrize("kind", ["asr", "punctuation"])
async def test_flipped_bits_are_detected_even_if_the_model_would_run(model: Path, kind: str):
    flip(model / kind / "model.pt")
    with pytest.raises(LoadError, match=rf"^{kind}/model\.pt is damaged: its checksums are wrong"):
        await engine(model).start()


def test_the_server_does_not_start_and_prints_the_reason_without_a_traceback(
    model: Path, tmp_path: Path
):
    cut(model / "asr" / "am.mvn")
    done = asr_server("serve", "--model", str(model / "asr"), "--port", "0", cwd=tmp_path)
    assert done.returncode == 1
    assert "asr/am.mvn holds no means and variances" in done.stderr
    assert "asr-server models download" in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_file_damaged_at_run_time_keeps_the_server_unready_until_repair(
    model: Path, monkeypatch
):
    monkeypatch.setattr(engine_module, "RESTART_PAUSES_S", (0.0, 0.05))
    running = engine(model)
    await running.start()
    whole = (model / "asr" / "tokens.json").read_bytes()
    empty(model / "asr" / "tokens.json")

    faults = iter([True])
    detect = PyTorchBackend.detect

    def die_once(self, works):
        if next(faults, False):
            raise DeviceDeadError("pulled out")
        return detect(self, works)

    monkeypatch.setattr(PyTorchBackend, "detect", die_once)
    stream = running.open(StreamOptions())
    stream.push(np.zeros(16_000, dtype=np.float32))
    await becomes(running, "failed")
    assert running.failure.startswith("asr/tokens.json cannot be read")
    (model / "asr" / "tokens.json").write_bytes(whole)
    await becomes(running, "ready")
    assert running.failure == ""
    await running.stop()
