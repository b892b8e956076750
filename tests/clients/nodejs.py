"""Run Node and browsers for the tests that need them."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from filelock import FileLock

WEB = Path(__file__).resolve().parents[2] / "clients" / "web"
# The shell has no user interface of its own and takes a third less processor time.
CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium") or ""
FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox") or ""

needs_node = pytest.mark.skipif(not shutil.which("node"), reason="needs Node")
needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")
needs_firefox = pytest.mark.skipif(not FIREFOX, reason="needs Firefox")


def install_packages() -> None:
    """Install the npm packages of the tests; skip the test if that fails."""
    if not (npm := shutil.which("npm")):
        pytest.skip("needs npm")
    with FileLock(Path(tempfile.gettempdir()) / "asr-server-npm.lock"):  # one worker at a time
        if (WEB / "node_modules" / ".package-lock.json").exists():  # npm writes it last
            return
        command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(command, cwd=WEB, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        pytest.skip("npm cannot reach its registry")


def node(*arguments: str, **environment: str) -> None:
    """Run Node; a failure shows its output."""
    done = subprocess.run(
        ["node", *arguments],
        cwd=WEB,
        env={
            **os.environ,
            "CHROMIUM": CHROMIUM,
            "FIREFOX": FIREFOX,
            "NO_COLOR": "1",
            **environment,
        },
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]
