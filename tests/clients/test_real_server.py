"""AsrClient.py against the real server with the demo model: all kinds of source, and a restart."""

import asyncio
import contextlib
import json
from pathlib import Path

from AsrClient import AsrClient, Final, Interim, Parameters, Reconnecting, Retry, SyncAsrClient

from asr_server.models.registry import DEMO
from tests.support.processes import free_port, launched
from tests.support.serving import SMALL_DEMO, Served, serving

DATA = Path(__file__).resolve().parents[1] / "data"
SPOKEN = Parameters(punctuation_prediction_enabled=False, inverse_text_normalization_enabled=False)
PHONE = DATA / "phone.wav"
QUESTION = DATA / "question.wav"


def transcript(path: Path) -> str:
    manifest = json.loads((DATA / "manifest.json").read_text("utf-8"))
    return next(item["text"] for item in manifest if item["file"] == path.name)


async def text_of(served: Served, source: object, **options: object) -> str:
    async with AsrClient(served.url, parameters=SPOKEN) as asr:
        return "".join([s.text async for s in asr.transcribe(source, **options)])


async def test_every_kind_of_source():
    pcm = QUESTION.read_bytes()[44:]

    def blocks():
        for at in range(0, len(pcm), 1000):
            yield pcm[at : at + 1000]

    async def later():
        for block in blocks():
            yield block

    async with serving(**SMALL_DEMO) as served:
        for source in (QUESTION, str(QUESTION), QUESTION.read_bytes(), pcm, blocks(), later()):
            assert await text_of(served, source) == transcript(QUESTION)
        assert await text_of(served, QUESTION, pace=4) == transcript(QUESTION)


async def test_without_asyncio():
    def work(url: str) -> str:
        with SyncAsrClient(url, parameters=SPOKEN) as asr:
            return "".join(sentence.text for sentence in asr.transcribe(PHONE))

    async with serving(**SMALL_DEMO) as served:
        assert await asyncio.to_thread(work, served.url) == transcript(PHONE)


async def test_two_streams_at_once():
    async with serving(**SMALL_DEMO) as served, AsrClient(served.url, parameters=SPOKEN) as asr:

        async def one() -> str:
            return "".join([s.text async for s in asr.transcribe(PHONE)])

        assert await asyncio.gather(one(), one()) == [transcript(PHONE)] * 2


async def test_leaving_early_frees_the_server():
    async with serving(**{**SMALL_DEMO, "max_tasks": 1}) as served:
        async with AsrClient(served.url, parameters=SPOKEN) as asr:
            async for _ in asr.transcribe(PHONE, pace=2, interim=True):
                break
        assert await text_of(served, PHONE) == transcript(PHONE)


async def all_of(stream):
    return [event async for event in stream]


async def test_a_restart_of_a_killed_server_loses_no_word():
    """The server is a process, killed in the middle of a sentence."""
    events = []
    port = free_port()

    def started():
        return launched("main.py", port=port, ASR_MODEL=DEMO, ASR_MAX_TASKS="1")

    with contextlib.ExitStack() as stack, started() as first:
        retry = Retry(attempts=60, max_delay_s=0.5)
        asr = AsrClient(f"ws://127.0.0.1:{port}", parameters=SPOKEN, retry=retry)
        async with asr:
            stream = asr.open(PHONE, pace=1.5)
            async for event in stream:
                events.append(event)
                if isinstance(event, Interim) and len(event.sentence.text) >= 4:
                    break
            first.process.kill()
            restart = asyncio.to_thread(stack.enter_context, started())
            _, later = await asyncio.gather(restart, all_of(stream))
    events += later
    assert any(isinstance(event, Reconnecting) for event in events)
    finals = [event.sentence.text for event in events if isinstance(event, Final)]
    assert "".join(finals) == transcript(PHONE)
