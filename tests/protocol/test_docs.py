"""The protocol's pages agree with the code, in both languages."""

import pytest

from asr_server.audio.decode import DEMUXERS, UNCOMPRESSED
from asr_server.protocol.commands import Parameters
from asr_server.settings import Settings
from tools.protocol_docs import GOLDEN, PAGES, fill

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@pages
def test_the_generated_parts_are_current(page):
    text = page.read_text(encoding="utf-8")
    assert fill(text) == text, "run: python tools/protocol_docs.py"


@pages
def test_every_parameter_and_format_is_described(page):
    text = page.read_text(encoding="utf-8")
    for name in [*Parameters.model_fields, *UNCOMPRESSED, *DEMUXERS]:
        assert f"`{name}`" in text, name


@pages
def test_every_message_is_shown(page):
    text = page.read_text(encoding="utf-8")
    variants = {"run-task.every-parameter", "run-task.gummy"}
    for name in {path.stem for path in GOLDEN.glob("*.json")} - variants:
        assert f"<!-- generated: {name} -->" in text, name


def test_both_languages_have_the_same_shape():
    def shape(page):
        lines = page.read_text(encoding="utf-8").splitlines()
        return [line.split()[0] for line in lines if line.startswith(("#", "|", "-", "<!--"))]

    assert shape(PAGES[0]) == shape(PAGES[1])


@pages
def test_the_limits_and_times_are_the_settings_defaults(page):
    text = page.read_text(encoding="utf-8")
    defaults = Settings(_env_file=None)
    assert (defaults.connection_timeout_s, defaults.idle_timeout_s) == (60, 60)
    assert (defaults.input_timeout_s, defaults.response_timeout_s) == (23, 60)
    assert (defaults.heartbeat_interval_s, defaults.close_timeout_s) == (5, 5)
    assert (defaults.max_message_bytes, defaults.max_lead_s) == (4 << 20, 30)
    for limit in (defaults.max_connections, defaults.max_tasks):
        assert f"| {limit} |" in text
