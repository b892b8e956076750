"""The wheel and the sdist, alone: built from a copy of the checkout, installed without it."""

import json
import shutil
import subprocess
import sys
import tarfile
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.processes import ROOT, await_state, environment, free_port

BUILD = "import sys; from setuptools import build_meta as b; print(b.build_{0}(sys.argv[1]))"


def build(kind: str, source: Path, target: Path) -> Path:
    """Build a distribution as pip does, without a network."""
    done = subprocess.run(
        [sys.executable, "-c", BUILD.format(kind), str(target)],
        cwd=source,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    return target / done.stdout.split()[-1]


@pytest.mark.slow
def test_a_wheel_from_the_sdist_serves_page_samples_and_speech_alone(tmp_path):
    source = tmp_path / "checkout"
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    for name in filter(None, tracked):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, source / name)
    sdist = build("sdist", source, tmp_path)
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    wheel = build("wheel", tmp_path / sdist.name.removesuffix(".tar.gz"), tmp_path)
    names = zipfile.ZipFile(wheel).namelist()
    assert not any(name.startswith(("tests/", "tools/", "clients/")) for name in names)
    with zipfile.ZipFile(wheel) as archive:
        [metadata] = [name for name in names if name.endswith("/METADATA")]
        about = archive.read(metadata).decode("utf-8")
    assert "Provides-Extra: tools" in about
    assert "Provides-Extra: postgres" in about

    # The dependencies are those of this environment; the package is not.
    builder = venv.EnvBuilder()
    builder.create(tmp_path / "venv")
    python = builder.ensure_directories(tmp_path / "venv").env_exe
    [packages] = (tmp_path / "venv").glob("[lL]ib/**/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    others = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "others.pth").write_text("\n".join(others), encoding="utf-8")

    port = free_port()
    away = tmp_path / "away"
    away.mkdir()
    process = subprocess.Popen(
        [python, "-m", "uvicorn", "asr_server.main:app", "--port", str(port)],
        cwd=away,
        env=environment(ASR_MODEL="demo", ASR_MAX_TASKS="1", PYTHONPATH=""),
        stderr=subprocess.DEVNULL,
    )
    try:
        await_state(port, "ready", while_running=process)
        base = f"http://127.0.0.1:{port}"
        for path in ("/", "/AsrClient.js", "/demo/demo.js", "/samples/greeting.wav", "/status"):
            with urllib.request.urlopen(base + path) as answer:
                assert answer.status == 200
        with urllib.request.urlopen(f"{base}/samples/manifest.json") as answer:
            assert any(entry["file"] == "greeting.wav" for entry in json.load(answer))
        done = subprocess.run(
            [sys.executable, ROOT / "clients/python/AsrClient.py", "--url", f"ws://127.0.0.1:{port}",
             ROOT / "tests/data/greeting.wav"],
            capture_output=True, text=True, encoding="utf-8", env=environment(),
        )  # fmt: skip
        assert "您好" in done.stdout, done.stderr
        where = subprocess.run(
            [python, "-c", "import asr_server; print(asr_server.__file__)"],
            cwd=away, capture_output=True, text=True, env=environment(PYTHONPATH=""),
        )  # fmt: skip
        assert str(packages) in where.stdout
    finally:
        process.terminate()
        process.wait(timeout=20)
