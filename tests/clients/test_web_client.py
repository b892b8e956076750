"""AsrClient.js and the demo page: their own tests, in Node and in Chromium, where these exist."""

import asyncio
import filecmp
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.serving import serving

WEB = Path(__file__).resolve().parents[2] / "clients" / "web"
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"

pytestmark = [
    pytest.mark.skipif(not shutil.which("node"), reason="needs Node"),
    pytest.mark.timeout(400),
]
needs_chromium = pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="needs Chromium")


@pytest.fixture(scope="module", autouse=True)
def packages() -> None:
    """What the tests need beside Node: a WebSocket class, a driver for the browser, a compiler."""
    if (WEB / "node_modules").exists():
        return
    if not (npm := shutil.which("npm")):
        pytest.skip("needs npm")
    command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(command, cwd=WEB, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        pytest.skip("npm reaches no registry")


def node(*arguments: str, **environment: str) -> None:
    """Run Node and show what it said where it fails."""
    done = subprocess.run(
        ["node", *arguments],
        cwd=WEB,
        env={**os.environ, "CHROMIUM": CHROMIUM, "NO_COLOR": "1", **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]


def tsc(*arguments: str) -> None:
    node(str(WEB / "node_modules" / "typescript" / "bin" / "tsc"), *arguments)


def test_the_library_in_node():
    node("--test", "test/client.test.js", "test/resampler.test.js")


def test_the_types_hold():
    tsc("-p", "jsconfig.json")


def test_the_type_declarations_are_current(tmp_path):
    # Made from copies: the compiler would rather read declarations that lie beside the source.
    configuration = ("package.json", "jsconfig.json", "jsconfig.types.json")
    for name in ("AsrClient.js", "pcm-worklet.js", *configuration):
        shutil.copy(WEB / name, tmp_path)
    tsc("-p", str(tmp_path / "jsconfig.types.json"))
    for name in ("AsrClient.d.ts", "pcm-worklet.d.ts"):
        assert filecmp.cmp(tmp_path / name, WEB / name, shallow=False), f"npm run types: {name}"


def test_the_page_in_one_file_is_current():
    made = subprocess.check_output(["node", "make-standalone.js"], cwd=WEB, timeout=60)
    assert made == (WEB / "standalone.html").read_bytes(), "npm run standalone"


@needs_chromium
def test_the_page_in_chromium():
    node("--test", "test/browser.test.js", "test/page.test.js")


async def test_with_the_real_server():
    async with serving(model="demo") as served:
        await asyncio.to_thread(node, "--test", "test/real.test.js", ASR_TEST_SERVER=served.http)
