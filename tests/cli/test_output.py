"""What the command line writes where its output goes to a file or to another program."""

import subprocess
import sys
from pathlib import Path

import pytest

from asr_server import command
from asr_server.models.registry import DEMO, resolve
from asr_server.settings import Settings
from tests.support.processes import environment

DATA = Path(__file__).parents[1] / "data"
GBK = {"PYTHONIOENCODING": "gbk", "PYTHONUTF8": "0"}
"""As a redirected stream is on Chinese Windows."""

needs_demo = pytest.mark.skipif(resolve(DEMO, Settings()) is None, reason="no demo model")


@needs_demo
def test_redirected_subtitles_are_utf8_under_a_gbk_code_page(tmp_path):
    options = ("--model", DEMO, "--streams", "1", "--format", "srt")
    done = subprocess.run(
        [sys.executable, "-m", "asr_server", "transcribe", *options, DATA / "greeting.wav"],
        cwd=tmp_path,
        env=environment(**GBK),
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode("utf-8")
    assert "您好" in done.stdout.decode("utf-8")


def test_commands_are_named_as_they_are_typed_here(monkeypatch, tmp_path):
    folder = tmp_path / "venv" / "bin"
    folder.mkdir(parents=True)
    for name in ("asr-server", "python3"):
        (folder / name).touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python3"))
    monkeypatch.setenv("PATH", "")
    monkeypatch.chdir(tmp_path)
    assert command.asr_server() == str(Path("venv/bin/asr-server"))
    monkeypatch.chdir(Path(__file__).parent)
    assert command.asr_server() == str(folder / "asr-server")
    monkeypatch.setenv("PATH", str(folder))
    assert (command.asr_server(), command.python()) == ("asr-server", "python3")
    (folder / "asr-server").unlink()
    assert command.asr_server() == "python3 -m asr_server"
