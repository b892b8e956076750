"""AsrClient.js and the demo page: their own tests, in Node and in browsers, where these exist."""

import asyncio

import pytest

from tests.clients.nodejs import needs_chromium, needs_firefox, needs_node, node
from tests.support.serving import SMALL_DEMO, serving

pytestmark = [needs_node, pytest.mark.timeout(400), pytest.mark.usefixtures("packages")]


def test_the_library_passes_its_tests_in_node():
    node("--test", "test/client.test.js", "test/resampler.test.js")


def test_the_page_in_one_file_can_be_built():
    node("--test", "test/standalone.test.js")


@needs_chromium
def test_the_library_and_the_page_pass_their_tests_in_chromium():
    node("--test", "test/chromium.test.js")


@needs_firefox
@pytest.mark.slow
def test_the_main_flows_of_the_page_work_in_firefox():
    node("--test", "test/firefox.test.js")


async def test_the_library_and_the_page_work_with_the_real_server():
    async with serving(**SMALL_DEMO) as served:
        await asyncio.to_thread(node, "--test", "test/real.test.js", ASR_TEST_SERVER=served.http)
