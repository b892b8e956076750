"""The rules of the design about imports, checked on the code."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "src" / "asr_server").rglob("*.py"))


@cache
def nodes(path: Path) -> list[ast.AST]:
    """Return all nodes of a file's syntax tree."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def names_used(path: Path) -> Iterator[str]:
    """Return the dotted names that a file imports or reads as attributes."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"


def users_of(*names: str) -> set[str]:
    """Return the files of the package that use any of the names or a member of one."""
    return {
        str(path.relative_to(ROOT / "src" / "asr_server"))
        for path in SOURCES
        for used in names_used(path)
        if any(used == name or used.startswith(name + ".") for name in names)
    }


def test_the_import_contracts_hold():
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-logo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_only_the_configuration_reads_the_environment():
    assert users_of("os.getenv", "os.environb", "os.putenv") == set()
    # oneDNN has no other way to limit its cache; a decoder process inherits a few variables only;
    # the language of messages is the user's, not this installation's.
    others = {"asr/loading/packing.py", "audio/decoder_pool.py", "cli/language.py"}
    assert users_of("os.environ") == {"configuration.py", *others}


def test_only_one_module_creates_settings():
    makers = {
        str(path.relative_to(ROOT / "src" / "asr_server"))
        for path in SOURCES
        for node in nodes(path)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Settings"
    }
    assert makers == {"configuration.py"}


def test_only_one_module_creates_metrics():
    assert users_of("prometheus_client.Counter", "prometheus_client.Gauge") <= {
        "observability/metrics.py"
    }
    assert users_of("prometheus_client.Histogram", "prometheus_client.Summary") <= {
        "observability/metrics.py"
    }


def test_only_one_module_starts_uvicorn():
    assert users_of("uvicorn.run", "uvicorn.Config", "uvicorn.Server") == {"process/serving.py"}


@pytest.mark.parametrize("module", ["asr_server.cli.main", "asr_server.models.registry"])
def test_answering_help_does_not_import_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
