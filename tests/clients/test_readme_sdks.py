"""The programs of the clients' READMEs for the official SDKs, with nothing changed but the port."""

import re
import runpy
import wave

import pytest

from tests.clients.nodejs import WEB
from tests.support.background import serving_on_a_thread
from tests.support.serving import LOUD, QUIET

CLIENTS = WEB.parent
ADDRESS = "127.0.0.1:8000"
TEXT = "天地玄"


def programs(readme: str) -> list[str]:
    text = (CLIENTS / readme).read_text("utf-8")
    return re.findall(r"```python\n(# pip install.*?)```", text, re.DOTALL)


@pytest.fixture(scope="module")
def port():
    with serving_on_a_thread() as served:
        yield served.port


def test_both_languages_have_the_same_programs():
    assert programs("README.md") == programs("README.zh-CN.md")


@pytest.mark.filterwarnings("ignore:connect.. must be used as a context manager", "ignore:unclosed")
@pytest.mark.parametrize("program", programs("README.md"), ids=["http", "realtime", "qwen"])
def test_a_program_for_an_official_sdk_prints_the_transcript(
    port, tmp_path, program, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    with wave.open("meeting.wav", "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(LOUD + QUIET + LOUD)
    assert ADDRESS in program
    (tmp_path / "main.py").write_text(program.replace(ADDRESS, f"127.0.0.1:{port}"), "utf-8")
    runpy.run_path("main.py", run_name="__main__")
    assert TEXT in capsys.readouterr().out
