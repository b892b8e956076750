"""The documents, checked against what they describe."""

import re
from collections.abc import Iterator
from pathlib import Path

import dashscope
import pytest

from asr_server.models.registry import DEMO, resolve
from asr_server.observability.metrics import Metrics
from asr_server.settings import Settings
from tests.support.background import serving_on_a_thread
from tests.support.balancers import HAPROXY
from tests.support.command_line import asr_server
from tests.support.processes import ROOT
from tests.support.serving import SMALL_DEMO
from tools import print_settings, settings_docs

README = ROOT / "README.md"
OPERATIONS = [settings_docs.ENGLISH, settings_docs.CHINESE]
DOCUMENTS = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *(path for path in (ROOT / "clients").rglob("*.md") if "node_modules" not in path.parts),
]


def code_blocks(path: Path, language: str) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), target


def commands(path: Path) -> Iterator[list[str]]:
    for block in code_blocks(path, "bash"):
        for line in block.splitlines():
            if words := line.split("#")[0].split():
                yield words


@pytest.mark.parametrize("path", [README, ROOT / "CONTRIBUTING.md"], ids=lambda path: path.name)
def test_the_commands_shown_exist(path, tmp_path):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for command in commands(path):
        if command[0] == "make":
            assert command[1] in targets
        elif command[0].endswith("/asr-server"):
            assert asr_server(*command[1:], "--help", cwd=tmp_path).returncode == 0
        else:
            assert command[0] in ("venv/bin/pre-commit", "venv/bin/pip")


def test_every_setting_is_in_the_example_file(capsys):
    print_settings.main()
    printed = capsys.readouterr().out
    current = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert current == printed, "run: python tools/print_settings.py > .env.example"


def test_the_example_file_holds_the_defaults(tmp_path, monkeypatch):
    for name in ("MODELSCOPE_ENDPOINT", "MODELSCOPE_CACHE", "HF_ENDPOINT", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    # A key setting that is present but blank is refused.
    lines = re.sub("^#(ASR_(?!API_KEYS))", r"\1", example, flags=re.MULTILINE)
    (tmp_path / "env").write_text(lines)
    assert Settings(_env_file=tmp_path / "env") == Settings(_env_file=None)


operations = pytest.mark.parametrize("page", OPERATIONS, ids=lambda page: page.name)


@operations
def test_the_tables_of_settings_are_current(page):
    text = page.read_text(encoding="utf-8")
    assert settings_docs.fill(page, text) == text, "run: python -m tools.settings_docs"
    assert "`ASR_API_KEYS`" in text


def test_every_sentence_about_a_setting_has_a_chinese_translation():
    translations = settings_docs.translations()
    assert translations.keys() == set(settings_docs.sentences())
    assert all(re.search("[\u4e00-\u9fff]", sentence) for sentence in translations.values())


@operations
def test_the_settings_and_metrics_of_the_page_exist(page):
    text = page.read_text(encoding="utf-8")
    known = {f"ASR_{name.upper()}" for name in Settings.model_fields}
    for file in (ROOT / "compose.yaml", HAPROXY):
        known |= set(re.findall(r"\$\{(\w+)", file.read_text(encoding="utf-8")))
    assert set(re.findall(r"\bASR_[A-Z_]+\b", text)) <= known
    metrics = {family.name for family in Metrics().families()}
    named = set(re.findall(r"\b(?:asr|process)_[a-z_]+\b", text)) - {"asr_server"}  # the database
    assert {re.sub("_(total|bucket|sum|count)$", "", name) for name in named} <= metrics


@operations
def test_links_within_the_page_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    links = set(re.findall(r"\]\(#([^)]+)\)", text))
    assert links - anchors == set()
    chapters = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert {chapter.lower().replace(" ", "-") for chapter in chapters} <= links


@pytest.mark.skipif(resolve(DEMO, Settings()) is None, reason="the demo model is not here")
def test_the_readmes_client_prints_what_was_said(monkeypatch, capsys):
    [snippet] = code_blocks(README, "python")
    for name in ("api_key", "base_websocket_api_url"):  # the snippet sets them
        monkeypatch.setattr(f"dashscope.{name}", getattr(dashscope, name))
    monkeypatch.chdir(ROOT)
    with serving_on_a_thread(**SMALL_DEMO) as served:
        exec(snippet.replace("127.0.0.1:8000", f"127.0.0.1:{served.port}"), {})
    assert "您好" in capsys.readouterr().out
