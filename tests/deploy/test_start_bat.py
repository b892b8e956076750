"""start.bat does the same as `make run`; the script itself runs on Windows only."""

import re

from tests.support.processes import ROOT

SCRIPT = (ROOT / "start.bat").read_bytes().decode("ascii")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_it_has_the_line_ends_that_goto_needs():
    assert SCRIPT.count("\n") == SCRIPT.count("\r\n") > 10


def test_every_label_exists_once_and_is_used():
    labels = re.findall(r"^:(\w+)", SCRIPT, re.MULTILINE)
    assert sorted(labels) == sorted(set(re.findall(r"goto (\w+)", SCRIPT)))


def test_it_installs_and_starts_the_same_as_make():
    def commands(text: str) -> list[str]:
        return re.findall(
            r"-m pip install [^|\n]+?(?= \|\||$)|serve --model \S+", text, re.MULTILINE
        )

    [install] = re.findall(r"^INSTALL := \$\(BIN\)/python (.+)$", MAKEFILE, re.MULTILINE)
    recipes = MAKEFILE.replace("$(INSTALL)", install).partition("setup:")[2]
    recipes = recipes.replace("$(TORCH) ", "")  # PyPI's torch is the CPU build on Windows
    assert commands(SCRIPT) == [
        command.replace(" --no-compile", "")  # in cmd there is nothing that compiles instead
        for command in commands(recipes)
        if "requirements-dev" not in command
    ]


def test_it_accepts_the_same_python_versions_as_make():
    [asked] = re.findall(r"not \(3, \d+\) <= sys.version_info < \(3, \d+\)", SCRIPT)
    assert asked in MAKEFILE
    newest, *_, oldest = re.findall(r"3\.\d+", re.findall(r"for %%v in \((.+?)\)", SCRIPT)[0])
    assert f"Python {oldest} to {newest}" in MAKEFILE


def test_it_installs_again_on_the_same_changes_as_make():
    [prerequisites] = re.findall(r"^venv/\.installed: (.+)$", MAKEFILE, re.MULTILINE)
    assert f"{prerequisites.replace(' ', '+')} venv\\.wanted" in SCRIPT


def test_setup_shows_the_progress_of_pip_and_can_leave_cuda_out():
    installs = re.findall(r"pip install .*", MAKEFILE + SCRIPT)
    setups = [line for line in installs if "pip-audit" not in line]
    assert setups
    assert not any(re.search(r"\s(-q|--quiet)\b", line) for line in setups)
    assert "TORCH := $(if $(CPU),--no-deps --index-url $(TORCH_INDEX_URL))" in MAKEFILE
