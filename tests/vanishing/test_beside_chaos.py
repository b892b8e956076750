"""Misbehaving clients do not affect the others, and nothing is left open.

`benchmarks/chaos.py` does the same for minutes, against a server process, and measures.
"""

import asyncio

import pytest

from asr_server.load.client_run import Target, run_client
from asr_server.load.recordings import Recording
from benchmarks.misbehaviours import MISBEHAVIOURS
from tests.support.serving import FRAME, LOUD, QUIET, serving

SOUND = LOUD[: 6 * FRAME] + QUIET[: 4 * FRAME] + LOUD[: 6 * FRAME]
RECORDING = Recording("two", tuple(SOUND[n : n + FRAME] for n in range(0, len(SOUND), FRAME)), ())


SHORT = {"max_sentence_silence": 200}
KINDS = [
    pytest.param(name, marks=[pytest.mark.slow] if name == "idle_connections" else [])
    for name in MISBEHAVIOURS
]


@pytest.mark.parametrize("name", KINDS)
async def test_another_client_gets_its_text_and_nothing_is_left_open(name):
    timeouts = {"input_timeout_s": 1, "connection_timeout_s": 5, "idle_timeout_s": 1}
    async with serving(max_connections=2000, max_tasks=200, **timeouts) as served:
        async with MISBEHAVIOURS[name](served.url, RECORDING):
            record = await run_client(Target(served.url, parameters=SHORT), RECORDING)
        assert record.error is None
        assert len(record.texts) == 2
        for _ in range(400):
            if not served.engine.open_streams:
                break
            await asyncio.sleep(0.02)
        assert not served.engine.open_streams
        after = await run_client(Target(served.url, parameters=SHORT, pace=0), RECORDING)
        assert after.texts == record.texts
