"""`asr-server serve` as users run it."""

import io
import socket
import time
from pathlib import Path

import pytest
from rich.console import Console

from asr_server import command
from asr_server.asr.engine import Engine
from asr_server.cli import greeting
from asr_server.cli.greeting import LOCAL
from asr_server.models.registry import Choice
from asr_server.process.https import prepare
from asr_server.settings import Settings
from tests.support.command_line import asr_server
from tests.support.fake_backend import FakeBackend


def test_without_a_model_serve_ends_and_names_the_next_command(tmp_path, offline):
    began = time.monotonic()
    done = asr_server("serve", cwd=tmp_path, **offline)
    assert time.monotonic() - began < 10
    assert done.returncode == 1
    assert "paraformer-zh-streaming is not on this machine" in done.stderr
    assert "/bin/asr-server models download\n" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_failed_download_ends_serve_too(tmp_path, offline):
    done = asr_server("serve", "--download", cwd=tmp_path, **offline)
    assert done.returncode == 1
    assert "not reachable" in done.stderr


def test_a_wrong_option_is_named(tmp_path):
    done = asr_server("serve", "--device", "tpu", "--model", "x", cwd=tmp_path, ASR_PORT="many")
    assert done.returncode == 2
    assert "--device: Input should be 'auto', 'cpu' or 'cuda'" in done.stderr
    assert "ASR_PORT: Input should be a valid integer" in done.stderr


def test_an_option_overrules_the_environment_and_that_the_env_file(tmp_path, tiny_model, offline):
    (tmp_path / ".env").write_text(f"ASR_MODEL={tiny_model}\nASR_PORT=70000\n")
    done = asr_server("serve", cwd=tmp_path, **offline)
    assert "ASR_PORT" in done.stderr
    done = asr_server("serve", cwd=tmp_path, ASR_PORT="0", ASR_MODEL="elsewhere", **offline)
    assert "'elsewhere' is neither a directory" in done.stderr
    done = asr_server("serve", "--model", "again", cwd=tmp_path, ASR_PORT="0", **offline)
    assert "'again' is neither a directory" in done.stderr


def greet(settings: Settings, choice: Choice) -> None:
    greeting.greet(settings, choice, Engine(FakeBackend, settings), 8000)


@pytest.mark.parametrize(
    ("given", "bound", "local"),
    [
        ({}, "127.0.0.1", True),
        ({"api_keys": "k" * 16}, "0.0.0.0", False),
        ({"host": "0.0.0.0"}, "0.0.0.0", False),
        ({"host": "::1"}, "[::1]", False),
    ],
)
def test_the_log_names_the_address_and_who_may_connect(caplog, given, bound, local):
    caplog.set_level("INFO")
    settings = Settings(log_format="json", **given)
    greet(settings, Choice("my-model", Path("my-model"), None))
    listens, *others = caplog.messages
    assert listens == f"asr-server listens on ws://{bound}:8000/api-ws/v1/inference"
    assert others == ([LOCAL.format(asr_server=command.asr_server())] if local else [])


@pytest.fixture
def terminal(monkeypatch) -> io.StringIO:
    """Return what the start prints on a terminal of a machine with one address."""
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, no_color=True, highlight=False)
    monkeypatch.setattr(greeting, "err", console)
    monkeypatch.setattr(greeting, "lan_addresses", lambda: ["192.168.1.20"])
    return shown


def test_the_start_prints_the_pages_of_this_machine_and_of_the_network(terminal):
    settings = Settings(log_format="text", host="0.0.0.0")
    greet(settings, Choice("demo", Path("demo"), None, "no hub"))
    lines = terminal.getvalue()
    assert "page   http://127.0.0.1:8000/\n" in lines
    assert "LAN    http://192.168.1.20:8000/  (browsers give this page no microphone" in lines
    assert f"For real recognition: {command.asr_server()} models download" in lines
    assert "It runs because: no hub" in lines


def test_https_prints_a_link_and_a_code_with_the_key_on_a_terminal_only(terminal, tmp_path):
    settings = prepare(Settings(log_format="text", https=True, https_dir=str(tmp_path)))
    key = (tmp_path / "api_keys").read_text().strip()
    greet(settings, Choice("m", Path("m"), None))
    shown = terminal.getvalue()
    assert f"LAN    https://192.168.1.20:8000/#key={key}\n" in shown
    assert "▄▄▄▄▄" in shown
    assert "so browsers warn once" in shown
    greeting.err = Console(file=(redirected := io.StringIO()))
    greet(settings, Choice("m", Path("m"), None))
    assert key not in redirected.getvalue()
    assert f"The API key is in {tmp_path / 'api_keys'}." in redirected.getvalue()


def test_a_blank_or_short_key_refuses_to_start_and_is_not_quoted(tmp_path):
    done = asr_server("serve", "--model", "demo", cwd=tmp_path, ASR_API_KEYS="")
    assert done.returncode == 2
    assert "ASR_API_KEYS: it is set but blank" in done.stderr
    done = asr_server("serve", "--model", "demo", cwd=tmp_path, ASR_API_KEYS="too-short")
    assert done.returncode == 2
    assert "ASR_API_KEYS: a key is 9 long; at least 16 characters are needed" in done.stderr
    assert "too-short" not in done.stderr


def test_a_port_in_use_is_an_error_not_a_hang(tmp_path, tiny_model):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        options = ("--model", str(tiny_model), "--host", "127.0.0.1", "--port", port)
        done = asr_server("serve", *options, cwd=tmp_path)
    assert done.returncode == 1
    assert f"another program listens on port {port}" in done.stderr
    assert "loaded" not in done.stderr


@pytest.mark.parametrize(
    "command", [(), ("serve",), ("transcribe",), ("evaluate",), ("models", "download")]
)
def test_help_has_examples(tmp_path, command):
    done = asr_server(*command, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert not command or "Example" in done.stdout


def test_the_version_is_shown(tmp_path):
    from asr_server import __version__

    assert asr_server("--version", cwd=tmp_path).stdout.strip() == __version__
