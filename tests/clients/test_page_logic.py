"""The parts of the demo page that need no browser, and the texts of its samples."""

import json
from pathlib import Path

import pytest

from asr_server.text.itn import normalise
from tests.clients.nodejs import needs_node, node

DATA = Path(__file__).resolve().parents[1] / "data"


@needs_node
@pytest.mark.usefixtures("packages")
def test_the_parts_without_a_browser_pass_their_tests():
    node("--test", "test/page.logic.test.js")


def test_the_right_text_of_a_sample_is_written_as_the_server_writes_numbers():
    for sample in json.loads((DATA / "manifest.json").read_text("utf-8")):
        assert sample["written"] == normalise(sample["punctuated"])
