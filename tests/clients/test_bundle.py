"""AsrClient.py is what tools/bundle_client.py makes of the package asr_client."""

import ast
import sys

import AsrClient

import asr_client
from tools.bundle_client import BUNDLE, bundle


def test_the_file_is_current():
    assert BUNDLE.read_text("utf-8") == bundle(), "run: python -m tools.bundle_client"


def test_the_file_offers_what_the_package_does():
    assert AsrClient.__all__ == asr_client.__all__
    assert all(hasattr(AsrClient, name) for name in AsrClient.__all__)


def test_the_file_needs_websockets_alone():
    imported = set()
    for node in ast.walk(ast.parse(BUNDLE.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    assert imported - sys.stdlib_module_names == {"websockets"}
