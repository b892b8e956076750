"""The command line in Chinese."""

import subprocess
import sys

import pytest
import typer
import yaml

from asr_server.cli import greeting, language
from asr_server.cli.language import CATALOGUE, TYPER_TEXTS, paragraphs
from asr_server.cli.main import app
from asr_server.models.registry import DEMO_NOTICE
from tests.support.processes import environment

TEXTS: dict[str, str] = yaml.safe_load(CATALOGUE.read_text(encoding="utf-8"))


def help_texts(command: object) -> set[str]:
    """Return the texts of a command and of those below it that are not commands to type."""
    parts = [command.help, command.epilog, *(getattr(p, "help", "") for p in command.params)]
    found = {text for part in parts for text in paragraphs(part)}
    for below in getattr(command, "commands", {}).values():
        found |= help_texts(below)
    typed = ("asr-server ", "ffmpeg ", "sox ")
    return {text for text in found if text and (not text.startswith(typed) or "   " in text)}


def test_every_text_of_the_help_has_a_translation_and_no_translation_is_left_over():
    help_option = "Show this message and exit."
    used = help_texts(typer.main.get_command(app)) | set(TYPER_TEXTS.values()) | {help_option}
    constants = [text for name, text in vars(greeting).items() if name.isupper()]
    shown = {text for text in constants if isinstance(text, str) and " " in text}
    spoken = {*shown, DEMO_NOTICE, "listens on", "page", "LAN", "model"}
    spoken |= {"second pass on", "second pass off"}
    spoken.add("It runs because: {reason}")
    assert used - set(TEXTS) == set()
    assert spoken - set(TEXTS) == set()
    assert set(TEXTS) - used - spoken == set()


def test_a_translation_keeps_options_markup_and_fields():
    for english, chinese in TEXTS.items():
        for mark in ("[bold]", "[/]", "{", "--", "ASR_"):
            assert english.count(mark) == chinese.count(mark), chinese


@pytest.mark.parametrize(
    ("variables", "chinese"),
    [
        ({"LANG": "zh_CN.UTF-8"}, True),
        ({"LANG": "zh_TW"}, True),
        ({"LC_ALL": "zh_CN.GBK", "LANG": "en_US.UTF-8"}, True),
        ({"LC_ALL": "C.UTF-8", "LANG": "zh_CN.UTF-8"}, False),
        ({"LANGUAGE": "en", "LANG": "zh_CN.UTF-8"}, False),
        ({}, False),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has a language of its own")
def test_the_language_follows_the_locale(monkeypatch, variables, chinese):
    for name in language.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert language.is_chinese() == chinese


def test_the_help_is_chinese_and_utf8_where_the_locale_is_chinese(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "asr_server", "serve", "--help"],
        cwd=tmp_path,
        env=environment(LC_ALL="zh_CN.GBK", PYTHONIOENCODING="gbk", PYTHONUTF8="0"),
        capture_output=True,
    )
    text = done.stdout.decode("utf-8")
    assert done.returncode == 0
    assert "启动兼容 DashScope WebSocket 协议的服务" in text
    assert "选项" in text
    assert "显示本帮助。" in text
    assert "--ssl-certfile" in text
