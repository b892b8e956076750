"""The programs of the clients' READMEs, run as a new user runs them: copied, unchanged."""

import asyncio
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.nodejs import WEB, needs_node
from tests.clients.scripted_server import ScriptedServer, pcm_of, text_of
from tests.clients.test_python_client import PAUSE, wav

CLIENTS = WEB.parent
READMES = ("README.md", "README.zh-CN.md", "python/README.md")
TEXTS = [text_of("abc"), text_of("de")]


def programs(language: str, first_word: str) -> list[object]:
    """Return the complete programs among a language's code blocks, named by their README."""
    return [
        pytest.param(block, id=f"{readme} {number}")
        for readme in READMES
        for number, block in enumerate(
            re.findall(rf"```{language}\n(.*?)```", (CLIENTS / readme).read_text("utf-8"), re.S)
        )
        if block.startswith(first_word)
    ]


async def run(folder: Path, *command: str) -> str:
    """Return what a program prints; whatever it writes to stderr is a fault."""
    (folder / "meeting.wav").write_bytes(wav(pcm_of(PAUSE.join(TEXTS))))
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, err.decode()) == (0, "")
    return out.decode("utf-8")


def addressed(program: str, server: ScriptedServer) -> str:
    assert "ws://127.0.0.1:8000" in program
    return program.replace("ws://127.0.0.1:8000", server.url)


@pytest.mark.parametrize("program", [*programs("python", "import"), *programs("python", "from")])
async def test_a_python_program_runs_as_it_is_written(server, tmp_path, program):
    shutil.copy(CLIENTS / "python" / "AsrClient.py", tmp_path)
    (tmp_path / "main.py").write_text(addressed(program, server), "utf-8")
    printed = await run(tmp_path, sys.executable, "-X", "utf8", "main.py")
    assert [line.split()[-1] for line in printed.splitlines()] == [f"{text}。" for text in TEXTS]


@needs_node
@pytest.mark.parametrize("program", programs("js", "// main.js"))
async def test_a_node_program_runs_as_it_is_written(server, tmp_path, packages, program):
    for name in ("AsrClient.js", "pcm-worklet.js"):
        shutil.copy(WEB / name, tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    shutil.copytree(WEB / "node_modules" / "ws", tmp_path / "node_modules" / "ws")
    (tmp_path / "main.js").write_text(addressed(program, server), "utf-8")
    printed = await run(tmp_path, "node", "main.js")
    assert [line.split()[-1] for line in printed.splitlines()] == [f"{text}。" for text in TEXTS]
