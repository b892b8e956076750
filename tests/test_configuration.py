"""Where settings come from, and how their faults are answered."""

from pathlib import Path

import pytest

from asr_server import configuration
from asr_server.settings import Settings, SettingsError


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Stand in an empty directory, without variables that set anything."""
    for variable in ("ASR_MAX_DELAY_MS", "ASR_PORT", "ASR_MODEL", "HF_ENDPOINT"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)


def faults(**options: object) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        configuration.read(options)
    return str(raised.value).splitlines()


def write(text: str, encoding: str = "utf-8") -> None:
    Path(".env").write_bytes(text.encode(encoding))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk", "gb18030", "utf-16"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_file_is_read_in_every_encoding_that_editors_save(encoding, line_end):
    write(f"# 端口{line_end}ASR_PORT=9000{line_end}ASR_MODEL=./模型{line_end}", encoding)
    settings = configuration.read({})
    assert (settings.port, settings.model) == (9000, "./模型")


def test_a_file_in_another_encoding_is_named():
    Path(".env").write_bytes(b"ASR_MODEL=\xff\xff\n")
    assert faults() == [".env: neither UTF-8 nor GBK text"]


def test_options_overrule_the_environment_that_the_file_and_that_the_defaults(monkeypatch):
    write("ASR_PORT=1\nASR_HOST=file\nASR_MODEL=file\nHF_ENDPOINT=https://file\n")
    monkeypatch.setenv("asr_port", "2")
    monkeypatch.setenv("ASR_HOST", "environment")
    monkeypatch.setenv("HF_ENDPOINT", "https://environment")
    settings = configuration.read({"port": 3}, model="default", device="cpu")
    assert (settings.port, settings.host, settings.model) == (3, "environment", "file")
    assert settings.huggingface_endpoint == "https://environment"
    assert settings.device == "cpu"


def test_a_value_may_name_another_one_and_span_lines():
    write('ASR_HOST=127.0.0.1\nASR_ROOT_PATH="/${ASR_HOST}"\nexport ASR_PORT=9 # a comment\n')
    settings = configuration.read({})
    assert (settings.root_path, settings.port) == ("/127.0.0.1", 9)


def test_an_unknown_name_in_the_file_is_a_fault_with_its_line_and_the_nearest_name():
    write("# keys\n\nASR_API_KEY=0123456789abcdef\nASR_FOO_BAR=1\nOTHER=1\nASR_PUBLISH=8000\n")
    assert faults() == [
        ".env, line 3: ASR_API_KEY is no setting; did you mean ASR_API_KEYS?",
        ".env, line 4: ASR_FOO_BAR is no setting; see .env.example",
    ]


def test_an_unknown_name_in_the_environment_is_a_warning(monkeypatch):
    monkeypatch.setenv("ASR_PROT", "9000")
    monkeypatch.setenv("ASR_API_KEY", "for asr-server bench")
    for variable in ("ASR_SERVICE_HOST", "ASR_PORT_8000_TCP_ADDR", "ASR_SERVER_SERVICE_PORT_HTTP"):
        monkeypatch.setenv(variable, "of Kubernetes")
    assert configuration.unknown_variables() == ["ASR_PROT is no setting; did you mean ASR_PORT?"]
    assert configuration.read({}).port == 8000


def test_every_bad_value_is_one_line_with_its_place(monkeypatch):
    write('\nASR_PORT=many\nASR_MODEL_ALIASES={"a": \nASR_CHUNK_SIZE=1,2\n')
    monkeypatch.setenv("ASR_THREADS", "-1")
    device, port, aliases, chunk, threads = sorted(faults(device="tpu"))
    assert port.startswith(".env, line 2: ASR_PORT: Input should be a valid integer")
    assert aliases == (
        '.env, line 3: ASR_MODEL_ALIASES: it is no JSON object, such as {"name": "value"}'
    )
    assert chunk.startswith(".env, line 4: ASR_CHUNK_SIZE: ")
    assert device.startswith("--device: Input should be 'auto', 'cpu' or 'cuda'")
    assert threads.startswith("ASR_THREADS: ")


def test_a_line_that_is_no_assignment_is_named():
    write("ASR_PORT=1\nport 9000\n")
    assert faults() == [".env, line 2: expected NAME=value"]


def test_a_key_is_not_quoted():
    write("ASR_API_KEYS=too-short\n")
    [fault] = faults()
    assert fault.startswith(".env, line 1: ASR_API_KEYS: ")
    assert "too-short" not in fault


def test_serve_starts_with_the_default_that_the_example_shows():
    example = (Path(__file__).parents[1] / ".env.example").read_text(encoding="utf-8")
    assert f"#ASR_MODEL={Settings.model_fields['model'].default}\n" in example
    assert configuration.read({}).model == Settings.model_fields["model"].default
    write(
        "\n".join(
            line.removeprefix("#")
            for line in example.splitlines()
            if "=" in line and "API_KEYS" not in line
        )
    )
    assert configuration.read({}).model == Settings.model_fields["model"].default
